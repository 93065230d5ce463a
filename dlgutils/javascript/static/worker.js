// One round of federated learning and one attack on it, in a worker. `generated` holds the functions that PyTorch's graphs
// became, `network` what Python says of the LeNet and of the attacks: see live.py.

// Numbers from a seed: splitmix32 (Steele, Lea & Flood 2014).
const generator = (seed) => () => {
  seed = (seed + 0x9e3779b9) | 0;
  let z = Math.imul(seed ^ (seed >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
};
const uniform = (random, n, bound) => Float32Array.from({ length: n }, () => (2 * random() - 1) * bound);
const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const drawnMask = (random, rate) => Float32Array.from({ length: network.features }, () => (random() >= rate) / (1 - rate));
const certain = (label) => Float32Array.from({ length: network.classes }, (_, k) => (k === label ? 0 : -Infinity)); // logits
const oneHot = (label) => Float32Array.from({ length: network.classes }, (_, k) => Number(k === label));

// The honest client: fresh weights, the gradient of one image under its own mask, noise on every number of it.
function share({ image, label, rate, noise, weights, seed }) {
  const random = generator(seed);
  const shared = {};
  for (const [name, size, bounds] of network.parameters) shared[`weights.${name}`] = uniform(random, size, bounds[weights]);
  const mask = drawnMask(random, rate);
  const gradient = generated.share()({ ...shared, x: image, y: oneHot(label), mask });
  for (const [name, numbers] of Object.entries(gradient)) {
    shared[`gradient.${name}`] = numbers.map((g) => (noise ? g + noise * normal(random) : g));
  }
  return { shared, mask };
}

// What the gradient says without any search: the label is the negative entry of the bias's, dropped units are columns of
// zeros in the weight's. Noise fills the zeros; then a column no longer than noise alone would make it counts as dropped.
const readLabel = (delta) => delta.indexOf(Math.min(...delta));
function readMask(shared, rate, noise) {
  const weight = shared["gradient.fc.weight"];
  const length = Float32Array.from({ length: network.features }, (_, j) =>
    Math.hypot(...Array.from({ length: network.classes }, (_, i) => weight[i * network.features + j])),
  );
  const noiseAlone = noise * (Math.sqrt(network.classes) + 4); // longer once in seven million columns
  return length.map((l) => (l > noiseAlone) / (1 - rate));
}

const largest = (a) => a.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
const allFinite = (value, slope) => Number.isFinite(value) && slope.every(Number.isFinite);
function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
// a plus c times b, in place
function add(a, c, b) {
  for (let i = 0; i < a.length; i++) a[i] += c * b[i];
  return a;
}

// dlgutils.optimizers.lbfgs for one run: a step is taken if it decreases the value enough, else half of it is tried; a
// step that has become negligible clears the memory, and without a memory ends the search. `update` says if it goes on.
function lbfgs(start, history = 100) {
  const zeros = new Float64Array(start.length);
  const state = { held: start, trial: start };
  let [value, slope, direction, t, gamma, pairs] = [Infinity, zeros, zeros, 1, 1, []];

  const downhill = () => slope.map((g) => -g);
  const newtonStep = () => {
    const q = downhill();
    const alphas = [];
    for (const { s, y, sy } of pairs.toReversed()) {
      alphas.push(dot(s, q) / sy);
      add(q, -alphas.at(-1), y);
    }
    const r = q.map((v) => gamma * v);
    for (const { s, y, sy } of pairs) add(r, alphas.pop() - dot(y, r) / sy, s);
    return r;
  };
  const remember = (s, y) => {
    const [sy, yy] = [dot(s, y), dot(y, y)];
    if (!(sy > 1e-10 * Math.sqrt(dot(s, s) * yy))) return;
    pairs = [...pairs, { s, y, sy }].slice(-history);
    gamma = sy / yy;
  };
  const firstStep = () => (pairs.length ? 1 : 1 / slope.reduce((sum, g) => sum + Math.abs(g), 0));

  state.update = (newValue, newSlope) => {
    if (allFinite(newValue, newSlope) && newValue <= value + 1e-4 * t * dot(slope, direction)) {
      if (value < Infinity) remember(add(state.trial.slice(), -1, state.held), add(newSlope.slice(), -1, slope));
      [state.held, value, slope] = [state.trial, newValue, newSlope];
      direction = newtonStep();
      t = firstStep();
    } else t /= 2;
    if (!(dot(slope, direction) < 0) || t * largest(direction) < 2 ** -23) {
      if (pairs.length === 0) return false;
      [pairs, gamma, direction] = [[], 1, downhill()];
      t = firstStep();
    }
    state.trial = add(state.held.slice(), t, direction);
    return true;
  };
  return state;
}

// dlgutils.optimizers.adam for one run.
function adam(start, lr = 0.1, [b1, b2] = [0.9, 0.999]) {
  const [mean, square] = [new Float64Array(start.length), new Float64Array(start.length)];
  const state = { held: start, trial: start };
  let tick = 0;
  state.update = (value, slope) => {
    if (!allFinite(value, slope)) return false;
    tick += 1;
    const step = slope.map((g, i) => {
      mean[i] += (1 - b1) * (g - mean[i]);
      square[i] += (1 - b2) * (g * g - square[i]);
      return mean[i] / (1 - b1 ** tick) / (Math.sqrt(square[i] / (1 - b2 ** tick)) + 1e-8);
    });
    state.held = state.trial;
    state.trial = add(state.held.slice(), -lr, step);
    return true;
  };
  return state;
}

const optimizers = { lbfgs, adam };

// The attacker, who gets what the server gets. Starts from zero: mid-grey in the attack's coordinates, all labels alike.
// `report` is called after every evaluation with the lowest loss so far and a function that makes the picture.
function attack(name, shared, known, steps, random, rate, report) {
  const { objective, unknowns, draws, optimizer } = network.attacks[name];
  const evaluate = generated[objective]();
  const decode = generated.picture();
  const sizes = Object.entries(unknowns);
  const parts = (z) => {
    let from = 0;
    return Object.fromEntries(sizes.map(([name, n]) => [name, Float32Array.from(z.subarray(from, (from += n)))]));
  };
  const picture = (z) => decode({ x: parts(z).x }).x.slice();
  const search = optimizers[optimizer](new Float64Array(sizes.reduce((sum, [, n]) => sum + n, 0)));
  let [best, lowest, evaluation, goesOn] = [search.held, Infinity, 0, true];
  while (goesOn && evaluation < steps) {
    evaluation += 1;
    const drawn = draws ? { mask: drawnMask(random, rate) } : {};
    const answer = evaluate({ ...shared, ...known, ...drawn, ...parts(search.trial) });
    const [value] = answer.value;
    const slope = new Float64Array(search.trial.length);
    sizes.reduce((at, [name, n]) => (slope.set(answer[`slope.${name}`], at), at + n), 0);
    if (value < lowest) [best, lowest] = [search.trial, value];
    goesOn = search.update(value, slope);
    report(evaluation, lowest, () => picture(search.held));
  }
  return { evaluation, loss: lowest, x: picture(best), logits: parts(best).logits };
}

// After how many evaluations the film has a frame: growing like squares, as in dlgutils.matching.frame_schedule.
const filmed = (steps, frames = 24) =>
  new Set(Array.from({ length: frames }, (_, k) => Math.max(1, Math.round(steps * ((k + 1) / frames) ** 2))));

const SHOW_EVERY = 50; // milliseconds between two pictures sent to the page

function run(settings, tell) {
  const { steps, rate, noise, seed } = settings;
  const { shared, mask } = share(settings);
  const { readsLabel, readsMask, draws } = network.attacks[settings.attack];
  const delta = shared["gradient.fc.bias"];
  const label = readsLabel ? readLabel(delta) : null;
  const maskRead = readsMask && rate > 0 ? readMask(shared, rate, noise) : null;
  const known = { mask: maskRead ?? new Float32Array(network.features).fill(1), ...(label === null ? {} : { logits: certain(label) }) };
  tell({ kind: "shared", delta, label, mask, maskRead, draws, shared: settings.elsewhere ? shared : null });
  if (settings.elsewhere) return;
  const wanted = filmed(steps);
  const began = performance.now();
  let shown = 0;
  const report = (evaluation, loss, picture) => {
    const now = performance.now();
    if (!wanted.has(evaluation) && now - shown < SHOW_EVERY) return;
    shown = now;
    tell({ kind: "frame", evaluation, loss, x: picture(), seconds: (now - began) / 1000, filmed: wanted.has(evaluation) });
  };
  const found = attack(settings.attack, shared, known, steps, generator(seed + 1), rate, report);
  tell({ kind: "done", ...found, seconds: (performance.now() - began) / 1000 });
}

if (typeof WorkerGlobalScope !== "undefined") {
  onmessage = ({ data }) => {
    const tell = (message) => postMessage({ ...message, run: data.run }); // so that the page knows of which run it is told
    try {
      run(data, tell);
    } catch (error) {
      tell({ kind: "failed", message: String(error) });
    }
  };
}
