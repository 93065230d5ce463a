// Random numbers from a seed.

// Uniform in [0, 1): splitmix32, a small version of SplitMix (Steele, Lea & Flood 2014,
// doi:10.1145/2660193.2660195).
export const generator = (seed) => () => {
  seed = (seed + 0x9e3779b9) | 0;
  let z = Math.imul(seed ^ (seed >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
};

// n numbers, uniform between -bound and bound.
export const drawUniform = (random, n, bound) =>
  Float32Array.from({ length: n }, () => (2 * random() - 1) * bound);

// One number, standard normal (Box & Muller 1958, doi:10.1214/aoms/1177706645).
export const drawNormal = (random) =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

// Dropout's mask for n units: zeros at the given rate, and 1 / (1 - rate) otherwise.
export const drawMask = (random, n, rate) =>
  Float32Array.from({ length: n }, () => (random() >= rate) / (1 - rate));
