// A film of results: its pictures, the curve of their errors, and controls to move it.

import {
  bound,
  bytes,
  labelled,
  make,
  options,
  paint,
  picture,
  say,
  unpacked,
} from "./controls.js";
import { curve } from "./curve.js";

const FRAME_TIME = 200; // milliseconds

// The scene that has most in common with `now`; the first one if there are several.
function nearest(scenes, now) {
  const alike = (scene) => scene.filter((value, k) => value === now[k]).length;
  return scenes.reduce((best, scene) => (alike(scene) > alike(best) ? scene : best));
}

// One select for each axis along which the scenes differ. If there is no scene for a combination,
// the other axes change as little as possible.
function choosers(model) {
  const scenes = model.get("scenes");
  return model.get("axes").map((axis, k) => {
    const values = [...new Set(scenes.map((scene) => scene[k]))];
    const select = make("select", {}, ...options(values));
    const show = () => {
      select.value = scenes[model.get("scene")][k];
    };
    select.addEventListener("input", () => {
      const there = scenes.filter((scene) => scene[k] === select.value);
      const chosen = nearest(there, scenes[model.get("scene")]);
      model.set("scene", scenes.indexOf(chosen));
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

const lastFrame = (model) => model.get("captions")[model.get("scene")].length - 1;

function showFrame(model, frame) {
  model.set("frame", frame);
  model.save_changes();
}

// Plays a film while its element is in the page: `button` starts and stops it, `stopped` is called
// whenever it stops.
function player(model, root, button, stopped) {
  let timer = null;
  const pause = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
    stopped();
  };
  const forward = () => {
    if (!root.isConnected || model.get("frame") >= lastFrame(model)) return pause();
    showFrame(model, model.get("frame") + 1);
  };
  const start = () => {
    clearInterval(timer);
    timer = setInterval(forward, FRAME_TIME);
    button.textContent = "Pause";
    if (model.get("frame") >= lastFrame(model)) showFrame(model, 0);
  };
  button.addEventListener("click", () => (timer ? pause() : start()));
  return { start, pause, isPlaying: () => timer !== null };
}

// The curve of the film; a pointer on it stops the film and moves it.
function filmCurve(model, pause) {
  const names = ["evaluations", "unit", "errors", "measure"];
  const shown = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  return curve(shown, (frame) => {
    pause();
    showFrame(model, frame);
  });
}

// The pictures, one under the other, [scene][frame]: a function of both.
function pictureOf(frames, [height, width, channels]) {
  const size = height * width * channels;
  return (scene, k) => frames[scene].subarray(k * size, (k + 1) * size);
}

// The controls, and a function that shows the current frame in all parts of the film but its curve.
function filmView(model, frames) {
  const shape = model.get("shape");
  const pixels = pictureOf(frames, shape);
  const recovered = picture("reconstruction", shape);
  const caption = make("p");
  const slider = bound(model, "frame", make("input", { type: "range", min: 0, step: 1 }), Number);
  const play = make("button", { type: "button", textContent: "Play" });

  const draw = (scene, k, isPlaying) => {
    const words = model.get("captions")[scene][k];
    slider.max = lastFrame(model);
    slider.value = k;
    slider.disabled = play.disabled = lastFrame(model) === 0;
    slider.setAttribute("aria-valuetext", words);
    const isRead = document.activeElement === slider; // a slider with the focus is read out anyway
    say(caption, words, isPlaying || isRead);
    paint(recovered, pixels(scene, k), shape, `reconstruction: ${words}`);
  };
  return { recovered, caption, slider, play, draw };
}

// The client's image, if the film has it.
function truthFigures(model) {
  const truth = model.get("truth");
  if (!truth.byteLength) return [];
  const caption = "the client's image";
  const figure = picture(caption, model.get("shape"));
  paint(figure, bytes(truth), model.get("shape"), caption);
  return [figure];
}

function film(model, root, frames) {
  const parts = filmView(model, frames);
  const { recovered, caption, slider, play } = parts;
  const draw = () => {
    const scene = model.get("scene");
    const k = Math.min(model.get("frame"), lastFrame(model));
    parts.draw(scene, k, motion.isPlaying());
    drawCurve(scene, k);
  };
  const motion = player(model, root, play, draw);
  const { plot, draw: drawCurve } = filmCurve(model, motion.pause);

  slider.addEventListener("input", motion.pause);
  model.on("change:scene change:frame", draw);
  const row = (...children) => make("div", { className: "dlg-row" }, ...children);
  if (model.get("scenes").length > 1) root.append(row(...choosers(model)));
  root.append(
    row(recovered, ...truthFigures(model)),
    plot,
    row(labelled("frame", slider), play),
    caption,
  );
  draw();

  if (model.get("play")) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) showFrame(model, lastFrame(model));
    else onceSeen(recovered, motion.start);
  }
  return motion.pause;
}

export default {
  async render({ model, el }) {
    const frames = await Promise.all(model.get("frames").map(unpacked));
    const root = make("div", { className: "dlg dlg-film" });
    el.append(root);
    return film(model, root, frames);
  },
};
