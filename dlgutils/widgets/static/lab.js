// The lab: a client's picture of the reader's choice, and one attack on its gradient, by a worker of this page or by the kernel.

const NOISES = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]; // standard deviations, on every number of the gradient

const number = (model, name, min, max) => bound(model, name, make("input", { type: "number", min, max, step: 1 }), Number);
const group = (title, ...controls) => make("fieldset", {}, make("legend", { textContent: title }), ...controls);

function rateSlider(model) {
  const slider = bound(model, "rate", make("input", { type: "range", min: 0, max: 0.9, step: 0.1 }), Number);
  const shown = make("span");
  shown.setAttribute("aria-hidden", "true"); // the slider says it by itself
  const show = () => (shown.textContent = model.get("rate").toFixed(1));
  model.on("change:rate", show);
  show();
  const label = labelled("dropout rate", slider);
  label.append(shown);
  return label;
}

function clientControls(model, secret) {
  const sigmas = NOISES.map((sigma) => (sigma ? `σ = ${sigma.toExponential()}` : "none"));
  const weights = choice(model, "weights", ["default", "wide"], ["PyTorch's default", "wide, ±0.5"]);
  weights.addEventListener("input", () => {
    model.set("steps", model.get("enough")[weights.value]);
    model.save_changes();
  });
  return group(
    "The client",
    ...secret.controls,
    labelled("its label", choice(model, "label", model.get("photos"))),
    labelled("network's weights", weights),
    rateSlider(model),
    labelled("noise on the gradient", choice(model, "noise", NOISES, sigmas, Number)),
    labelled("seed", number(model, "seed", 0, 999)),
  );
}

function attackerControls(model, engine) {
  const attack = labelled("attack", choice(model, "attack", model.get("attacks")));
  return group("The attacker", attack, labelled("evaluations", number(model, "steps", 1, 5000)), engine);
}

// A worker that is started at its first run, and again after it was stopped.
function engineOf(script, heard, failed) {
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  let worker = null;
  const stop = () => {
    worker?.terminate();
    worker = null;
  };
  const start = () => {
    worker = new Worker(address);
    worker.onmessage = ({ data }) => heard(data);
    worker.onerror = (error) => {
      stop();
      failed(error.message ?? "the browser did not start its worker");
    };
  };
  const run = (settings) => {
    if (!worker) start();
    worker.postMessage(settings);
  };
  return { run, stop };
}

// The kernel gets what a server would get, weights and gradient, and what the page has read off them; never the picture.
function sendToKernel(model, { run, attack, rate, steps, seed }, { shared, label, maskRead }) {
  const names = Object.keys(shared);
  const mask = maskRead && Array.from(maskRead);
  const buffers = names.map((name) => shared[name].buffer);
  model.send({ kind: "run", run, attack, rate, steps, seed, names, label, mask }, undefined, buffers);
}

function lab(model, root, script, images) {
  const caption = make("p", { textContent: "Choose, then press Run." });
  caption.setAttribute("aria-live", "polite");
  const run = make("button", { type: "button", textContent: "Run" });
  const stop = make("button", { type: "button", textContent: "Stop" });
  const progress = make("progress", { value: 0 });
  progress.setAttribute("aria-label", "evaluations done");
  const engine = labelled("engine", choice(model, "engine", ["page", "kernel"], ["JavaScript in this page", "PyTorch in the kernel"]));
  engine.hidden = true; // until a kernel answers
  const secret = secretPicture(model, images, () => run.disabled, (words) => say(caption, words, false));
  const groups = [clientControls(model, secret), attackerControls(model, engine)];
  const read = readings(model.get("photos"));
  const film = searchFilm(caption);
  let settings = null; // of the run that goes on

  const lock = (now) => {
    const [from, to] = now ? [run, stop] : [stop, run];
    to.disabled = false;
    if (document.activeElement === from) to.focus(); // a disabled button loses it
    for (const element of [...groups, from]) element.disabled = now || element === from;
  };
  const end = (how, more) => {
    settings = null;
    lock(false);
    film.end(how, more);
  };
  const hear = {
    shared(message) {
      read.show(message, settings.label);
      if (message.shared) sendToKernel(model, settings, message);
    },
    frame(message) {
      progress.value = message.evaluation;
      film.add(message);
    },
    done: (message) => end("Done after", message),
    failed: ({ message }) => end(`This attack could not run: ${message}. So far:`),
  };
  const heard = (message) => settings && message.run === settings.run && hear[message.kind](message); // what is late is not heard
  const page = engineOf(script, heard, (words) => hear.failed({ message: words }));

  run.addEventListener("click", () => {
    const chosen = ["attack", "weights", "rate", "noise", "steps", "seed"].map((name) => [name, model.get(name)]);
    const elsewhere = !engine.hidden && model.get("engine") === "kernel";
    const label = model.get("photos").indexOf(model.get("label"));
    settings = { run: Math.random(), image: secret.x, label, elsewhere, ...Object.fromEntries(chosen) };
    [progress.max, progress.value] = [settings.steps, 0];
    lock(true);
    film.begin(secret.x);
    say(caption, "Running …", false);
    page.run(settings);
  });
  stop.addEventListener("click", () => {
    page.stop();
    if (settings.elsewhere) model.send({ kind: "stop" });
    end("Stopped after");
  });
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    secret.take(event.dataTransfer.files[0]);
  });
  model.on("msg:custom", (message, buffers = []) => {
    const [x] = buffers.map((buffer) => new Float32Array(bytes(buffer).slice().buffer));
    if (message.kind === "kernel") engine.hidden = false;
    else heard({ ...message, x });
  });

  root.append(
    ...groups,
    make("div", { className: "dlg-row" }, run, stop, progress, film.save),
    make("div", { className: "dlg-row dlg-pictures" }, secret.figure, film.figure, ...read.figures),
    film.chart,
    labelled("film", film.slider),
    caption,
  );
  lock(false);
  if (typeof Worker === "undefined") {
    run.disabled = true;
    say(caption, "This browser has no Web Workers, in which this page computes; open it in another browser, or in Colab.", false);
  }
  model.send({ kind: "hello" });
  return () => page.stop();
}

export default {
  async render({ model, el }) {
    const [script, images] = await Promise.all(["script", "images"].map((name) => unpacked(model.get(name))));
    const root = make("div", { className: "dlg dlg-lab" });
    el.append(root);
    return lab(model, root, script, images);
  },
};
