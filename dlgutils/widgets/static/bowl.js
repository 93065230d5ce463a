// A bowl with a wall, two searches on it, and controls to move their start and to change the bowl.

import { descend, landscape } from "./bowl_search.js";
import { bound, make, say, svg } from "./controls.js";

const EVALUATIONS = 60;
const EDGE = 10; // the picture shows the unknowns from -EDGE to EDGE
const PIXELS = 120; // of the picture, along each side
const NEAR = 0.5; // a search has arrived at this distance from the secret
const NAMES = { full: "Full step (crosses)", searching: "Line search (dots)" };
const EXAMPLES = {
  "full step explodes": { across: -6, up: 2, scale_power: 0, condition_power: 1 },
  "full step freezes": { across: -6, up: 2, scale_power: -3, condition_power: 1 },
  "both arrive": { across: 0, up: 4, scale_power: 0, condition_power: 1 },
  "both get lost": { across: 2, up: 6, scale_power: 0, condition_power: 2 },
};

const distance = ({ at }) => Math.hypot(...at);
const short = (value) => String(Number(value.toPrecision(2)));
const counted = (n) => `${n} evaluation${n === 1 ? "" : "s"}`;
const bowlOf = (model) => ({
  scale: 10 ** model.get("scale_power"),
  condition: 10 ** model.get("condition_power"),
});

// What became of a search, in words.
function outcome(path) {
  const [first, last] = [path[0], path.findLast(({ accepted }) => accepted)];
  const away = path.findLastIndex((point) => point.accepted && distance(point) > NEAR);
  const place = `${short(distance(last))} away from the secret`;
  const share = last.value / first.value;
  if (distance(last) <= NEAR) {
    const arrival = path.findIndex(({ accepted }, k) => accepted && k > away);
    return `arrives after ${counted(arrival + 1)}`;
  }
  if (share > 1) {
    return `ends with ${short(share)} times the loss of the start, ${place}, where all is level`;
  }
  if (share > 0.9 && Math.hypot(last.at[0] - first.at[0], last.at[1] - first.at[1]) < 0.5) {
    const number = counted(path.length);
    return `has hardly moved after ${number}, for its thresholds refuse the curvature`;
  }
  const rest = `${short(100 * share)} % of the first loss`;
  return `after ${counted(path.length)} has ${rest}, but is ${place}`;
}

// Paint the loss in bands: one for each factor of two below its height at the wall.
function paintBowl(canvas, evaluate, scale) {
  const image = new ImageData(PIXELS, PIXELS);
  const unknown = (k) => (2 * EDGE * (k + 0.5)) / PIXELS - EDGE;
  for (let p = 0; p < PIXELS ** 2; p++) {
    const [value] = evaluate([unknown(p % PIXELS), -unknown(Math.floor(p / PIXELS))]);
    const band = Math.max(0, 12 + Math.ceil(Math.log2(value / scale)));
    image.data.set([28, 134, 216, 14 * band], 4 * p);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const cross = ([x, y]) =>
  svg("path", { d: `M${x - 0.2} ${y - 0.2}l.4 .4m0 -.4l-.4 .4`, class: "dlg-full" });
const disc = ([x, y], accepted) =>
  svg("circle", { cx: x, cy: y, r: 0.2, class: accepted ? "dlg-taken" : "dlg-refused" });

// A path as a line through the points that were taken, with a mark at every point.
function drawPath(path, rule) {
  const flipped = path.map(({ at: [x, y], accepted }) => ({ at: [x, -y], accepted }));
  const taken = flipped.filter(({ accepted }) => accepted).map(({ at }) => at);
  const line = svg("polyline", { points: taken.join(" "), class: `dlg-path dlg-${rule}` });
  const marks = flipped.map(({ at, accepted }) =>
    rule === "full" ? cross(at) : disc(at, accepted),
  );
  return [line, ...marks];
}

// The picture of the bowl; a click or a drag on it moves the start.
function bowlPicture(move) {
  const canvas = make("canvas", { width: PIXELS, height: PIXELS });
  canvas.setAttribute("role", "img");
  const box = `${-EDGE} ${-EDGE} ${2 * EDGE} ${2 * EDGE}`;
  const paths = svg("svg", { class: "dlg-paths", viewBox: box, "aria-hidden": "true" });
  const follow = ({ clientX, clientY }) => {
    const { left, top, width, height } = paths.getBoundingClientRect();
    const across = 2 * EDGE * ((clientX - left) / width) - EDGE;
    move(across, EDGE - 2 * EDGE * ((clientY - top) / height));
  };
  paths.addEventListener("pointerdown", (event) => {
    paths.setPointerCapture(event.pointerId);
    follow(event);
  });
  paths.addEventListener("pointermove", (event) => {
    if (paths.hasPointerCapture(event.pointerId)) follow(event);
  });
  return { canvas, paths, figure: make("div", { className: "dlg-land" }, canvas, paths) };
}

const slider = (model, words, name, limits) => {
  const range = bound(model, name, make("input", { type: "range", ...limits }), Number);
  const value = make("span", { className: "dlg-value" });
  return { range, name, value, label: make("label", {}, words, range, value) };
};

function sliders(model) {
  const place = { min: -8, max: 8, step: 0.25 };
  return [
    slider(model, "start, across", "across", place),
    slider(model, "start, up", "up", place),
    slider(model, "scale of the loss", "scale_power", { min: -8, max: 2, step: 1 }),
    slider(model, "condition number", "condition_power", { min: 0, max: 2, step: 0.1 }),
  ];
}

function set(model, traits) {
  for (const [name, value] of Object.entries(traits)) model.set(name, value);
  model.save_changes();
}

const examples = (model) =>
  Object.entries(EXAMPLES).map(([words, traits]) => {
    const button = make("button", { type: "button", textContent: words });
    button.addEventListener("click", () => set(model, traits));
    return button;
  });

function bowl(model, root) {
  const within = (value) => Math.max(-8, Math.min(8, Math.round(4 * value) / 4));
  const move = (across, up) => set(model, { across: within(across), up: within(up) });
  const { canvas, paths, figure } = bowlPicture(move);
  const controls = sliders(model);
  const caption = make("p");

  const draw = () => {
    const [shape, start] = [bowlOf(model), [model.get("across"), model.get("up")]];
    const evaluate = landscape(shape);
    const rules = Object.keys(NAMES);
    const found = rules.map((rule) => descend(evaluate, start, rule, EVALUATIONS));
    const secret = svg("circle", { r: 0.45, class: "dlg-secret" });
    paintBowl(canvas, evaluate, shape.scale);
    paths.replaceChildren(secret, ...found.flatMap((path, k) => drawPath(path, rules[k])));
    const words = found.map((path, k) => `${NAMES[rules[k]]}: ${outcome(path)}.`).join(" ");
    canvas.setAttribute("aria-label", `loss over two unknowns, the secret in the middle. ${words}`);
    const isRead = controls.some(({ range }) => document.activeElement === range);
    say(caption, words, isRead); // a slider with the focus is read out anyway
    describe(controls, shape, words);
  };

  const row = (...children) => make("div", { className: "dlg-row" }, ...children);
  const labels = controls.map(({ label }) => label);
  root.append(row(...examples(model)), figure, caption, row(...labels));
  model.on(controls.map(({ name }) => `change:${name}`).join(" "), draw);
  draw();
}

// Write the values beside the sliders, and for screen readers also what they do.
function describe(controls, { scale, condition }, words) {
  const values = { scale_power: scale.toExponential(0), condition_power: short(condition) };
  for (const { range, name, value } of controls) {
    value.textContent = values[name] ?? range.value;
    range.setAttribute("aria-valuetext", `${value.textContent}. ${words}`);
  }
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-bowl" });
    el.append(root);
    bowl(model, root);
  },
};
