// A film of stored results, to scrub through.

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

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-film" });
    el.append(root);
    return film(model, root);
  },
};
