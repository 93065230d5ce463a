// The optimisers of dlgutils.matching.optimizers for one run, with the same settings. A search has
// the point where it stands, `current`, and the point to evaluate next, `trial`. `update` takes the
// value and the slope at `trial` and returns whether the search goes on.

const EPSILON = 2 ** -23; // of the 32-bit floats in which the page computes values and slopes

// A step is taken if it decreases the value enough (Armijo); otherwise half of it is tried next. A
// step that has become negligible clears the memory; without a memory, it ends the search.
export function lbfgs(start, { history }) {
  const pairs = new CurvaturePairs(history);
  const search = { current: start, trial: start };
  let value = Infinity;
  let slope = new Float64Array(start.length);
  let direction = slope;
  let t = 1;

  const firstStep = () => (pairs.empty ? 1 / sumOfMagnitudes(slope) : 1);
  const accept = (newValue, newSlope) => {
    if (value < Infinity) {
      pairs.remember(subtract(search.trial, search.current), subtract(newSlope, slope));
    }
    search.current = search.trial;
    value = newValue;
    slope = newSlope;
    direction = pairs.newtonStep(slope);
    t = firstStep();
  };

  search.update = (newValue, newSlope) => {
    const enough = newValue <= value + 1e-4 * t * dot(slope, direction);
    if (enough && allFinite(newValue, newSlope)) accept(newValue, newSlope);
    else t /= 2;
    const downhill = dot(slope, direction) < 0;
    if (!downhill || t * largestMagnitude(direction) < EPSILON) {
      if (pairs.empty || largestMagnitude(slope) === 0) return false;
      pairs.clear();
      direction = slope.map((g) => -g);
      t = firstStep();
    }
    search.trial = addMultiple(search.current.slice(), t, direction);
    return true;
  };
  return search;
}

// Adam (Kingma & Ba 2015, arXiv:1412.6980).
export function adam(start, { lr, betas, eps }) {
  const mean = new Float64Array(start.length);
  const square = new Float64Array(start.length);
  const search = { current: start, trial: start };
  let tick = 0;

  search.update = (value, slope) => {
    if (!allFinite(value, slope)) return false;
    tick += 1;
    const [meanWeight, squareWeight] = betas.map((beta) => 1 - beta ** tick);
    const step = slope.map((g, i) => {
      mean[i] += (1 - betas[0]) * (g - mean[i]);
      square[i] += (1 - betas[1]) * (g * g - square[i]);
      return mean[i] / meanWeight / (Math.sqrt(square[i] / squareWeight) + eps);
    });
    search.current = search.trial;
    search.trial = addMultiple(search.current.slice(), -lr, step);
    return true;
  };
  return search;
}

// The memory of L-BFGS: the last pairs of a step s and the change y of the slope along it.
export class CurvaturePairs {
  constructor(history) {
    this.history = history;
    this.clear();
  }

  get empty() {
    return this.pairs.length === 0;
  }

  clear() {
    this.pairs = [];
    this.gamma = 1; // the inverse curvature along the youngest pair
  }

  // Pairs without positive curvature are left out.
  remember(s, y) {
    const sy = dot(s, y);
    const yy = dot(y, y);
    if (!(sy > 1e-10 * Math.sqrt(dot(s, s) * yy))) return;
    this.pairs = [...this.pairs, { s, y, sy }].slice(-this.history);
    this.gamma = sy / yy;
  }

  // Minus the inverse Hessian times the slope, by two loops over the pairs (Nocedal 1980,
  // doi:10.1090/S0025-5718-1980-0572855-7).
  newtonStep(slope) {
    const q = slope.map((g) => -g);
    const alphas = [];
    for (const { s, y, sy } of this.pairs.toReversed()) {
      const alpha = dot(s, q) / sy;
      addMultiple(q, -alpha, y);
      alphas.push(alpha);
    }
    const step = q.map((v) => this.gamma * v);
    for (const { s, y, sy } of this.pairs) {
      addMultiple(step, alphas.pop() - dot(y, step) / sy, s);
    }
    return step;
  }
}

export const allFinite = (value, slope) => Number.isFinite(value) && slope.every(Number.isFinite);
export const largestMagnitude = (a) => a.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
export const sumOfMagnitudes = (a) => a.reduce((sum, v) => sum + Math.abs(v), 0);
export const subtract = (a, b) => addMultiple(a.slice(), -1, b);

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

// a + c b, written into a.
export function addMultiple(a, c, b) {
  for (let i = 0; i < a.length; i++) a[i] += c * b[i];
  return a;
}
