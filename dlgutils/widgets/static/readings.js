// What the lab shows of what was read off the gradient, before any search: labels and masks.

import { make, paint, picture, svg } from "./controls.js";
import { SIDE } from "./strip.js";

// The gradient of the classifier's bias, a bar for each class: the negative ones point down.
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

// Masks of a batch side by side, one square for each feature before the classifier: light if taken
// as kept, dark if as dropped.
function squares(figure, values, batch, description) {
  const size = values.length / batch;
  const most = Math.max(...values) || 1;
  const shape = [size / SIDE, SIDE * batch, 1];
  const grid = picture(description, shape);
  const shades = Uint8ClampedArray.from(values, (_, k) => {
    const [row, column] = [Math.floor(k / shape[1]), k % shape[1]];
    const place = size * Math.floor(column / SIDE) + SIDE * row + (column % SIDE);
    return 25 + (210 * values[place]) / most;
  });
  paint(grid, shades, shape, description);
  figure.style.setProperty("--pictures", batch);
  figure.replaceChildren(...grid.childNodes);
}

const FEATURE_WORDS = "features read: the numbers that entered the classifier, light if large";

function labelWords(labels, truth, classes) {
  const [word, several] = truth.length > 1 ? ["labels", true] : ["label", false];
  if (labels === null)
    return `${word} not read: the attack searches for ${several ? "them" : "it"}`;
  const right = labels.filter((label) => truth.includes(label)).length;
  const verdict = several ? `${right} of ${truth.length} right` : right ? "right" : "wrong";
  return `${word} read: ${labels.map((label) => classes[label]).join(", ")}, ${verdict}`;
}

function maskWords({ mask, maskRead, draws }, taken, batch) {
  if (draws) return "mask not read; a new one is guessed at every evaluation";
  const agreed = taken.filter((m, k) => m > 0 === mask[k] > 0).length;
  const right = `${agreed} of ${mask.length} right`;
  if (!maskRead) return `mask not read; every feature assumed kept: ${right}`;
  if (batch === 1) return `mask read: ${right}`;
  return `masks read as far as all images dropped the same: ${right}`;
}

// What was read off the gradient: two figures, and a function that shows a message of the worker
// beside the true labels.
export function readings() {
  const [labelFigure, maskFigure] = [make("figure"), make("figure")];
  maskFigure.classList.add("dlg-strip");
  const show = (message, truth, classes) => {
    const words = labelWords(message.labels, truth, classes);
    bars(labelFigure, message.delta, `gradient of the bias, a bar for each class; ${words}`);
    if (message.features) {
      squares(maskFigure, message.features, 1, FEATURE_WORDS);
      return;
    }
    const taken = message.maskRead ?? message.mask.map(() => 1);
    squares(maskFigure, taken, truth.length, maskWords(message, taken, truth.length));
  };
  return { figures: [labelFigure, maskFigure], show };
}
