// What a gradient says without any search, as in dlgutils.analytic.

// The labels of a batch whose images have different ones, in ascending order: the smallest entries
// of the gradient of the classifier's bias. That of one image has one negative entry.
export function readLabels(biasGradient, batch) {
  const classes = Array.from(biasGradient.keys());
  classes.sort((a, b) => biasGradient[a] - biasGradient[b]);
  return classes.slice(0, batch).sort((a, b) => a - b);
}

// Units that were dropped in every image are columns of zeros in the gradient of the classifier's
// weight, which is classes times features; the others are taken as `kept`. Noise with this standard
// deviation fills the zeros, so a column counts as dropped if it is no longer than noise alone
// could make it.
export function readMask(weightGradient, classes, kept, noise) {
  const noiseAlone = noise * (Math.sqrt(classes) + 4); // longer once in seven million columns
  const mask = new Float32Array(weightGradient.length / classes);
  for (let unit = 0; unit < mask.length; unit++) {
    const norm = Math.fround(columnNorm(weightGradient, mask.length, unit));
    mask[unit] = norm > noiseAlone ? kept : 0;
  }
  return mask;
}

// What entered the classifier, of one image: its weight's gradient is the product of the bias's and
// of these features, which are found by least squares.
export function readFeatures(weightGradient, biasGradient) {
  const features = new Float64Array(weightGradient.length / biasGradient.length);
  let square = 0;
  biasGradient.forEach((delta, k) => {
    square += delta * delta;
    for (let j = 0; j < features.length; j++) {
      features[j] += delta * weightGradient[k * features.length + j];
    }
  });
  return Float32Array.from(features, (sum) => sum / square);
}

function columnNorm(matrix, width, column) {
  const entries = [];
  for (let i = column; i < matrix.length; i += width) entries.push(matrix[i]);
  return Math.hypot(...entries);
}

// A label as probabilities.
export const oneHot = (label, classes) =>
  Array.from({ length: classes }, (_, k) => Number(k === label));

// A label that is known, as the logits that become such probabilities.
export const certainLogits = (label, classes) =>
  Array.from({ length: classes }, (_, k) => (k === label ? 0 : -Infinity));
