// The attacker's search. The generated code provides `generated`: see worker.js.
/* global generated */

import { adam, lbfgs } from "./optimizers.js";
import { drawNormal } from "./random.js";

const FRAMES = 24;
const SHOW_EVERY = 0.05; // seconds between two pictures that are sent to the page
const SMALL = 0.01; // standard deviation, as in dlgutils.matching.starts
const optimizers = { lbfgs, adam };

// A generated function of one picture, of n numbers, applied to each of several.
function onEach(name, x, n) {
  const ofOne = generated[name]();
  const results = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += n) {
    results.set(ofOne({ x: x.subarray(from, from + n) }).x, from);
  }
  return results;
}

// Mid-grey pictures, with all labels alike: all zeros in the attack's coordinates. In a batch,
// equal guesses might stay equal, so a little noise makes them differ.
function startOf({ unknowns }, batch, random) {
  const small = () => (batch === 1 ? 0 : SMALL * drawNormal(random));
  const parts = {};
  for (const [name, n] of Object.entries(unknowns)) {
    parts[name] = Float32Array.from({ length: batch * n }, small);
  }
  if (batch === 1) return parts;
  const grey = parts.x.map((noise) => 0.5 + noise);
  return { ...parts, x: onEach("unknowns", grey, unknowns.x) };
}

// The matching loss as a function of the flat unknowns z: `evaluate` returns its value and slope,
// `parts` the tensors that z consists of, and `picture` the images.
function matchingProblem({ objective, unknowns }, activation, batch) {
  const lossAndSlopes = generated[`${objective}_${activation}_${batch}`]();
  const places = [];
  let length = 0;
  for (const [name, n] of Object.entries(unknowns)) {
    places.push([name, length, length + batch * n]);
    length += batch * n;
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
  const picture = (z) => onEach("picture", parts(z).x, unknowns.x);
  return { parts, evaluate, picture };
}

// The search for a batch. `given` is what the server sees and what was read off it. `draw` returns
// what is drawn anew before each evaluation. `report` is called after each one, with the best loss
// so far and a function that makes the pictures.
export function invert(attack, { activation, batch, steps, random }, given, draw, report) {
  const { parts, evaluate, picture } = matchingProblem(attack, activation, batch);
  const { name, settings } = attack.optimizer;
  const start = Object.values(startOf(attack, batch, random)).flatMap((part) => Array.from(part));
  const search = optimizers[name](Float64Array.from(start), settings);
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
export function frameSender(steps, secondsSoFar, send) {
  const wanted = frameSchedule(steps);
  let shown = -Infinity;
  return (evaluation, loss, picture) => {
    const filmed = wanted.has(evaluation);
    const seconds = secondsSoFar();
    if (!filmed && seconds - shown < SHOW_EVERY) return;
    shown = seconds;
    send({ kind: "frame", evaluation, loss, x: picture(), seconds, filmed });
  };
}
