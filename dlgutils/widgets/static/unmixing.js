// A batch that comes apart: one gradient of several pictures, and what is read from it in turns.

import { bound, bytes, labelled, make, say } from "./controls.js";
import { honestRound, takeTurns } from "./fixed_point.js";

const TURN_TIME = 400; // milliseconds
const SEED = 7;

// The pictures of the widget as rows of numbers in [0, 1].
function picturesOf(model) {
  const pixels = bytes(model.get("images"));
  const size = model.get("shape").reduce((a, b) => a * b);
  const count = pixels.length / size;
  return Array.from({ length: count }, (_, k) =>
    Float64Array.from(pixels.subarray(k * size, (k + 1) * size), (v) => v / 255),
  );
}

// The round that the reader chose, and all its turns.
function compute(model, pictures) {
  const batch = model.get("batch");
  const y = Array.from({ length: batch }, (_, k) => (k === 1 && model.get("alike") ? 0 : k));
  const rate = model.get("rate");
  const round = honestRound(pictures.slice(0, batch), y, model.get("classes"), rate, SEED);
  const history = takeTurns(round, model.get("turns"), model.get("half"));
  return { round, history, rate };
}

// How far the worst picture is from its own: the largest RMSE, on the scale of the pixels.
function worst(inputs, truth, rate) {
  const errors = inputs.map((row, i) => {
    const last = row.length - 1;
    let sum = 0;
    for (let k = 0; k < last; k++) sum += (row[k] - truth[i][k]) ** 2;
    return (1 - rate) * Math.sqrt(sum / last);
  });
  return Math.max(...errors);
}

// Of a pair of one class nobody can say which is which: the order that fits better.
function ordered(inputs, truth, rate) {
  const swapped = [inputs[1], inputs[0], ...inputs.slice(2)];
  return worst(swapped, truth, rate) < worst(inputs, truth, rate) ? swapped : inputs;
}

// A grid of pictures, four in a row, on one canvas.
function grid(caption, count, [height, width]) {
  const canvas = make("canvas", { width: 4 * (width + 1) - 1 });
  canvas.height = Math.ceil(count / 4) * (height + 1) - 1;
  canvas.setAttribute("role", "img");
  return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
}

const byte = (v) => Math.round(255 * Math.min(1, Math.max(0, v || 0)));

function paintGrid(figure, rows, [height, width, channels], scale, words) {
  const canvas = figure.querySelector("canvas");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  rows.forEach((row, i) => {
    const image = new ImageData(width, height);
    for (let p = 0; p < width * height; p++) {
      for (let c = 0; c < 3; c++) {
        image.data[4 * p + c] = byte(scale * row[p * channels + Math.min(c, channels - 1)]);
      }
      image.data[4 * p + 3] = 255;
    }
    context.putImageData(image, (i % 4) * (width + 1), Math.floor(i / 4) * (height + 1));
  });
  canvas.setAttribute("aria-label", words);
}

function inWords(turn, residual, error) {
  if (turn === 0)
    return "Before the first turn: one row of the gradient, a mixture of all pictures.";
  const end = error < 0.02 ? "all pictures have come apart" : "not apart";
  const parts = [`largest error ${error.toFixed(3)}`, `residual ${residual.toExponential(0)}`];
  return `After turn ${turn}: ${end}; ${parts.join(", ")}.`;
}

const slider = (model, name, limits, unit = Number) =>
  bound(model, name, make("input", { type: "range", ...limits }), unit);

function checkbox(model, name, words) {
  const box = make("input", { type: "checkbox", checked: model.get(name) });
  box.addEventListener("input", () => {
    model.set(name, box.checked);
    model.save_changes();
  });
  model.on(`change:${name}`, () => {
    box.checked = model.get(name);
  });
  return make("label", {}, box, words);
}

// Plays the turns while the widget is in the page; `stopped` is called when it stops.
function player(model, root, button) {
  let timer = null;
  const show = (turn) => {
    model.set("turn", turn);
    model.save_changes();
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const forward = () => {
    const next = model.get("turn") + 1;
    if (!root.isConnected || next > model.get("turns")) return pause();
    show(next);
  };
  button.addEventListener("click", () => {
    if (timer) return pause();
    button.textContent = "Pause";
    timer = setInterval(forward, TURN_TIME);
    show(0);
  });
  return { pause, isPlaying: () => timer !== null };
}

// The controls of the round and those of its turns, a row each.
function controls(model, count) {
  const [first, second] = model.get("names");
  const turn = slider(model, "turn", { min: 0, max: model.get("turns"), step: 1 });
  const play = make("button", { type: "button", textContent: "Play" });
  const row = (...children) => make("div", { className: "dlg-row" }, ...children);
  const size = slider(model, "batch", { min: 2, max: count, step: 1 });
  const rate = slider(model, "rate", { min: 0, max: 0.9, step: 0.1 });
  const above = [
    row(labelled("pictures", size), labelled("dropout", rate)),
    row(
      checkbox(model, "alike", `${first} and ${second} in one class`),
      checkbox(model, "half", "half turns"),
    ),
  ];
  return { size, rate, turn, play, above, below: row(labelled("turn", turn), play) };
}

// Both grids, and functions that show the round and one of its turns.
function grids(model, count) {
  const shape = model.get("shape");
  const sent = grid("what the client computed with", count, shape);
  const found = grid("read from the one gradient", count, shape);
  const showRound = ({ round, rate }) => {
    const names = model.get("names").slice(0, round.y.length).join(", ");
    const words = `what the client computed with: ${names}, dropout ${rate}`;
    paintGrid(sent, round.inputs, shape, 1 - rate, words);
  };
  // Returns what it shows in words.
  const showTurn = ({ round, history, rate }, turn) => {
    const inputs = ordered(history[turn].inputs, round.inputs, rate);
    const words = inWords(turn, history[turn].residual, worst(inputs, round.inputs, rate));
    paintGrid(found, inputs, shape, 1 - rate, `read from the one gradient. ${words}`);
    return words;
  };
  return { sent, found, showRound, showTurn };
}

function unmixing(model, root) {
  const pictures = picturesOf(model);
  const { size, rate, turn, play, above, below } = controls(model, pictures.length);
  const { sent, found, showRound, showTurn } = grids(model, pictures.length);
  const caption = make("p");
  const motion = player(model, root, play);
  let state = null;

  const draw = () => {
    const words = showTurn(state, model.get("turn"));
    turn.setAttribute("aria-valuetext", words);
    say(caption, words, motion.isPlaying() || document.activeElement === turn);
  };
  const redraw = () => {
    state = compute(model, pictures);
    size.setAttribute("aria-valuetext", `${model.get("batch")} pictures`);
    rate.setAttribute("aria-valuetext", `a rate of ${model.get("rate")}`);
    showRound(state);
    draw();
  };
  turn.addEventListener("input", motion.pause);
  model.on("change:turn", draw);
  model.on("change:batch change:rate change:alike change:half", redraw);
  const both = make("div", { className: "dlg-row dlg-grids" }, found, sent);
  root.append(...above, both, below, caption);
  redraw();
  return motion.pause;
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-unmixing" });
    el.append(root);
    return unmixing(model, root);
  },
};
