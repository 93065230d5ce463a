// A matching loss of two unknowns, and two searches on it: the loop of the public code, and the
// line search of this library. The second is the lab's own.

import {
  addMultiple,
  allFinite,
  CurvaturePairs,
  dot,
  largestMagnitude,
  lbfgs,
  subtract,
  sumOfMagnitudes,
} from "./../../javascript/static/optimizers.js";

const HISTORY = 100;
const TRUTH = -2; // what enters both sigmoids at the secret: they are nearly saturated there
const ANGLE = 0.5; // between the stiff direction and the horizontal, in radians

const sigmoid = (v) => 1 / (1 + Math.exp(-v));

// The smallest network that has both a bowl and a wall: two unknowns, two sigmoids, and the squared
// difference of their outputs from those at the secret, which lies at (0, 0). One direction is
// soft: at the secret the curvatures differ by the factor `condition`. Returns the function that
// gives value and slope at a point.
export function landscape({ scale, condition }) {
  const [cosine, sine] = [Math.cos(ANGLE), Math.sin(ANGLE)];
  const softness = 1 / Math.sqrt(condition);
  const rows = [
    [cosine, sine],
    [-softness * sine, softness * cosine],
  ];
  return (point) => {
    let value = 0;
    const slope = new Float64Array(2);
    for (const row of rows) {
      const output = sigmoid(TRUTH + dot(row, point));
      const residual = output - sigmoid(TRUTH);
      value += scale * residual ** 2;
      addMultiple(slope, 2 * scale * residual * output * (1 - output), row);
    }
    return [value, slope];
  };
}

// L-BFGS as the public code calls it, like `lbfgs(line_search=False)` of the library: it takes
// every step in full, after a short first one, and compares with absolute numbers.
function fullStep(start) {
  const pairs = new CurvaturePairs(HISTORY);
  const search = { current: start, trial: start };
  let slope = null;

  search.update = (value, newSlope) => {
    if (!allFinite(value, newSlope)) return false;
    const isFirst = slope === null;
    if (!isFirst) {
      const s = subtract(search.trial, search.current);
      const y = subtract(newSlope, slope);
      if (dot(s, y) > 1e-10) pairs.remember(s, y);
    }
    slope = newSlope;
    search.current = search.trial;
    const direction = pairs.newtonStep(slope);
    if (largestMagnitude(slope) <= 1e-7 || dot(slope, direction) > -1e-9) return false;
    const t = isFirst ? Math.min(1, 1 / sumOfMagnitudes(slope)) : 1;
    search.trial = addMultiple(search.current.slice(), t, direction);
    return true;
  };
  return search;
}

const searches = {
  full: fullStep,
  searching: (start) => lbfgs(start, { history: HISTORY }),
};

// The points that a search evaluates, in order, with the loss there and whether it went on from
// there. rule: "full" or "searching".
export function descend(evaluate, start, rule, evaluations) {
  const search = searches[rule](Float64Array.from(start));
  const path = [];
  for (let goesOn = true; goesOn && path.length < evaluations; ) {
    const at = search.trial;
    const [value, slope] = evaluate(at);
    goesOn = search.update(value, slope);
    path.push({ at, value, accepted: search.current === at });
  }
  return path;
}
