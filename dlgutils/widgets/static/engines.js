// What runs an attack for the lab: a worker of this page, or the kernel behind it.

// A worker that starts at its first run, and again after it was stopped. `answered` is called with
// each of its messages, `failed` with what went wrong.
export function workerOf(script, answered, failed) {
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  let worker = null;
  const stop = () => {
    worker?.terminate();
    worker = null;
  };
  const start = () => {
    worker = new Worker(address);
    worker.onmessage = ({ data }) => answered(data);
    worker.onerror = (error) => {
      stop();
      failed(error.message ?? "the browser did not start its worker");
    };
  };
  const run = (settings) => {
    if (!worker) start();
    worker.postMessage(settings);
  };
  return { run, stop };
}

// The kernel gets what a server would get, weights and gradient, and what the page has read off
// them; never the pictures.
export function sendToKernel(model, settings, { shared, labels, maskRead, features }) {
  const { run, attack, batch, activation, rate, defense, knows, steps, seed } = settings;
  const names = Object.keys(shared);
  const mask = maskRead && Array.from(maskRead);
  const buffers = names.map((name) => shared[name].buffer);
  const read = { labels, mask, features: features && Array.from(features) };
  const chosen = { run, attack, batch, activation, rate, defense, knows, steps, seed };
  const message = { kind: "run", ...chosen, names, ...read };
  model.send(message, undefined, buffers);
}
