// Logits to drag, and bars of what they leave in the gradient of the classifier's bias.

import { labelled, make, options, say, svg } from "./controls.js";

const MOST = 20; // the largest logit that a slider gives
const BATCHES = [1, 2, 4];

// softmax(z) − onehot(y) in single precision, in the order in which PyTorch computes it.
function delta(logits, label) {
  const f = Math.fround;
  const most = Math.max(...logits);
  const shifted = logits.map((z) => f(f(z) - f(most)));
  const log = f(Math.log(shifted.reduce((sum, z) => f(sum + f(Math.exp(z))), 0)));
  return shifted.map((z, k) => f(f(Math.exp(f(z - log))) - Number(k === label)));
}

const number = (value) => {
  const size = Math.abs(value);
  const words = size > 0 && size < 0.005 ? size.toExponential(0) : size.toFixed(2);
  return value < 0 ? `−${words}` : words;
};

// One entry of the bias gradient as a bar, and above it the share of each image, end to end.
function drawBar(bar, shares, total) {
  const at = (value) => 50 + 48 * value;
  const box = (from, to, look) => {
    const [left, right] = [at(from), at(to)].sort((a, b) => a - b);
    return svg("rect", { x: `${left}%`, width: `${right - left}%`, ...look });
  };
  const ends = { true: 0, false: 0 };
  const parts = shares.map((share, k) => {
    const from = ends[share < 0];
    ends[share < 0] += share;
    return box(from, from + share, { y: 2, height: 6, class: `dlg-share dlg-share-${k}` });
  });
  const sign = total < 0 ? "dlg-negative" : "dlg-positive";
  const sum = box(0, total, { y: 9, height: 11, class: sign });
  const axis = svg("line", { x1: "50%", x2: "50%", y1: 0, y2: "100%", class: "dlg-axis" });
  bar.replaceChildren(...(shares.length > 1 ? parts : []), sum, axis);
}

// The row of one class: its logit, and its entry of the gradient.
function row(name, change) {
  const slider = make("input", { type: "range", min: -MOST, max: MOST, step: 0.1 });
  const bar = svg("svg", { class: "dlg-bar", role: "img" });
  const value = make("span", { className: "dlg-value" });
  slider.setAttribute("aria-label", `logit of ${name}`);
  slider.addEventListener("input", () => change(Number(slider.value)));
  const show = (z, own, shares) => {
    const total = shares.reduce((sum, share) => sum + share, 0);
    slider.value = z;
    slider.setAttribute("aria-valuetext", `z ${number(z)}, δ ${number(own)}`);
    value.textContent = number(total);
    bar.setAttribute("aria-label", `∂L/∂b at ${name}: ${number(total)}`);
    drawBar(bar, shares, total);
  };
  return { cells: [make("span", { textContent: name }), slider, bar, value], show };
}

const listed = (names) => (names.length ? names.join(", ") : "no class");

// What the bars show, in words: where the minus signs are, and what the simple rule reads.
function verdict(classes, labels, sums) {
  const negative = listed(classes.filter((_, k) => sums[k] < 0));
  const size = labels.length;
  if (size === 1) {
    const [label] = labels;
    const lost = ": softmax was rounded to 1, so nothing is left of the minus sign";
    return `One image, of class ${classes[label]}. δ is negative at ${negative}${
      sums[label] < 0 ? " and nowhere else" : lost
    }.`;
  }
  const order = classes.map((_, k) => k).sort((a, b) => sums[a] - sums[b]);
  const read = order.slice(0, size).sort((a, b) => a - b);
  const truth = [...labels].sort((a, b) => a - b);
  const words = (ids) => listed(ids.map((k) => classes[k]));
  const right = read.join() === truth.join() ? "right" : "wrong";
  return (
    `∂L/∂b, the mean of ${size} δ's, is negative at ${negative}. ` +
    `Its ${size} smallest entries: ${words(read)}. The labels: ${words(truth)}. ` +
    `So the rule "take the ${size} smallest" is ${right} here.`
  );
}

// A select that answers with the place of the value chosen.
function chooser(words, act) {
  const places = words.map((_, k) => k);
  const select = make("select", {}, ...options(places, words));
  select.addEventListener("input", () => act(Number(select.value)));
  return select;
}

// What the reader has set: logits and labels of every image, how many of them, and which is shown.
function start(model) {
  const now = { network: 0, size: 1, image: 0, logits: [], labels: [] };
  const load = (network) => {
    now.network = network;
    now.logits = model.get("logits")[network].map((image) => [...image]);
    now.labels = [...model.get("labels")];
  };
  load(0);
  return { now, load };
}

// The selectors above the rows, and a function that shows their state.
function choosers(model, now, load, changed) {
  const most = model.get("labels").length;
  const sizes = BATCHES.filter((size) => size <= most);
  const setting = (act) => (place) => {
    act(place);
    changed();
  };
  const network = chooser(model.get("networks"), setting(load));
  const resize = (k) => Object.assign(now, { size: sizes[k], image: 0 });
  const size = chooser(sizes, setting(resize));
  const show = (k) => Object.assign(now, { image: k });
  const image = chooser([1], setting(show));
  const label = chooser(
    model.get("classes"),
    setting((k) => now.labels.splice(now.image, 1, k)),
  );
  const reset = make("button", { type: "button", textContent: "Reset" });
  reset.addEventListener("click", () => setting(load)(now.network));
  const update = () => {
    const places = Array.from({ length: now.size }, (_, k) => k);
    const words = places.map((k) => k + 1);
    if (image.options.length !== now.size) image.replaceChildren(...options(places, words));
    image.value = now.image;
    image.disabled = now.size === 1;
    label.value = now.labels[now.image];
  };
  const controls = [
    labelled("network", network),
    labelled("images in the batch", size),
    labelled("show image", image),
    labelled("its class", label),
    reset,
  ];
  return { controls, update };
}

function deltas(model, root) {
  const { now, load } = start(model);
  const classes = model.get("classes");
  const caption = make("p");
  const draw = () => {
    const labels = now.labels.slice(0, now.size);
    const each = labels.map((label, k) => delta(now.logits[k], label));
    const shares = classes.map((_, c) => each.map((one) => Math.fround(one[c] / now.size)));
    const sums = shares.map((parts) => parts.reduce((sum, part) => sum + part, 0));
    update();
    rows.forEach(({ show }, c) => {
      show(now.logits[now.image][c], each[now.image][c], shares[c]);
    });
    say(caption, verdict(classes, labels, sums), document.activeElement?.type === "range");
  };
  const rows = classes.map((name, c) =>
    row(name, (z) => {
      now.logits[now.image][c] = z;
      draw();
    }),
  );
  const { controls, update } = choosers(model, now, load, draw);
  const heads = ["class", "logit z", "∂L/∂b", ""].map((textContent) => make("b", { textContent }));
  const table = make("div", { className: "dlg-table" }, ...heads);
  table.append(...rows.flatMap(({ cells }) => cells));
  root.append(make("div", { className: "dlg-row" }, ...controls), table, caption);
  draw();
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-deltas" });
    el.append(root);
    deltas(model, root);
  },
};
