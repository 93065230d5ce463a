// The lab: a client's picture of the reader's choice, and one attack on its gradient, by a worker
// of this page or by the kernel.

import { bound, bytes, choice, labelled, make, say, unpacked } from "./controls.js";
import { sendToKernel, workerOf } from "./engines.js";
import { SecretPicture } from "./picture_input.js";
import { readings, SearchFilm } from "./progress.js";

const NOISES = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]; // standard deviations, on every number

const number = (model, name, min, max) =>
  bound(model, name, make("input", { type: "number", min, max, step: 1 }), Number);
const group = (title, ...controls) =>
  make("fieldset", {}, make("legend", { textContent: title }), ...controls);

function rateSlider(model) {
  const range = make("input", { type: "range", min: 0, max: 0.9, step: 0.1 });
  const slider = bound(model, "rate", range, Number);
  const shown = make("span");
  shown.setAttribute("aria-hidden", "true"); // the slider's value is read out anyway
  const show = () => {
    shown.textContent = model.get("rate").toFixed(1);
  };
  model.on("change:rate", show);
  show();
  const label = labelled("dropout rate", slider);
  label.append(shown);
  return label;
}

// The initialisation of the network; a new one sets the evaluations to as many as it needs.
function weightsChoice(model) {
  const words = ["PyTorch's default", "wide, ±0.5"];
  const weights = choice(model, "weights", ["default", "wide"], words);
  weights.addEventListener("input", () => {
    model.set("steps", model.get("enough")[weights.value]);
    model.save_changes();
  });
  return weights;
}

function clientControls(model, secret) {
  const sigmas = NOISES.map((sigma) => (sigma ? `σ = ${sigma.toExponential()}` : "none"));
  return group(
    "The client",
    ...secret.makeControls(),
    labelled("its label", choice(model, "label", model.get("photos"))),
    labelled("network's weights", weightsChoice(model)),
    rateSlider(model),
    labelled("noise on the gradient", choice(model, "noise", NOISES, sigmas, Number)),
    labelled("seed", number(model, "seed", 0, 999)),
  );
}

function attackerControls(model, engine) {
  const attack = labelled("attack", choice(model, "attack", model.get("attacks")));
  const evaluations = labelled("evaluations", number(model, "steps", 1, 5000));
  return group("The attacker", attack, evaluations, engine);
}

function engineChoice(model) {
  const words = ["JavaScript in this page", "PyTorch in the kernel"];
  const engine = labelled("engine", choice(model, "engine", ["page", "kernel"], words));
  engine.hidden = true; // until a kernel answers
  return engine;
}

class Laboratory {
  constructor(model, root, script, images) {
    Object.assign(this, { model, root });
    this.settings = null; // of the run that goes on
    this.caption = make("p", { textContent: "Choose, then press Run." });
    this.caption.setAttribute("aria-live", "polite");
    this.runButton = make("button", { type: "button", textContent: "Run" });
    this.stopButton = make("button", { type: "button", textContent: "Stop" });
    this.progress = make("progress", { value: 0 });
    this.progress.setAttribute("aria-label", "evaluations done");
    this.engine = engineChoice(model);
    const isLocked = () => this.runButton.disabled;
    this.secret = new SecretPicture(model, images, isLocked, (words) => this.say(words));
    this.groups = [clientControls(model, this.secret), attackerControls(model, this.engine)];
    this.readings = readings(model.get("photos"));
    this.film = new SearchFilm(this.caption);
    const fail = (message) => this.answer({ kind: "failed", message, run: this.settings?.run });
    this.worker = workerOf(script, (message) => this.answer(message), fail);
    this.listen();
    this.layOut();
    this.lock(false);
    this.checkBrowser();
    model.send({ kind: "hello" });
  }

  listen() {
    this.runButton.addEventListener("click", () => this.run());
    this.stopButton.addEventListener("click", () => this.stop());
    this.root.addEventListener("dragover", (event) => event.preventDefault());
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.secret.take(event.dataTransfer.files[0]);
    });
    this.model.on("msg:custom", (message, buffers = []) => {
      const [x] = buffers.map((buffer) => new Float32Array(bytes(buffer).slice().buffer));
      if (message.kind === "kernel") this.engine.hidden = false;
      else this.answer({ ...message, x });
    });
  }

  layOut() {
    const { film, secret } = this;
    const row = (...children) => make("div", { className: "dlg-row" }, ...children);
    const pictures = row(secret.figure, film.figure, ...this.readings.figures);
    pictures.classList.add("dlg-pictures");
    this.root.append(
      ...this.groups,
      row(this.runButton, this.stopButton, this.progress, film.saveButton),
      pictures,
      film.chart,
      labelled("film", film.slider),
      this.caption,
    );
  }

  checkBrowser() {
    if (typeof Worker !== "undefined") return;
    this.runButton.disabled = true;
    this.say(
      "This browser has no Web Workers, in which this page computes; " +
        "open it in another browser, or in Colab.",
    );
  }

  say(words) {
    say(this.caption, words, false);
  }

  // While a run goes on, only its Stop can be pressed.
  lock(isGoing) {
    const buttons = [this.runButton, this.stopButton];
    const [from, to] = isGoing ? buttons : buttons.toReversed();
    to.disabled = false;
    if (document.activeElement === from) to.focus(); // a disabled button loses it
    for (const fieldset of this.groups) fieldset.disabled = isGoing;
    from.disabled = true;
  }

  chosen() {
    const { model } = this;
    const names = ["attack", "weights", "rate", "noise", "steps", "seed"];
    const traits = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    const elsewhere = !this.engine.hidden && model.get("engine") === "kernel";
    const label = model.get("photos").indexOf(model.get("label"));
    return { run: Math.random(), image: this.secret.x, label, elsewhere, ...traits };
  }

  run() {
    this.settings = this.chosen();
    this.progress.max = this.settings.steps;
    this.progress.value = 0;
    this.lock(true);
    this.film.begin(this.secret.x);
    this.say("Running …");
    this.worker.run(this.settings);
  }

  stop() {
    this.worker.stop();
    if (this.settings.elsewhere) this.model.send({ kind: "stop" });
    this.end("Stopped after");
  }

  end(how, more) {
    this.settings = null;
    this.lock(false);
    this.film.end(how, more);
  }

  // Act on a message of the engine; one that comes after the end of its run is ignored.
  answer(message) {
    if (!this.settings || message.run !== this.settings.run) return;
    const actions = {
      shared: () => this.showShared(message),
      frame: () => this.showFrame(message),
      done: () => this.end("Done after", message),
      failed: () => this.end(`This attack could not run: ${message.message}. So far:`),
    };
    actions[message.kind]();
  }

  showShared(message) {
    this.readings.show(message, this.settings.label);
    if (message.shared) sendToKernel(this.model, this.settings, message);
  }

  showFrame(message) {
    this.progress.value = message.evaluation;
    this.film.add(message);
  }
}

export default {
  async render({ model, el }) {
    const packed = ["script", "images"].map((name) => unpacked(model.get(name)));
    const [script, images] = await Promise.all(packed);
    const root = make("div", { className: "dlg dlg-lab" });
    el.append(root);
    const laboratory = new Laboratory(model, root, script, images);
    return () => laboratory.worker.stop();
  },
};
