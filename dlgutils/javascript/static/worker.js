// One round of federated learning and one attack on it, in a worker of the page. The generated code
// provides `generated`, the functions that PyTorch's graphs became, and `network`, a description of
// the LeNet and of the attacks: see dlgutils.javascript.worker.
/* global generated, network */

import { adam, lbfgs } from "./optimizers.js";
import { drawMask, drawNormal, drawUniform, generator } from "./random.js";
import { certainLogits, oneHot, readLabel, readMask } from "./reading.js";

const FRAMES = 24;
const SHOW_EVERY = 50; // milliseconds between two pictures that are sent to the page
const optimizers = { lbfgs, adam };

// The honest client: fresh weights, and the gradient of one image under a mask of its own, with
// noise on every number. The mask is the client's secret; `shared` is what the server gets.
function share({ image, label, rate, noise, weights, seed }) {
  const random = generator(seed);
  const shared = {};
  for (const [name, size, bounds] of network.parameters) {
    shared[`weights.${name}`] = drawUniform(random, size, bounds[weights]);
  }
  const mask = drawMask(random, network.features, rate);
  const y = oneHot(label, network.classes);
  const gradient = generated.share()({ ...shared, x: image, y, mask });
  for (const [name, numbers] of Object.entries(gradient)) {
    const noisy = numbers.map((g) => (noise ? g + noise * drawNormal(random) : g));
    shared[`gradient.${name}`] = noisy;
  }
  return { shared, mask };
}

// What the attacker reads off the gradient: null for what this attack does not read.
function read({ readsLabel, readsMask }, shared, rate, noise) {
  const label = readsLabel ? readLabel(shared["gradient.fc.bias"]) : null;
  const weightGradient = shared["gradient.fc.weight"];
  const maskRead =
    readsMask && rate > 0 ? readMask(weightGradient, network.classes, rate, noise) : null;
  return { label, maskRead };
}

// The matching loss as a function of the flat unknowns z: `evaluate` returns its value and slope,
// `parts` the tensors that z consists of, and `picture` the image.
function matchingProblem({ objective, unknowns }) {
  const lossAndSlopes = generated[objective]();
  const decode = generated.picture();
  const places = [];
  let length = 0;
  for (const [name, n] of Object.entries(unknowns)) {
    places.push([name, length, length + n]);
    length += n;
  }
  const parts = (z) =>
    Object.fromEntries(
      places.map(([name, from, to]) => [name, Float32Array.from(z.subarray(from, to))]),
    );
  const evaluate = (z, given) => {
    const answer = lossAndSlopes({ ...given, ...parts(z) });
    const slope = new Float64Array(length);
    for (const [name, from] of places) slope.set(answer[`slope.${name}`], from);
    return { value: answer.value[0], slope };
  };
  const picture = (z) => decode({ x: parts(z).x }).x.slice();
  return { length, parts, evaluate, picture };
}

// The attacker's search. `given` is what the server sees and what was read off it. The search
// starts from zero, which is mid-grey in the attack's coordinates, with all labels alike. `draw`
// returns what is drawn anew before each evaluation. `report` is called after each one, with the
// best loss so far and a function that makes the picture.
function invert(attack, given, steps, draw, report) {
  const { length, parts, evaluate, picture } = matchingProblem(attack);
  const { name, settings } = attack.optimizer;
  const search = optimizers[name](new Float64Array(length), settings);
  let best = search.current;
  let bestLoss = Infinity;
  let evaluation = 0;
  let goesOn = true;
  while (goesOn && evaluation < steps) {
    evaluation += 1;
    const { value, slope } = evaluate(search.trial, { ...given, ...draw() });
    if (value < bestLoss) {
      best = search.trial;
      bestLoss = value;
    }
    goesOn = search.update(value, slope);
    report(evaluation, bestLoss, () => picture(search.current));
  }
  return { evaluation, loss: bestLoss, x: picture(best), logits: parts(best).logits };
}

// After how many evaluations the film has a frame, as in dlgutils.matching.frame_schedule.
function frameSchedule(steps) {
  const wanted = new Set();
  for (let k = 1; k <= FRAMES; k++) wanted.add(Math.max(1, Math.round(steps * (k / FRAMES) ** 2)));
  return wanted;
}

// A function that sends the frames of the film, and between them a picture now and then.
function frameSender(steps, secondsSoFar, send) {
  const wanted = frameSchedule(steps);
  let shown = -Infinity;
  return (evaluation, loss, picture) => {
    const filmed = wanted.has(evaluation);
    const seconds = secondsSoFar();
    if (!filmed && seconds - shown < SHOW_EVERY / 1000) return;
    shown = seconds;
    send({ kind: "frame", evaluation, loss, x: picture(), seconds, filmed });
  };
}

// One run: the client's round, what can be read, and the search, unless that happens elsewhere.
function run({ attack: name, rate, noise, seed, steps, elsewhere, ...client }, send) {
  const attack = network.attacks[name];
  const { shared, mask } = share({ rate, noise, seed, ...client });
  const { label, maskRead } = read(attack, shared, rate, noise);
  send({
    kind: "shared",
    delta: shared["gradient.fc.bias"],
    label,
    mask,
    maskRead,
    draws: attack.draws,
    shared: elsewhere ? shared : null,
  });
  if (elsewhere) return;

  const given = { ...shared, mask: maskRead ?? new Float32Array(network.features).fill(1) };
  if (label !== null) given.logits = certainLogits(label, network.classes);
  const random = generator(seed + 1);
  const draw = () => (attack.draws ? { mask: drawMask(random, network.features, rate) } : {});
  const began = performance.now();
  const secondsSoFar = () => (performance.now() - began) / 1000;
  const found = invert(attack, given, steps, draw, frameSender(steps, secondsSoFar, send));
  send({ kind: "done", ...found, seconds: secondsSoFar() });
}

if (typeof WorkerGlobalScope !== "undefined") {
  addEventListener("message", ({ data }) => {
    const send = (message) => postMessage({ ...message, run: data.run }); // which run it belongs to
    try {
      run(data, send);
    } catch (error) {
      send({ kind: "failed", message: String(error) });
    }
  });
}
