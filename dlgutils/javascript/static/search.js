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

// The matching loss of a guess: its value, and its slopes in the parts of the guess.
function matchingLoss({ objective }, kind) {
  const lossAndSlopes = generated[`${objective}_${kind}`]();
  return (guess) => {
    const { value, ...slopes } = lossAndSlopes(guess);
    return { value: value[0], slopes };
  };
}

// The same for an attacker who knows the defence: what was made of the guess is compared with what
// was sent, and the slopes follow from the pull on what was made. Noise is weighed against a prior.
function knowingLoss({ objective, unknowns }, kind, { distance, sigma }) {
  const made = generated[`made_${kind}`]();
  const compare = generated[`${objective}_${distance}`]();
  const pulled = generated[`slopes_${kind}`]();
  const prior = sigma ? priorOfEach(unknowns.x) : null;
  return (guess) => {
    const { value, ...pull } = compare({ ...guess, ...made(guess) });
    const slopes = pulled({ ...guess, ...pull });
    return { value: value[0] + (prior?.(guess.x, slopes["slope.x"]) ?? 0), slopes };
  };
}

// The prior of pictures of n numbers each; its slope is added to `slope`.
function priorOfEach(n) {
  const prior = generated.prior();
  return (x, slope) => {
    let sum = 0;
    for (let from = 0; from < x.length; from += n) {
      const ofOne = prior({ x: x.subarray(from, from + n) });
      sum += ofOne.value[0];
      for (let k = 0; k < n; k++) slope[from + k] += ofOne["slope.x"][k];
    }
    return sum;
  };
}

// What is minimised as a function of the flat unknowns z: `evaluate` returns its value and slope,
// `parts` the tensors that z consists of, and `picture` the images.
function matchingProblem(attack, { activation, batch, known }) {
  const { unknowns } = attack;
  const kind = `${activation}_${batch}`;
  const lossAndSlopes = known ? knowingLoss(attack, kind, known) : matchingLoss(attack, kind);
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
    const { value, slopes } = lossAndSlopes({ ...given, ...parts(z) });
    const slope = new Float64Array(length);
    for (const [name, from] of places) slope.set(slopes[`slope.${name}`], from);
    return { value, slope };
  };
  const picture = (z) => onEach("picture", parts(z).x, unknowns.x);
  return { parts, evaluate, picture };
}

// The search for a batch. `given` is what the server sees and what was read off it. `draw` returns
// what is drawn anew before each evaluation. `report` is called after each one, with the best loss
// so far and a function that makes the pictures. `known` describes the defence that the attacker
// knows of, or is null.
export function invert(attack, search, given, draw, report) {
  const { batch, steps, random } = search;
  const { parts, evaluate, picture } = matchingProblem(attack, search);
  const { name, settings } = attack.optimizer;
  const start = Object.values(startOf(attack, batch, random)).flatMap((part) => Array.from(part));
  const optimizer = optimizers[name](Float64Array.from(start), settings);
  let best = optimizer.current;
  let bestLoss = Infinity;
  let evaluation = 0;
  let goesOn = true;
  while (goesOn && evaluation < steps) {
    evaluation += 1;
    const { value, slope } = evaluate(optimizer.trial, { ...given, ...draw() });
    if (value < bestLoss) {
      best = optimizer.trial;
      bestLoss = value;
    }
    goesOn = optimizer.update(value, slope);
    report(evaluation, bestLoss, () => picture(optimizer.current));
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
