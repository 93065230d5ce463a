// One honest round on a classifier of one linear layer, and its batch by the fixed point of δ and
// H: H, the pictures, follows from δ by least squares, and δ = softmax − onehot from H. Matrices
// are arrays of rows, Float64Array each; the last entry of a picture's row is the one of the bias.

const NOISE = 0.01; // of the first logits: it parts pictures of one class

// Numbers in [0, 1) from a seed (mulberry32).
export function uniform(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const rows = (count, length, entry = () => 0) =>
  Array.from({ length: count }, (_, i) => Float64Array.from({ length }, (_, j) => entry(i, j)));

// a bᵀ, of the rows of a and b.
const products = (a, b) =>
  a.map((row) => {
    return Float64Array.from(b, (other) => {
      let sum = 0;
      for (let k = 0; k < row.length; k++) sum += row[k] * other[k];
      return sum;
    });
  });

// Σ_i weights[i] rows[i].
function combined(weights, all) {
  const sum = new Float64Array(all[0].length);
  for (let i = 0; i < all.length; i++) {
    for (let k = 0; k < sum.length; k++) sum[k] += weights[i] * all[i][k];
  }
  return sum;
}

const column = (matrix, j) => Float64Array.from(matrix, (row) => row[j]);

function softmax(logits) {
  const top = Math.max(...logits);
  const powers = logits.map((z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

// δ of each picture: softmax of its logits minus onehot of its label, divided by their number.
const deltas = (logits, y) =>
  logits.map((z, i) => softmax(z).map((p, j) => (p - (j === y[i])) / y.length));

// Σ_i δ_i H_iᵀ, a row for each class.
const gradientOf = (delta, inputs) =>
  Array.from(delta[0], (_, j) => combined(column(delta, j), inputs));

// Weights as PyTorch draws them, masks, and the gradient of the batch.
// pictures: rows of pixels in [0, 1]; y: their labels.
export function honestRound(pictures, y, classes, rate, seed) {
  const random = uniform(seed);
  const features = pictures[0].length;
  const bound = 1 / Math.sqrt(features);
  const weights = rows(classes, features + 1, () => (2 * random() - 1) * bound);
  const inputs = rows(pictures.length, features + 1, (i, k) => {
    if (k === features) return 1;
    return random() < rate ? 0 : pictures[i][k] / (1 - rate);
  });
  const gradient = gradientOf(deltas(products(inputs, weights), y), inputs);
  return { weights, inputs, gradient, y };
}

// The largest entry of a column from row k on, moved to row k.
function pivot(matrix, right, k) {
  let best = k;
  for (let i = k + 1; i < matrix.length; i++) {
    if (Math.abs(matrix[i][k]) > Math.abs(matrix[best][k])) best = i;
  }
  for (const m of [matrix, right]) [m[k], m[best]] = [m[best], m[k]];
}

// The solution X of matrix X = right, by elimination; both are overwritten.
function solve(matrix, right) {
  const n = matrix.length;
  for (let k = 0; k < n; k++) {
    pivot(matrix, right, k);
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = matrix[i][k] / matrix[k][k];
      for (let j = k; j < n; j++) matrix[i][j] -= factor * matrix[k][j];
      for (let j = 0; j < right[i].length; j++) right[i][j] -= factor * right[k][j];
    }
  }
  return right.map((row, k) => row.map((v) => v / matrix[k][k]));
}

// The pictures that fit the gradient best if these are their δ.
const leastSquares = (delta, gradient) =>
  solve(
    products(delta, delta),
    delta.map((row) => combined(row, gradient)),
  );

const norm = (matrix) =>
  Math.sqrt(matrix.reduce((sum, row) => sum + row.reduce((s, v) => s + v * v, 0), 0));

function residual(delta, inputs, gradient) {
  const again = gradientOf(delta, inputs);
  return norm(again.map((row, i) => row.map((v, j) => v - gradient[i][j]))) / norm(gradient);
}

// The first guess of δ: the mean of softmax over the batch, which the gradient of the bias shows.
function firstDelta({ gradient, y }, random) {
  const last = gradient[0].length - 1;
  const counted = (j) => y.filter((label) => label === j).length / y.length;
  const mean = gradient.map((row, j) => Math.log(Math.max(row[last] + counted(j), 1e-9)));
  return deltas(
    rows(y.length, mean.length, (_, j) => mean[j] + NOISE * (random() - 0.5)),
    y,
  );
}

// What the attacker has after each turn: {inputs, residual}. Before the first one it is the mean of
// all pictures, by the row of the last class, which is not in the batch.
export function takeTurns(round, turns, half) {
  const { weights, gradient, y } = round;
  let delta = firstDelta(round, uniform(1));
  const absent = gradient[gradient.length - 1];
  let inputs = y.map(() => absent.map((v) => v / absent[absent.length - 1]));
  const history = [{ inputs, residual: null }];
  for (let turn = 1; turn <= turns; turn++) {
    const fit = leastSquares(delta, gradient);
    const share = half && turn > 1 ? 0.5 : 1;
    inputs = fit.map((row, i) => row.map((v, k) => share * v + (1 - share) * inputs[i][k]));
    delta = deltas(products(inputs, weights), y);
    history.push({ inputs, residual: residual(delta, inputs, gradient) });
  }
  return history;
}
