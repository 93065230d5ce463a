// The front end of dlgutils.widgets: native, labelled controls and canvases. No imports, so it works from a file.

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const labelled = (text, control) => make("label", {}, text, control);

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function picture(caption, [height, width]) {
  const canvas = make("canvas", { width, height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
}

function paint(figure, pixels, [height, width, channels], description) {
  if (pixels.length === 0) return;
  const canvas = figure.querySelector("canvas");
  const image = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[p * channels + Math.min(c, channels - 1)];
    image.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", description);
}

// A caption that a screen reader reads out at rest only: what comes while it is busy is said once it has ended.
function say(caption, text, busy) {
  const live = busy ? "off" : "polite";
  if (caption.textContent === text && caption.getAttribute("aria-live") === live) return;
  caption.setAttribute("aria-live", live);
  caption.textContent = text;
}

// A control bound to a trait, both ways; what it would not submit does not reach the trait.
function bound(model, name, control, read) {
  const show = () => (control.value = model.get(name));
  control.addEventListener("input", () => {
    if (control.value === "" || !control.checkValidity()) return;
    model.set(name, read(control.value));
    model.save_changes();
  });
  model.on(`change:${name}`, show);
  show();
  return control;
}

const options = (names) => names.map((name) => make("option", { value: name, textContent: name }));

// One select for each axis along which the scenes differ; a combination that is not there moves the other axes as little as it can.
function choosers(model) {
  const scenes = model.get("scenes");
  const alike = (a, b) => a.filter((value, k) => value === b[k]).length;
  return model.get("axes").map((axis, k) => {
    const select = make("select", {}, ...options([...new Set(scenes.map((scene) => scene[k]))]));
    const show = () => (select.value = scenes[model.get("scene")][k]);
    select.addEventListener("input", () => {
      const now = scenes[model.get("scene")];
      const there = scenes.filter((scene) => scene[k] === select.value);
      model.set("scene", scenes.indexOf(there.reduce((a, b) => (alike(b, now) > alike(a, now) ? b : a))));
      model.save_changes();
    });
    model.on("change:scene", show);
    show();
    return labelled(axis, select);
  });
}

function film(model, root) {
  const shape = model.get("shape");
  const size = shape[0] * shape[1] * shape[2];
  const recovered = picture("reconstruction", shape);
  const truth = picture("the client's image", shape);
  const caption = make("p");
  let timer = null;

  const slider = make("input", { type: "range", min: 0, max: model.get("captions")[0].length - 1, step: 1 });
  bound(model, "frame", slider, Number);
  const play = make("button", { type: "button", textContent: "Play" });

  const draw = () => {
    const captions = model.get("captions")[model.get("scene")];
    slider.max = captions.length - 1;
    const k = Math.min(model.get("frame"), captions.length - 1);
    const frames = bytes(model.get("frames")[model.get("scene")]);
    slider.value = k;
    slider.setAttribute("aria-valuetext", captions[k]);
    say(caption, captions[k], timer !== null);
    paint(recovered, frames.subarray(k * size, (k + 1) * size), shape, `reconstruction: ${captions[k]}`);
  };

  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    draw();
  };
  const forward = () => {
    if (!root.isConnected || model.get("frame") >= Number(slider.max)) return pause();
    model.set("frame", model.get("frame") + 1);
    model.save_changes();
  };
  play.addEventListener("click", () => {
    if (timer) return pause();
    timer = setInterval(forward, 200);
    play.textContent = "Pause";
    if (model.get("frame") >= Number(slider.max)) model.set("frame", 0);
  });

  model.on("change:scene change:frame", draw);
  root.append(
    ...(model.get("scenes").length > 1 ? [make("div", { className: "dlg-row" }, ...choosers(model))] : []),
    make("div", { className: "dlg-row" }, labelled("frame", slider), play),
    make("div", { className: "dlg-row" }, recovered, ...(model.get("truth").byteLength ? [truth] : [])),
    caption,
  );
  paint(truth, bytes(model.get("truth")), shape, "the client's image");
  draw();
  return pause;
}

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
    const kind = model.get("kind");
    const root = make("div", { className: `dlg dlg-${kind}` });
    el.append(root);
    return { film, panel }[kind](model, root);
  },
};
