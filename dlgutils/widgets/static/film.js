// A film of stored results: its pictures, the curve of their errors, and controls to move through it.

const FRAME_TIME = 200; // milliseconds

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

function onceSeen(element, act) {
  const watch = ([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    act();
  };
  const observer = new IntersectionObserver(watch, { threshold: 0.5 });
  observer.observe(element);
}

function film(model, root, frames) {
  const shape = model.get("shape");
  const size = shape[0] * shape[1] * shape[2];
  const recovered = picture("reconstruction", shape);
  const truth = picture("the client's image", shape);
  const caption = make("p");
  const slider = make("input", { type: "range", min: 0, step: 1 });
  bound(model, "frame", slider, Number);
  const play = make("button", { type: "button", textContent: "Play" });
  const last = () => model.get("captions")[model.get("scene")].length - 1;
  let timer = null;

  const show = (frame) => {
    model.set("frame", frame);
    model.save_changes();
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    draw();
  };
  const forward = () => {
    if (!root.isConnected || model.get("frame") >= last()) return pause();
    show(model.get("frame") + 1);
  };
  const start = () => {
    clearInterval(timer);
    timer = setInterval(forward, FRAME_TIME);
    play.textContent = "Pause";
    if (model.get("frame") >= last()) show(0);
  };
  const shown = Object.fromEntries(["evaluations", "errors", "measure"].map((name) => [name, model.get(name)]));
  const { plot, draw: drawCurve } = curve(shown, (frame) => {
    pause();
    show(frame);
  });

  const draw = () => {
    const scene = model.get("scene");
    const captions = model.get("captions")[scene];
    const k = Math.min(model.get("frame"), last());
    slider.max = last();
    slider.value = k;
    slider.disabled = play.disabled = last() === 0;
    slider.setAttribute("aria-valuetext", captions[k]);
    say(caption, captions[k], timer !== null || document.activeElement === slider); // the slider says it by itself
    paint(recovered, frames[scene].subarray(k * size, (k + 1) * size), shape, `reconstruction: ${captions[k]}`);
    drawCurve(scene, k);
  };

  play.addEventListener("click", () => (timer ? pause() : start()));
  slider.addEventListener("input", pause);
  model.on("change:scene change:frame", draw);
  root.append(
    ...(model.get("scenes").length > 1 ? [make("div", { className: "dlg-row" }, ...choosers(model))] : []),
    make("div", { className: "dlg-row" }, recovered, ...(model.get("truth").byteLength ? [truth] : [])),
    plot,
    make("div", { className: "dlg-row" }, labelled("frame", slider), play),
    caption,
  );
  paint(truth, bytes(model.get("truth")), shape, "the client's image");
  draw();

  if (model.get("play")) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) show(last());
    else onceSeen(recovered, start);
  }
  return pause;
}

export default {
  async render({ model, el }) {
    const frames = await Promise.all(model.get("frames").map(unpacked));
    const root = make("div", { className: "dlg dlg-film" });
    el.append(root);
    return film(model, root, frames);
  },
};
