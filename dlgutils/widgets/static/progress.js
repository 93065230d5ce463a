// What the lab shows of a search: what was read off the gradient, and the film of the attacker's
// pictures.

import { animated } from "./apng.js";
import { make, paint, picture, say, svg } from "./controls.js";
import { curve } from "./curve.js";
import { PIXELS, SHAPE, SIDE, toBytes } from "./picture_input.js";

// The gradient of the classifier's bias, a bar for each class: the negative one points down.
function bars(figure, values, description) {
  const most = Math.max(...values.map(Math.abs));
  const [wide, high] = [100 / values.length, 40];
  const rectangles = Array.from(values, (v, k) => {
    const tall = (high * Math.abs(v)) / most;
    const y = v < 0 ? high + 2 : high - tall;
    const size = { width: wide - 2, height: Math.max(tall, 0.5) };
    const sign = v < 0 ? "dlg-negative" : "dlg-positive";
    return svg("rect", { x: k * wide + 1, y, ...size, class: sign });
  });
  const axis = svg("line", { x1: 0, x2: 100, y1: high + 1, y2: high + 1, class: "dlg-axis" });
  const look = { viewBox: "0 -9 100 100", role: "img", "aria-label": description };
  const drawn = svg("svg", look, axis, ...rectangles);
  figure.replaceChildren(drawn, make("figcaption", { textContent: description }));
}

// A mask, one square for each feature before the classifier: light if kept, dark if dropped.
function squares(figure, mask, description) {
  const shape = [mask.length / SIDE, SIDE, 1];
  const grid = picture(description, shape);
  const shades = Uint8Array.from(mask, (m) => (m > 0 ? 235 : 25));
  paint(grid, shades, shape, description);
  figure.replaceChildren(...grid.childNodes);
}

function labelWords(label, truth, classes) {
  if (label === null) return "not read: the attack optimises it";
  return `read: ${classes[label]}, ${label === truth ? "right" : "wrong"}`;
}

function maskWords({ mask, maskRead, draws }, taken) {
  if (draws) return "mask not read, drawn anew at every evaluation";
  const agreed = taken.filter((m, k) => m > 0 === mask[k] > 0).length;
  const right = `${agreed} of ${mask.length} right`;
  return maskRead ? `mask read: ${right}` : `mask not read, all taken as kept: ${right}`;
}

// What was read off the gradient: two figures, and a function that shows a message of the worker.
export function readings(classes) {
  const [labelFigure, maskFigure] = [make("figure"), make("figure")];
  const show = (message, truth) => {
    const label = labelWords(message.label, truth, classes);
    const title = `the bias gradient, a bar for each class; label ${label}`;
    bars(labelFigure, message.delta, title);
    const taken = message.maskRead ?? message.mask.map(() => 1);
    squares(maskFigure, taken, maskWords(message, taken));
  };
  return { figures: [labelFigure, maskFigure], show };
}

function rmse(a, b) {
  const squared = a.reduce((sum, v, k) => sum + (v - b[k]) ** 2, 0);
  return Math.sqrt(squared / a.length);
}

const GREY = new Float32Array(3 * PIXELS).fill(0.5);
const START = { evaluation: 0, loss: null, seconds: 0, x: GREY }; // of every attack

function inWords({ evaluation, loss, seconds, error }) {
  const parts = [`${evaluation} evaluations`];
  if (loss !== null) parts.push(`matching loss ${loss.toExponential(1)}`);
  parts.push(`RMSE ${error.toFixed(3)}`);
  if (evaluation) {
    const speed = (evaluation / Math.max(seconds, 1e-3)).toFixed(0);
    parts.push(`${seconds.toFixed(1)} s`, `${speed} evaluations a second`);
  }
  return parts.join(", ");
}

// Let the reader keep frames as an animated picture.
async function download(frames) {
  const pictures = frames.map(({ x }) => toBytes(x));
  const address = URL.createObjectURL(await animated(pictures, SIDE, 8));
  make("a", { href: address, download: "film.png" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers fetch it later
}

// The film of a search while it grows and when it has ended: a picture, the curve of its errors, a
// slider, and a button to keep it. What the pictures show is written into the caption.
export class SearchFilm {
  constructor(caption) {
    this.caption = caption;
    this.figure = picture("what the attacker has", SHAPE);
    const range = { type: "range", min: 0, max: 0, value: 0, disabled: true };
    this.slider = make("input", range);
    const save = { type: "button", textContent: "Save the film", disabled: true };
    this.saveButton = make("button", save);
    this.chart = make("div");
    this.truth = GREY;
    this.frames = [];
    this.latest = null; // the film may skip it
    this.isGoing = false;
    this.moveCursor = () => {};
    this.slider.addEventListener("input", () => this.moveTo(Number(this.slider.value)));
    this.saveButton.addEventListener("click", () => this.save());
    paint(this.figure, toBytes(GREY), SHAPE, "what the attacker has: plain grey");
  }

  begin(image) {
    this.truth = image;
    this.latest = this.judged(START);
    this.frames = [this.latest];
    this.lock(true);
    this.showCurve();
    this.show(this.latest);
  }

  add(frame) {
    this.latest = this.judged(frame);
    if (frame.filmed) {
      this.frames.push(this.latest);
      this.showCurve();
    }
    this.show(this.latest);
  }

  // Show the last frame, with what is known of it only now.
  end(how, more = {}) {
    if (this.latest !== this.frames.at(-1)) this.frames.push(this.latest);
    const last = this.judged({ ...this.frames.pop(), ...more });
    this.frames.push(last);
    this.slider.max = this.frames.length - 1;
    this.lock(false);
    this.showCurve();
    this.moveTo(this.frames.length - 1);
    say(this.caption, `${how} ${inWords(last)}`, false);
  }

  lock(isGoing) {
    this.isGoing = isGoing;
    this.slider.disabled = isGoing;
    this.saveButton.disabled = isGoing;
  }

  judged(frame) {
    return { ...frame, error: rmse(frame.x, this.truth) };
  }

  show(frame) {
    const words = inWords(frame);
    paint(this.figure, toBytes(frame.x), SHAPE, `what the attacker has: ${words}`);
    this.slider.setAttribute("aria-valuetext", words);
    const isRead = document.activeElement === this.slider; // it is read out anyway
    say(this.caption, words, this.isGoing || isRead);
  }

  moveTo(k) {
    this.slider.value = k;
    this.moveCursor(k);
    this.show(this.frames[k]);
  }

  showCurve() {
    const finite = (error) => (Number.isFinite(error) ? error : null);
    const errors = this.frames.map(({ error }) => finite(error));
    const evaluations = this.frames.map(({ evaluation }) => evaluation);
    const shown = { evaluations: [evaluations], errors: [errors], measure: "RMSE" };
    const { plot, draw } = curve(shown, (k) => this.isGoing || this.moveTo(k));
    this.moveCursor = (k) => draw(0, k);
    this.moveCursor(this.frames.length - 1);
    this.chart.replaceChildren(plot);
  }

  async save() {
    try {
      await download(this.frames);
    } catch (error) {
      say(this.caption, `This browser cannot write the film: ${error.message}`, false);
    }
  }
}
