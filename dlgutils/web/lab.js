// The lab: a client's picture of the reader's choice, one attack on its gradient, in a worker of this page or in the kernel.

const SIDE = 32; // pixels
const LARGEST_FILE = 40e6; // bytes
const KINDS = "PNG, JPEG, WebP, GIF";

// Pictures of the lab: Float32Array, channel by channel, in [0, 1], as the networks take them ------------------------

const fromBytes = (pixels) => Float32Array.from({ length: pixels.length }, (_, k) => {
  const [channel, place] = [Math.floor(k / SIDE ** 2), k % SIDE ** 2];
  return pixels[3 * place + channel] / 255;
});
const toBytes = (x) => Uint8Array.from({ length: x.length }, (_, k) => {
  return Math.round(255 * Math.min(1, Math.max(0, x[SIDE ** 2 * (k % 3) + Math.floor(k / 3)] || 0)));
});
const meanSquare = (a, b) => a.reduce((sum, v, k) => sum + (v - b[k]) ** 2, 0) / a.length;

function pad(width, height) {
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}

// The central square of an image on white ground, halved until it is nearly small enough, then made exactly so.
function reduced(image) {
  let side = Math.min(image.width, image.height);
  let [source, left, top] = [image, (image.width - side) / 2, (image.height - side) / 2];
  while (side > SIDE) {
    const next = Math.max(SIDE, Math.min(1024, Math.floor(side / 2)));
    const smaller = pad(next, next);
    smaller.drawImage(source, left, top, side, side, 0, 0, next, next);
    [source, left, top, side] = [smaller.canvas, 0, 0, next];
  }
  const white = pad(SIDE, SIDE);
  white.fillStyle = "white";
  white.fillRect(0, 0, SIDE, SIDE);
  white.drawImage(source, left, top, side, side, 0, 0, SIDE, SIDE);
  return fromCanvas(white);
}

function fromCanvas(context) {
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return fromBytes(data.filter((_, k) => k % 4 < 3));
}

// What the reader dropped, as a picture and in words; an error says what is wrong with it and what would do.
async function opened(file) {
  if (file.size > LARGEST_FILE) {
    const size = (file.size / 1e6).toFixed(0);
    throw new Error(`${file.name} has ${size} MB; choose a picture of at most ${LARGEST_FILE / 1e6} MB.`);
  }
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is no picture that this browser can open; choose a file of kind ${KINDS}.`);
  }
  const enlarged = Math.min(image.width, image.height) < SIDE ? ", enlarged" : "";
  const words = `${file.name}, ${image.width} × ${image.height} pixels, the middle of it at ${SIDE} × ${SIDE}${enlarged}`;
  return { x: reduced(image), words };
}

// What was read off the gradient, as pictures ----------------------------------------------------------------------------

// The gradient of the classifier's bias, a bar for each class: the negative one points down.
function bars(figure, values, description) {
  const most = Math.max(...values.map(Math.abs));
  const [wide, high] = [100 / values.length, 40];
  const rectangles = Array.from(values, (v, k) => {
    const tall = (high * Math.abs(v)) / most;
    const place = { x: k * wide + 1, y: v < 0 ? high + 2 : high - tall, width: wide - 2, height: Math.max(tall, 0.5) };
    return svg("rect", { ...place, class: v < 0 ? "dlg-negative" : "dlg-positive" });
  });
  const axis = svg("line", { x1: 0, x2: 100, y1: high + 1, y2: high + 1, class: "dlg-axis" });
  const drawn = svg("svg", { viewBox: "0 -9 100 100", role: "img", "aria-label": description }, axis, ...rectangles);
  figure.replaceChildren(drawn, make("figcaption", { textContent: description }));
}

// A mask, one square for each feature before the classifier: light if kept, dark if dropped.
function maskPicture(figure, mask, description) {
  const columns = SIDE;
  const shape = [mask.length / columns, columns, 1];
  const grid = picture(description, shape);
  paint(grid, Uint8Array.from(mask, (m) => (m > 0 ? 235 : 25)), shape, description);
  figure.replaceChildren(...grid.childNodes);
}

// The engines: both tell `heard` what the worker would say ----------------------------------------------------------------

function workerEngine(script, heard) {
  let worker = null;
  const start = () => {
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    worker = new Worker(address);
    worker.onmessage = ({ data }) => heard(data);
    worker.onerror = (error) => heard({ kind: "failed", message: error.message });
  };
  return {
    run(settings) {
      if (!worker) start();
      worker.postMessage(settings);
    },
    stop() {
      worker?.terminate();
      worker = null;
    },
  };
}

// The kernel gets what a server would get: weights and gradient, and what the page has read off them; never the picture.
function sendToKernel(model, { attackName, rate, steps, seed }, { shared, label, maskRead }) {
  const names = Object.keys(shared);
  const buffers = names.map((name) => shared[name].buffer);
  const mask = maskRead ? { mask: Array.from(maskRead) } : {};
  model.send({ kind: "run", attack: attackName, rate, steps, seed, names, label, ...mask }, undefined, buffers);
}

const RESTING = "Choose, then press Run.";
const NOISES = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]; // standard deviations, on every number of the gradient
const START = { evaluation: 0, loss: null, seconds: 0, x: new Float32Array(3 * SIDE ** 2).fill(0.5) }; // of every attack
const ENOUGH = { default: 100, wide: 300 }; // evaluations

function lab(model, root, script, images) {
  const shape = [SIDE, SIDE, 3];
  const classes = model.get("photos");
  const photo = (name) => fromBytes(images.subarray(...[0, 1].map((k) => (classes.indexOf(name) + k) * 3 * SIDE ** 2)));
  let secret = photo(model.get("photo"));
  let secretWords = `the photograph ${model.get("photo")}`;
  let running = false;
  let kernel = false;
  let settings = null;
  let frames = []; // the film so far
  let latest = START; // what was heard last, which the film may have skipped
  let moveCursor = () => {};

  // What there is to choose
  const number = (min, max, step) => make("input", { type: "number", min, max, step });
  const choice = (name, values, words = values, read = String) =>
    bound(model, name, make("select", {}, ...values.map((value, k) => make("option", { value, textContent: words[k] }))), read);
  const photos = choice("photo", ["", ...classes], ["your own", ...classes]);
  const file = make("input", { type: "file", accept: "image/*" });
  const drawing = make("button", { type: "button", textContent: "Draw one" });
  const colour = make("input", { type: "color", value: "#1f5fbf" });
  const rate = bound(model, "rate", make("input", { type: "range", min: 0, max: 0.9, step: 0.1 }), Number);
  const shownRate = make("output");
  const engine = choice("engine", ["page", "kernel"], ["JavaScript in this page", "PyTorch in the kernel"]);
  const engineLabel = labelled("engine", engine);
  const rateLabel = labelled("dropout rate", rate);
  rateLabel.append(shownRate);
  const group = (title, ...controls) => make("fieldset", {}, make("legend", { textContent: title }), ...controls);
  const client = group(
    "The client",
    labelled("picture", photos),
    labelled("or a file", file),
    drawing,
    labelled("colour", colour),
    labelled("its label", choice("label", classes)),
    labelled("network's weights", choice("weights", ["default", "wide"], ["PyTorch's default", "wide, ±0.5"])),
    rateLabel,
    labelled("noise on the gradient", choice("noise", NOISES, NOISES.map((sigma) => (sigma ? `σ = ${sigma.toExponential()}` : "none")), Number)),
    labelled("seed", bound(model, "seed", number(0, 999, 1), Number)),
  );
  const attacker = group(
    "The attacker",
    labelled("attack", choice("attack", model.get("attacks"))),
    labelled("evaluations", bound(model, "steps", number(1, 5000, 1), Number)),
    engineLabel,
  );
  const run = make("button", { type: "button", textContent: "Run" });
  const stop = make("button", { type: "button", textContent: "Stop" });
  const save = make("button", { type: "button", textContent: "Save the film" });
  const progress = make("progress", { value: 0 });
  progress.setAttribute("aria-label", "evaluations done");
  const slider = make("input", { type: "range", min: 0, max: 0, step: 1, value: 0 });
  const chart = make("div");
  const truth = picture("the client's picture", shape);
  const recovered = picture("what the attacker has", shape);
  const labelFigure = make("figure");
  const maskFigure = make("figure");
  const caption = make("p", { textContent: RESTING });
  caption.setAttribute("aria-live", "polite");

  // What the page shows
  const busy = (now) => {
    running = now;
    client.disabled = attacker.disabled = run.disabled = now;
    stop.disabled = !now;
    save.disabled = slider.disabled = now || frames.length === 0;
    engineLabel.hidden = !kernel;
  };
  const showSecret = () => paint(truth, toBytes(secret), shape, `the client's picture: ${secretWords}`);
  const showFrame = ({ x, words }, live) => {
    paint(recovered, toBytes(x), shape, `what the attacker has: ${words}`);
    say(caption, words, live);
  };
  const words = ({ evaluation, loss, seconds, x }, settled) => {
    const parts = [`${settled ? `${settled} after ` : ""}${evaluation} evaluations`];
    if (loss !== null) parts.push(`matching loss ${loss.toExponential(1)}`);
    parts.push(`RMSE ${Math.sqrt(meanSquare(x, secret)).toFixed(3)}`);
    if (evaluation) parts.push(`${seconds.toFixed(1)} s`, `${(evaluation / Math.max(seconds, 1e-3)).toFixed(0)} evaluations a second`);
    return parts.join(", ");
  };
  const showCurve = () => {
    const errors = frames.map(({ x }) => Math.sqrt(meanSquare(x, secret))).map((error) => (Number.isFinite(error) ? error : null));
    const shown = { evaluations: [frames.map(({ evaluation }) => evaluation)], errors: [errors], measure: "RMSE" };
    const { plot, draw } = curve(shown, (k) => running || moveTo(k));
    moveCursor = (k) => draw(0, k);
    moveCursor(frames.length - 1);
    chart.replaceChildren(plot);
  };
  const moveTo = (k) => {
    slider.value = k;
    moveCursor(k);
    showFrame({ ...frames[k], words: words(frames[k]) }, false);
  };
  const film = (said) => {
    if (latest !== frames.at(-1)) frames.push(latest);
    slider.max = frames.length - 1;
    showCurve();
    moveTo(frames.length - 1);
    busy(false);
    say(caption, said, false);
  };

  // What the engines tell
  const heard = {
    shared(message) {
      const { delta, label, mask, maskRead } = message;
      const right = (yes) => (yes ? "right" : "wrong");
      const truthLabel = classes.indexOf(model.get("label"));
      const said = label === null ? "not read: the attack optimises it" : `read: ${classes[label]}, ${right(label === truthLabel)}`;
      bars(labelFigure, delta, `the bias gradient, a bar for each class; label ${said}`);
      const taken = maskRead ?? mask.map(() => 1);
      const agree = taken.filter((m, k) => m > 0 === mask[k] > 0).length;
      const how = maskRead ? "mask read" : "mask not read, all taken as kept";
      maskPicture(maskFigure, taken, `${how}: ${agree} of ${mask.length} right`);
      if (message.shared) sendToKernel(model, settings, message);
    },
    frame(message) {
      latest = message;
      progress.value = message.evaluation;
      if (message.filmed) {
        frames.push(message);
        showCurve();
      }
      showFrame({ x: message.x, words: words(message) }, true);
    },
    done(message) {
      latest = { ...latest, ...message };
      film(words(latest, "Done"));
    },
    failed: ({ message }) => film(`This attack could not run: ${message}`),
    kernel() {
      kernel = true;
      busy(running);
    },
  };
  const listen = (message) => heard[message.kind](message);
  const page = workerEngine(script, listen);

  run.addEventListener("click", () => {
    [frames, latest] = [[START], START];
    progress.max = model.get("steps");
    progress.value = 0;
    settings = {
      image: secret,
      label: classes.indexOf(model.get("label")),
      attackName: model.get("attack"),
      elsewhere: kernel && model.get("engine") === "kernel",
      ...Object.fromEntries(["weights", "rate", "noise", "steps", "seed"].map((name) => [name, model.get(name)])),
    };
    busy(true);
    say(caption, "Running …", false);
    page.run(settings);
  });
  stop.addEventListener("click", () => {
    page.stop();
    if (settings.elsewhere) model.send({ kind: "stop" });
    film(words(latest, "Stopped"));
  });
  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  save.addEventListener("click", async () => {
    try {
      const address = URL.createObjectURL(await animated(frames.map(({ x }) => toBytes(x)), SIDE, 8));
      make("a", { href: address, download: `${settings.attackName}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers fetch it later
    } catch (error) {
      say(caption, `This browser cannot write the film: ${error.message}`, false);
    }
  });

  // Pictures of the reader's own
  const own = (x, words) => {
    [secret, secretWords] = [x, words];
    model.set("photo", "");
    model.save_changes();
    showSecret();
  };
  const take = async (dropped) => {
    if (!dropped || running) return;
    try {
      const { x, words } = await opened(dropped);
      release();
      own(x, words);
      say(caption, `${words}. It stays in this page. ${RESTING}`, false);
    } catch (error) {
      say(caption, error.message, false);
    }
  };
  file.addEventListener("change", () => take(file.files[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  const release = pencil(truth.querySelector("canvas"), drawing, colour, () => running, (context) => own(fromCanvas(context), "a drawing"));
  model.on("change:photo", () => {
    const name = model.get("photo");
    if (!name) return;
    release();
    [secret, secretWords] = [photo(name), `the photograph ${name}`];
    model.set("label", name);
    model.save_changes();
    showSecret();
  });
  model.on("change:weights", () => {
    model.set("steps", ENOUGH[model.get("weights")]);
    model.save_changes();
  });
  const showRate = () => (shownRate.textContent = model.get("rate").toFixed(1));
  model.on("change:rate", showRate);
  model.on("msg:custom", (message, buffers) => {
    const x = buffers?.length ? { x: new Float32Array(buffers[0].buffer.slice(buffers[0].byteOffset, buffers[0].byteOffset + buffers[0].byteLength)) } : {};
    if (running || message.kind === "kernel") listen({ ...message, ...x });
  });

  root.append(
    client,
    attacker,
    make("div", { className: "dlg-row" }, run, stop, progress, save),
    make("div", { className: "dlg-row dlg-pictures" }, truth, recovered, labelFigure, maskFigure),
    chart,
    labelled("film", slider),
    caption,
  );
  showRate();
  showSecret();
  busy(false);
  if (typeof Worker === "undefined") {
    run.disabled = true;
    say(caption, "This browser has no Web Workers, in which this page computes; open it in another browser, or in Colab.", false);
  }
  model.send({ kind: "hello" });
  return () => page.stop();
}

// A pencil for the client's picture: the button clears it and begins, strokes follow the pointer. Returns what puts it away.
function pencil(canvas, button, colour, locked, drawn) {
  const context = pad(SIDE, SIDE);
  let down = false;
  let active = false;
  button.addEventListener("click", () => {
    active = true;
    context.fillStyle = "white";
    context.fillRect(0, 0, SIDE, SIDE);
    canvas.style.touchAction = "none";
    drawn(context);
  });
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  const stroke = (event) => {
    if (!down || !active || locked()) return;
    context.lineTo(...place(event));
    context.stroke();
    drawn(context);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!active || locked()) return;
    down = true;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(context, { strokeStyle: colour.value, lineWidth: 3, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...place(event));
    stroke(event);
  });
  canvas.addEventListener("pointermove", stroke);
  canvas.addEventListener("pointerup", () => (down = false));
  return () => (active = false);
}

export default {
  async render({ model, el }) {
    const [script, images] = await Promise.all(["script", "images"].map((name) => unpacked(model.get(name))));
    const root = make("div", { className: "dlg dlg-lab" });
    el.append(root);
    return lab(model, root, script, images);
  },
};
