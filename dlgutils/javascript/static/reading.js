// What the gradient of one image says without any search, as in dlgutils.analytic.

// The label is the one negative entry of the gradient of the classifier's bias.
export const readLabel = (biasGradient) => biasGradient.indexOf(Math.min(...biasGradient));

// Dropped units are columns of zeros in the gradient of the classifier's weight, which is classes
// times features. Noise with this standard deviation fills the zeros, so a column counts as dropped
// if it is no longer than noise alone could make it.
export function readMask(weightGradient, classes, rate, noise) {
  const noiseAlone = noise * (Math.sqrt(classes) + 4); // longer once in seven million columns
  const mask = new Float32Array(weightGradient.length / classes);
  for (let unit = 0; unit < mask.length; unit++) {
    const norm = Math.fround(columnNorm(weightGradient, mask.length, unit));
    mask[unit] = norm > noiseAlone ? 1 / (1 - rate) : 0;
  }
  return mask;
}

function columnNorm(matrix, width, column) {
  const entries = [];
  for (let i = column; i < matrix.length; i += width) entries.push(matrix[i]);
  return Math.hypot(...entries);
}

// A label as probabilities.
export const oneHot = (label, classes) =>
  Float32Array.from({ length: classes }, (_, k) => Number(k === label));

// A label that is known, as the logits that become such probabilities.
export const certainLogits = (label, classes) =>
  Float32Array.from({ length: classes }, (_, k) => (k === label ? 0 : -Infinity));
