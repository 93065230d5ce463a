// The honest client's round, and what can be read off it. The generated code provides `generated`
// and `network`: see worker.js.
/* global generated, network */

import { drawMask, drawNormal, drawUniform, generator } from "./random.js";
import { oneHot, readFeatures, readLabels, readMask } from "./reading.js";

// The network's weights: drawn, or, if the client's network is trained, those that the page has.
function weightsOf({ weights, trained }, random) {
  const found = {};
  let place = 0;
  for (const [name, size, bounds] of network.parameters) {
    found[`weights.${name}`] = trained
      ? trained.slice(place, place + size)
      : drawUniform(random, size, bounds[weights]);
    place += size;
  }
  return found;
}

// What leaves the client instead of its gradient: the defence first, then noise on every number.
function defended(gradient, { sent, sigma }, random) {
  const left = sent ? generated[sent]()(gradient) : gradient;
  const noisy = (g) => (sigma ? g + sigma * drawNormal(random) : g);
  return Object.fromEntries(
    Object.entries(left).map(([name, numbers]) => [name, numbers.map(noisy)]),
  );
}

// The gradient of a client's images, each under a mask of its own, after its defence. The masks are
// the client's secret; `shared` is what the server gets.
export function share({ images, labels, activation, rate, defense, seed, ...client }) {
  const random = generator(seed);
  const weights = weightsOf(client, random);
  const mask = drawMask(random, labels.length * network.features, rate);
  const y = Float32Array.from(labels.flatMap((label) => oneHot(label, network.classes)));
  const ofClient = generated[`share_${activation}_${labels.length}`]();
  const gradient = {};
  for (const [name, numbers] of Object.entries(ofClient({ ...weights, x: images, y, mask }))) {
    gradient[`gradient.${name}`] = numbers;
  }
  const shared = { ...weights, ...defended(gradient, network.defenses[defense] ?? {}, random) };
  return { shared, mask };
}

// What the attacker reads off the gradient of a batch: null for what this attack does not read.
// `sigma` is the noise that the attacker knows of.
export function read({ readsLabel, readsMask, readsFeatures }, shared, batch, rate, sigma) {
  const [weight, bias] = [shared["gradient.fc.weight"], shared["gradient.fc.bias"]];
  return {
    labels: readsLabel ? readLabels(bias, batch) : null,
    maskRead: readsMask && rate > 0 ? readMasks(weight, batch, rate, sigma) : null,
    features: readsFeatures ? readFeatures(weight, bias) : null,
  };
}

// The masks of a batch, as far as a gradient shows them.
function readMasks(weightGradient, batch, rate, sigma) {
  const kept = 1 / (1 - rate ** batch); // the mean of what is not dropped in every image
  const one = readMask(weightGradient, network.classes, kept, sigma);
  const maskRead = new Float32Array(batch * one.length);
  for (let place = 0; place < maskRead.length; place += one.length) maskRead.set(one, place);
  return maskRead;
}
