// Controls of an attack that the kernel runs.

function panel(model, root) {
  const shape = model.get("shape");
  const number = (min, max, step) => make("input", { type: "number", min, max, step });
  const rate = bound(model, "rate", make("input", { type: "range", min: 0, max: 0.9, step: 0.1 }), Number);
  const shownRate = make("output");
  const controls = [
    labelled("photograph", bound(model, "photo", make("select", {}, ...options(model.get("photos"))), String)),
    labelled("attack", bound(model, "attack", make("select", {}, ...options(model.get("attacks"))), String)),
    labelled("dropout rate", rate),
    labelled("evaluations", bound(model, "steps", number(1, 5000, 1), Number)),
    labelled("seed", bound(model, "seed", number(0, 999, 1), Number)),
  ];
  controls[2].append(shownRate);
  const run = make("button", { type: "button", textContent: "Run" });
  const stop = make("button", { type: "button", textContent: "Stop" });
  const progress = make("progress");
  progress.setAttribute("aria-label", "evaluations done");
  const recovered = picture("reconstruction", shape);
  const truth = picture("the client's image", shape);
  const caption = make("p");
  let kernel = false;

  const draw = () => {
    const running = model.get("running");
    shownRate.textContent = model.get("rate").toFixed(1);
    progress.max = Math.max(1, model.get("steps"));
    progress.value = model.get("evaluation");
    run.disabled = !kernel || running;
    stop.disabled = !kernel || !running;
    for (const control of root.querySelectorAll("select, input")) control.disabled = running;
    const help = "This panel needs a kernel: open the chapter in Colab or JupyterLab and run its cells.";
    say(caption, kernel ? model.get("caption") : help, running);
    paint(recovered, bytes(model.get("picture")), shape, `reconstruction: ${model.get("caption")}`);
    paint(truth, bytes(model.get("truth")), shape, `the client's image: ${model.get("photo")}`);
  };

  run.addEventListener("click", () => model.send("run"));
  stop.addEventListener("click", () => model.send("stop"));
  model.on("msg:custom", (message) => {
    kernel = kernel || message === "kernel";
    draw();
  });
  model.on("change", draw);
  root.append(
    make("div", { className: "dlg-row" }, ...controls),
    make("div", { className: "dlg-row" }, run, stop, progress),
    make("div", { className: "dlg-row" }, recovered, truth),
    caption,
  );
  draw();
  model.send("hello");
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-panel" });
    el.append(root);
    return panel(model, root);
  },
};
