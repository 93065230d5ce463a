// One round of federated learning and one attack on it, in a worker of the page. The generated code
// provides `generated`, the functions that PyTorch's graphs became, and `network`, a description of
// the LeNet and of the attacks: see dlgutils.javascript.worker.
/* global network */

import { drawMask, generator } from "./random.js";
import { certainLogits } from "./reading.js";
import { read, share } from "./round.js";
import { frameSender, invert } from "./search.js";

// An attack that matches features is for one image, and takes what arrives for the gradient.
function checkFeatures({ readsFeatures }, batch, known) {
  if (readsFeatures && batch > 1) {
    throw new Error("the features of several pictures are mixed; choose a batch of 1 picture");
  }
  if (readsFeatures && known) {
    throw new Error("in this page it knows no defence; take the tick away");
  }
}

// One run: the client's round, what can be read, and the search, unless that happens elsewhere.
function run({ attack: name, steps, elsewhere, ...client }, send) {
  const attack = network.attacks[name];
  const { activation, rate, defense, knows, seed } = client;
  const known = (knows && network.defenses[defense]) || null;
  const batch = client.labels.length;
  checkFeatures(attack, batch, known);
  const { shared, mask } = share(client);
  const { labels, maskRead, features } = read(attack, shared, batch, rate, known?.sigma ?? 0);
  send({
    kind: "shared",
    delta: shared["gradient.fc.bias"],
    labels,
    mask,
    maskRead,
    features,
    draws: attack.draws,
    shared: elsewhere ? shared : null,
  });
  if (elsewhere) return;

  const units = batch * network.features;
  const given = { ...shared, mask: maskRead ?? new Float32Array(units).fill(1) };
  if (features) given["read.fc.weight"] = features;
  if (labels) given.logits = labels.flatMap((label) => certainLogits(label, network.classes));
  const random = generator(seed + 1);
  const draw = () => (attack.draws ? { mask: drawMask(random, units, rate) } : {});
  const began = performance.now();
  const secondsSoFar = () => (performance.now() - began) / 1000;
  const report = frameSender(steps, secondsSoFar, send);
  const search = { activation, batch, steps, random, known };
  const found = invert(attack, search, given, draw, report);
  send({ kind: "done", ...found, seconds: secondsSoFar() });
}

if (typeof WorkerGlobalScope !== "undefined") {
  addEventListener("message", ({ data }) => {
    const send = (message) => postMessage({ ...message, run: data.run }); // which run it belongs to
    try {
      run(data, send);
    } catch (error) {
      send({ kind: "failed", message: String(error) });
    }
  });
}
