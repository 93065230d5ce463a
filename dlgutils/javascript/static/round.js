// The honest client's round, and what can be read off it. The generated code provides `generated`
// and `network`: see worker.js.
/* global generated, network */

import { drawMask, drawNormal, drawUniform, generator } from "./random.js";
import { oneHot, readLabels, readMask } from "./reading.js";

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

// The gradient of a client's images, each under a mask of its own, with noise on every number. The
// masks are the client's secret; `shared` is what the server gets.
export function share({ images, labels, activation, rate, noise, seed, ...client }) {
  const random = generator(seed);
  const shared = weightsOf(client, random);
  const mask = drawMask(random, labels.length * network.features, rate);
  const y = Float32Array.from(labels.flatMap((label) => oneHot(label, network.classes)));
  const ofClient = generated[`share_${activation}_${labels.length}`]();
  const gradient = ofClient({ ...shared, x: images, y, mask });
  for (const [name, numbers] of Object.entries(gradient)) {
    const noisy = numbers.map((g) => (noise ? g + noise * drawNormal(random) : g));
    shared[`gradient.${name}`] = noisy;
  }
  return { shared, mask };
}

// What the attacker reads off the gradient of a batch: null for what this attack does not read.
export function read({ readsLabel, readsMask }, shared, batch, rate, noise) {
  const labels = readsLabel ? readLabels(shared["gradient.fc.bias"], batch) : null;
  if (!readsMask || rate === 0) return { labels, maskRead: null };
  const weightGradient = shared["gradient.fc.weight"];
  const kept = 1 / (1 - rate ** batch); // the mean of what is not dropped in every image
  const one = readMask(weightGradient, network.classes, kept, noise);
  const maskRead = new Float32Array(batch * one.length);
  for (let place = 0; place < maskRead.length; place += one.length) maskRead.set(one, place);
  return { labels, maskRead };
}
