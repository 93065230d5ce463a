// What the lab shows of a search: the film of the attacker's pictures.

import { animated } from "./apng.js";
import { make, picture, say } from "./controls.js";
import { curve } from "./curve.js";
import { countOf, grey, paintStrip, paired, part, rmse, SIDE, shapeOf, toBytes } from "./strip.js";

const TITLE = "what the attacker has";
const START = { evaluation: 0, loss: null, seconds: 0, filmed: true };

function inWords({ evaluation, loss, seconds, error, errors }) {
  const parts = [`${evaluation} evaluations`];
  if (loss !== null) parts.push(`matching loss ${loss.toExponential(1)}`);
  parts.push(`RMSE ${error.toFixed(3)}`);
  if (errors.length > 1) parts[parts.length - 1] += ` (${errors.map(three).join(", ")})`;
  if (evaluation) {
    const speed = (evaluation / Math.max(seconds, 1e-3)).toFixed(0);
    parts.push(`${seconds.toFixed(1)} s`, `${speed} evaluations a second`);
  }
  return parts.join(", ");
}
const three = (error) => error.toFixed(3);

// Let the reader keep frames as an animated picture.
async function download(frames) {
  const pictures = frames.map(({ x }) => toBytes(x));
  const address = URL.createObjectURL(await animated(pictures, shapeOf(frames[0].x), 8));
  make("a", { href: address, download: "film.png" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers fetch it later
}

// The film of a search while it grows and when it has ended: pictures, the curve of their errors, a
// slider, and a button to save it. What the pictures show is written into the caption.
export class SearchFilm {
  constructor(caption) {
    this.caption = caption;
    this.figure = picture(TITLE, [SIDE, SIDE]);
    this.figure.classList.add("dlg-strip");
    const range = { type: "range", min: 0, max: 0, value: 0, disabled: true };
    this.slider = make("input", range);
    const save = { type: "button", textContent: "Save the film", disabled: true };
    this.saveButton = make("button", save);
    this.chart = make("div");
    this.truth = grey(1);
    this.frames = [];
    this.latest = null; // the film may skip it
    this.shown = null;
    this.isGoing = false;
    this.moveCursor = () => {};
    this.slider.addEventListener("input", () => this.moveTo(Number(this.slider.value)));
    this.saveButton.addEventListener("click", () => this.save());
    paintStrip(this.figure, this.truth, `${TITLE}: plain grey`);
  }

  begin(images) {
    this.truth = images;
    this.latest = this.judged({ ...START, x: grey(countOf(images)) });
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

  // A frame with its errors, in the order of the client's pictures.
  judged(frame) {
    const x = paired(frame.x, this.truth);
    const each = Array.from({ length: countOf(x) }, (_, k) => k);
    const errors = each.map((k) => rmse(part(x, k), part(this.truth, k)));
    return { ...frame, x, errors, error: rmse(x, this.truth) };
  }

  show(frame) {
    this.shown = frame;
    const words = inWords(frame);
    paintStrip(this.figure, frame.x, `${TITLE}: ${words}`);
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
    const axes = { unit: "evaluations", measure: "RMSE" };
    const shown = { evaluations: [evaluations], errors: [errors], ...axes };
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
