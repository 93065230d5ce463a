// The lab: a client's pictures of the reader's choice, and one attack on their gradient, by a
// worker of this page or by the kernel.

import { bytes, labelled, make, say, unpacked } from "./controls.js";
import { sendToKernel, workerOf } from "./engines.js";
import { KeptResults } from "./kept.js";
import { classNames, SecretPicture } from "./picture_input.js";
import { SearchFilm } from "./progress.js";
import { readings } from "./readings.js";
import {
  attackerControls,
  clientControls,
  engineChoice,
  presetButtons,
  settingsInWords,
} from "./settings.js";
import { fromBytes } from "./strip.js";

const TRAITS = "photo batch activation weights rate defense knows attack steps seed".split(" ");
const button = (textContent) => make("button", { type: "button", textContent });

class Laboratory {
  // `photos` are all photographs, `trained` the weights of the trained networks, one after the
  // other.
  constructor(model, root, { script, photos, trained }) {
    Object.assign(this, { model, root, trained });
    this.settings = null; // of the run that goes on, or of the last one
    this.isGoing = false;
    this.caption = make("p", {
      textContent: "Press an example, or choose settings and press Run.",
    });
    this.caption.setAttribute("aria-live", "polite");
    this.runButton = button("Run");
    this.stopButton = button("Stop");
    this.keepButton = button("Keep this result");
    this.starter = this.runButton; // the button that started the run
    this.progress = make("progress", { value: 0 });
    this.progress.setAttribute("aria-label", "evaluations done");
    this.engine = engineChoice(model);
    const isLocked = () => this.isGoing;
    this.secret = new SecretPicture(model, photos, isLocked, (words) => this.say(words));
    this.presets = presetButtons(model, (preset) => this.run(preset));
    const client = clientControls(model, this.secret, () => classNames(model));
    this.groups = [this.presets, client, attackerControls(model, this.engine)];
    this.readings = readings();
    this.film = new SearchFilm(this.caption);
    this.kept = new KeptResults();
    const fail = (message) => this.answer({ kind: "failed", message, run: this.settings?.run });
    this.worker = workerOf(script, (message) => this.answer(message), fail);
    this.listen();
    this.layOut();
    this.lock(false);
    this.keepButton.disabled = true;
    this.checkBrowser();
    model.send({ kind: "hello" });
  }

  listen() {
    this.runButton.addEventListener("click", () => this.run(this.runButton));
    this.stopButton.addEventListener("click", () => this.stop());
    this.keepButton.addEventListener("click", () => this.keep());
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
    const [presets, ...settings] = this.groups;
    this.root.append(
      presets,
      pictures,
      this.caption,
      labelled("film", film.slider),
      row(this.runButton, this.stopButton, this.progress, this.keepButton, film.saveButton),
      ...settings,
      film.chart,
      this.kept.root,
    );
  }

  checkBrowser() {
    if (typeof Worker !== "undefined") return;
    this.runButton.disabled = true;
    this.presets.disabled = true;
    this.say(
      "This browser has no Web Workers, in which this page computes; " +
        "open it in another browser, or in Colab.",
    );
  }

  say(words) {
    say(this.caption, words, false);
  }

  // While a run goes on, only Stop and Keep can be pressed. The focus goes from a button that is
  // disabled to the one that comes next.
  lock(isGoing) {
    const [from, to] = isGoing ? [this.starter, this.stopButton] : [this.stopButton, this.starter];
    const held = document.activeElement === from;
    this.isGoing = isGoing;
    for (const fieldset of this.groups) fieldset.disabled = isGoing;
    this.runButton.disabled = isGoing;
    this.stopButton.disabled = !isGoing;
    if (held) to.focus();
  }

  chosen() {
    const { model, secret } = this;
    const traits = Object.fromEntries(TRAITS.map((name) => [name, model.get(name)]));
    const half = this.trained.length / 2;
    const first = traits.activation === "relu" ? half : 0;
    return {
      ...traits,
      run: Math.random(),
      images: secret.images,
      labels: secret.labels,
      trained: traits.weights === "trained" ? this.trained.slice(first, first + half) : null,
      elsewhere: !this.engine.hidden && model.get("engine") === "kernel",
    };
  }

  run(starter) {
    this.starter = starter;
    this.settings = this.chosen();
    this.progress.max = this.settings.steps;
    this.progress.value = 0;
    this.lock(true);
    this.film.begin(this.settings.images);
    this.keepButton.disabled = false;
    this.say(`Running: ${settingsInWords(this.settings)} …`);
    this.worker.run(this.settings);
  }

  stop() {
    this.worker.stop();
    if (this.settings.elsewhere) this.model.send({ kind: "stop" });
    this.end("Stopped after");
  }

  end(how, more) {
    this.lock(false);
    this.film.end(how, more);
  }

  // Keep what the film shows at the moment, with the settings of its run.
  keep() {
    const { x, evaluation, error } = this.film.shown;
    const found = `RMSE ${error.toFixed(3)} after ${evaluation} evaluations`;
    this.kept.keep(x, `${settingsInWords(this.settings)}: ${found}`);
  }

  // Act on a message of the engine; one that comes after the end of its run is ignored.
  answer(message) {
    if (!this.isGoing || message.run !== this.settings.run) return;
    const actions = {
      shared: () => this.showShared(message),
      frame: () => this.showFrame(message),
      done: () => this.end("Done after", message),
      failed: () => this.end(`This attack could not run: ${message.message}. So far:`),
    };
    actions[message.kind]();
  }

  showShared(message) {
    this.readings.show(message, this.settings.labels, classNames(this.model));
    if (message.shared) sendToKernel(this.model, this.settings, message);
  }

  showFrame(message) {
    this.progress.value = message.evaluation;
    this.film.add(message);
  }
}

export default {
  async render({ model, el }) {
    const packed = ["script", "images", "trained"].map((name) => unpacked(model.get(name)));
    const [script, images, weights] = await Promise.all(packed);
    const root = make("div", { className: "dlg dlg-lab" });
    el.append(root);
    const contents = { photos: fromBytes(images), trained: new Float32Array(weights.buffer) };
    const laboratory = new Laboratory(model, root, { script, ...contents });
    return () => laboratory.worker.stop();
  },
};
