// Accuracy against leakage: a point for each defence, and what the attacker sees under it.

import {
  bound,
  bytes,
  labelled,
  make,
  options,
  paint,
  picture,
  say,
  svg,
  unpacked,
} from "./controls.js";

const percent = (share) => `${Math.round(100 * share)} %`;

// Places on the plot, in per cent of it. The accuracies end at the next tenth above the best.
function scales(accuracy) {
  const end = Math.ceil(10 * Math.max(...accuracy) + 0.2) / 10;
  return { end, across: (share) => (100 * share) / end, up: (share) => 100 - 100 * share };
}

const text = (words, x, y, look) => svg("text", { x, y, ...look }, words);

function axes({ end, across, up }) {
  const tenths = Array.from({ length: Math.round(10 * end) + 1 }, (_, k) => k / 10);
  const every = tenths.filter((_, k) => k % 2 === 0);
  const below = { dy: "1.3em", "text-anchor": "middle" };
  const beside = { dy: "0.35em", "text-anchor": "end" };
  return [
    svg("rect", { width: "100%", height: "100%" }),
    ...every.map((share) => text(percent(share), `${across(share)}%`, "100%", below)),
    ...[0, 0.5, 1].map((share) => text(percent(share), "-6", `${up(share)}%`, beside)),
    text("images identified", "0", "-10", {}),
    text("test accuracy", "100%", "100%", { dy: "2.7em", "text-anchor": "end" }),
  ];
}

// A dot, and the interval of its leakage as an upright line.
function mark(x, [share, low, high], { across, up }) {
  const place = `${across(x)}%`;
  const ends = { x1: place, x2: place, y1: `${up(low)}%`, y2: `${up(high)}%` };
  return svg(
    "g",
    {},
    svg("line", ends),
    svg("circle", { class: "dlg-dot", cx: place, cy: `${up(share)}%`, r: 5 }),
  );
}

// The plot; `show` puts one point of a situation in front, `ask` is called with the point that a
// click is nearest to.
function plotOf(model, ask) {
  const accuracy = model.get("accuracy");
  const leakage = model.get("leakage");
  const scale = scales(accuracy);
  const plot = svg("svg", { class: "dlg-curve dlg-tall", role: "img" }, ...axes(scale));
  const groups = leakage.map((rates) => rates.map((rate, k) => mark(accuracy[k], rate, scale)));
  const show = (scene, point, words) => {
    for (const group of groups.flat()) group.remove();
    plot.append(...groups[scene]);
    groups[scene].forEach((group, k) => {
      group.classList.toggle("dlg-now", k === point);
    });
    plot.append(groups[scene][point]);
    plot.setAttribute("aria-label", `accuracy across, identified images up. ${words}`);
  };
  plot.addEventListener("pointerdown", (event) => {
    const { left, top, width, height } = plot.getBoundingClientRect();
    const rates = leakage[model.get("scene")];
    const distance = (k) => {
      const x = (scale.across(accuracy[k]) / 100) * width - (event.clientX - left);
      const y = (scale.up(rates[k][0]) / 100) * height - (event.clientY - top);
      return Math.hypot(x, y);
    };
    const distances = rates.map((_, k) => distance(k));
    ask(distances.indexOf(Math.min(...distances)));
  });
  return { plot, show };
}

function tradeoff(model, root, frames) {
  const shape = model.get("shape");
  const size = shape.reduce((a, b) => a * b);
  const names = model.get("names");
  const found = picture("what the attacker found", shape);
  const secret = picture("the client's images", shape);
  const caption = make("p");
  const range = make("input", { type: "range", min: 0, max: names.length - 1, step: 1 });
  const slider = bound(model, "point", range, Number);
  const { plot, show } = plotOf(model, (point) => {
    model.set("point", point);
    model.save_changes();
  });

  const draw = () => {
    const [scene, point] = [model.get("scene"), model.get("point")];
    const words = model.get("captions")[scene][point];
    const pixels = frames[scene].subarray(point * size, (point + 1) * size);
    paint(found, pixels, shape, `what the attacker found: ${words}`);
    slider.setAttribute("aria-valuetext", words);
    say(caption, words, document.activeElement === slider);
    show(scene, point, words);
  };
  paint(secret, bytes(model.get("truth")), shape, "the client's images");
  const row = (...children) => make("div", { className: "dlg-row" }, ...children);
  const scenes = model.get("scenes");
  const numbers = scenes.map((_, k) => k);
  const select = make("select", {}, ...options(numbers, scenes));
  if (scenes.length > 1)
    root.append(row(labelled("situation", bound(model, "scene", select, Number))));
  root.append(plot, row(labelled("defence", slider)), caption, found, secret);
  model.on("change:scene change:point", draw);
  draw();
}

export default {
  async render({ model, el }) {
    const frames = await Promise.all(model.get("frames").map(unpacked));
    const root = make("div", { className: "dlg dlg-tradeoff" });
    el.append(root);
    tradeoff(model, root, frames);
  },
};
