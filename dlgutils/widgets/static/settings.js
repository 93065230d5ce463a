// What the reader chooses: presets, and the settings of the client and the attacker.

import { bound, choice, labelled, make, switchOf } from "./controls.js";

const BATCHES = [1, 2, 4];
const WEIGHTS = {
  default: "untrained, PyTorch's default",
  wide: "untrained, wide (±0.5)",
  trained: "trained on fruit",
};
const NONE = "none"; // of the defences
const FEATURES = "Features"; // an attack for one picture, which knows no defence
const PLAIN = {
  batch: 1,
  activation: "sigmoid",
  weights: "default",
  rate: 0,
  defense: NONE,
  knows: false,
  attack: "iDLG",
};
const TRAINED = { weights: "trained", photo: "orange" };
const PRUNED = { defense: "largest 10 % kept" };
const PRESETS = {
  "No defence": {},
  "Dropout, naive attacker": { rate: 0.5 },
  "Dropout, mask read": { rate: 0.5, attack: "iDLG, mask read" },
  "Pruning, naive attacker": PRUNED,
  "Pruning, defence known": { ...PRUNED, knows: true },
  "A batch of four": { batch: 4 },
  "A trained network": TRAINED,
  "Trained, by features": { ...TRAINED, activation: "relu", attack: FEATURES },
};

const group = (title, ...controls) =>
  make("fieldset", {}, make("legend", { textContent: title }), ...controls);
const number = (model, name, min, max) =>
  bound(model, name, make("input", { type: "number", min, max, step: 1 }), Number);

// Choose several values at once, and as many evaluations as show what the attack finds.
function choose(model, chosen) {
  for (const [name, value] of Object.entries(chosen)) model.set(name, value);
  model.set("steps", model.get("enough")[model.get("weights")]);
  model.save_changes();
}

const among = (values) => values[Math.floor(Math.random() * values.length)];

// A setting that nobody has chosen: a photograph that belongs to the network, a seed, and all else.
function surprise(model) {
  const weights = among(Object.keys(WEIGHTS));
  const photos = model.get("photos");
  const half = photos.length / 2;
  const attack = among(model.get("attacks"));
  const isSimple = attack === FEATURES;
  return {
    weights,
    photo: among(weights === "trained" ? photos.slice(half) : photos.slice(0, half)),
    batch: isSimple ? 1 : among(BATCHES),
    activation: among(["sigmoid", "sigmoid", "relu"]),
    rate: among([0, 0, 0.5, 0.9]),
    defense: among([NONE, among(model.get("defenses"))]),
    knows: isSimple ? false : among([false, true]),
    attack,
    seed: Math.floor(Math.random() * 1000),
  };
}

// Buttons that set everything and run; `run` takes the button.
export function presetButtons(model, run) {
  const button = (textContent, setting) => {
    const preset = make("button", { type: "button", textContent });
    preset.addEventListener("click", () => {
      choose(model, setting());
      run(preset);
    });
    return preset;
  };
  const presets = Object.entries(PRESETS).map(([name, setting]) =>
    button(name, () => ({ ...PLAIN, ...setting })),
  );
  return group(
    "Run an example",
    ...presets,
    button("Surprise me", () => surprise(model)),
  );
}

// A slider for a trait that takes one of several values, with the value in words beside it.
function slider(model, name, title, values, words) {
  const range = make("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
  const shown = make("span");
  shown.setAttribute("aria-hidden", "true"); // the slider's value is read out anyway
  const show = () => {
    range.value = values.indexOf(model.get(name));
    shown.textContent = words(model.get(name));
    range.setAttribute("aria-valuetext", words(model.get(name)));
  };
  range.addEventListener("input", () => {
    model.set(name, values[Number(range.value)]);
    model.save_changes();
  });
  model.on(`change:${name}`, show);
  show();
  const label = labelled(title, range);
  label.append(shown);
  return label;
}

// The weights of the network; new ones set the evaluations to as many as they need.
function weightsChoice(model) {
  const weights = choice(model, "weights", Object.keys(WEIGHTS), Object.values(WEIGHTS));
  weights.addEventListener("input", () => choose(model, {}));
  return weights;
}

// The classes that the client may report: those of the network that is chosen.
function labelChoice(model, names) {
  const label = make("select");
  const refill = () => {
    label.replaceChildren(...names().map((value) => make("option", { value, textContent: value })));
    label.value = model.get("label");
  };
  refill();
  model.on("change:weights", refill);
  return bound(model, "label", label, String);
}

export function clientControls(model, secret, names) {
  const rates = Array.from({ length: 10 }, (_, k) => k / 10);
  const units = choice(model, "activation", ["sigmoid", "relu"], ["sigmoid", "ReLU"]);
  const several = (n) => (n === 1 ? "1 picture" : `${n} pictures`);
  return group(
    "The client",
    ...secret.makeControls(),
    labelled("class the client reports", labelChoice(model, names)),
    slider(model, "batch", "batch", BATCHES, several),
    labelled("activation", units),
    labelled("weights of the network", weightsChoice(model)),
    slider(model, "rate", "dropout rate", rates, (rate) => rate.toFixed(1)),
    labelled("defence of the gradient", choice(model, "defense", model.get("defenses"))),
    labelled("seed", number(model, "seed", 0, 999)),
  );
}

// Whether the attacker knows the defence, if there is one.
function knowsSwitch(model) {
  const knows = switchOf(model, "knows");
  const show = () => (knows.disabled = model.get("defense") === NONE);
  model.on("change:defense", show);
  show();
  return labelled("knows the defence", knows);
}

export function attackerControls(model, engine) {
  const attack = labelled("attack", choice(model, "attack", model.get("attacks")));
  const evaluations = labelled("evaluations", number(model, "steps", 1, 5000));
  return group("The attacker", attack, knowsSwitch(model), evaluations, engine);
}

export function engineChoice(model) {
  const words = ["JavaScript in this page", "PyTorch in the kernel"];
  const engine = labelled("engine", choice(model, "engine", ["page", "kernel"], words));
  engine.hidden = true; // until a kernel answers
  return engine;
}

// The settings of a run in words, but for those that are as usual.
export function settingsInWords({ photo, batch, weights, rate, attack, seed, ...more }) {
  const { activation, defense, knows } = more;
  const first = photo || "your own picture";
  const parts = [batch === 1 ? first : `${first} and the next ${batch - 1}`];
  if (activation === "relu") parts.push("ReLU");
  if (weights !== "default") parts.push(`${weights} weights`);
  if (rate) parts.push(`dropout ${rate}`);
  if (defense !== NONE) parts.push(`${defense} (${knows ? "known" : "not known"})`);
  return [...parts, attack, `seed ${seed}`].join(", ");
}
