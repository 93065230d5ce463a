// The curve of a film: the error of its pictures over the evaluations, or another unit, with a
// cursor.

import { svg } from "./controls.js";

// Scales: where a value lies, in per cent of an axis, and the values that are written beside it as
// [value, words].

const short = (value) => String(Number(value.toPrecision(2)));

// Frames as in dlgutils.matching.frame_schedule: their steps grow like squares, so that they are
// evenly spaced on this scale.
function squareRoot(most) {
  const at = (value) => 100 * Math.sqrt(value / most);
  const powers = [1e4, 1e3, 100, 10, 1];
  const round = powers.flatMap((power) => [5 * power, 2 * power, power]);
  const ticks = [most];
  for (const value of round) {
    const hasRoom = at(value) > 14 && at(ticks.at(-1)) - at(value) > 14;
    if (hasRoom) ticks.push(value);
  }
  return { at, ticks: [...ticks, 0].map((value) => [value, String(value)]) };
}

// From 0 to a little above the worst start: what is far worse than that lies on the edge, or it
// would flatten all others.
function linear(errors) {
  const worst = (values) => Math.max(0.01, ...values.filter((value) => value !== null));
  const highest = worst(errors.flat());
  const end = Math.min(1.1 * highest, 1.5 * worst(errors.map(([start]) => start)));
  const power = 10 ** Math.floor(Math.log10(end));
  const steps = [0.2, 0.5, 1, 2].map((digit) => digit * power);
  const step = steps.find((candidate) => end / candidate < 5);
  const length = Math.floor((0.85 * end) / step) + 1;
  const ticks = Array.from({ length }, (_, k) => [k * step, short(k * step)]);
  if (highest > end) ticks.push([end, `≥ ${short(end)}`]);
  return { at: (value) => 100 * Math.min(value / end, 1), ticks };
}

// From the smallest up to 1, the matching loss of a gradient of zeros, or to the largest, in whole
// powers of ten.
function logarithmic(errors) {
  const positive = errors.flat().filter((value) => value > 0);
  const powers = positive.map(Math.log10);
  const low = Math.floor(Math.min(0, ...powers));
  const high = Math.max(low + 1, Math.ceil(Math.max(0, ...powers)));
  const stride = Math.ceil((high - low) / 5);
  const length = Math.floor((high - low) / stride) + 1;
  const ticks = Array.from({ length }, (_, k) => low + k * stride);
  const at = (value) => (100 * (Math.log10(value) - low)) / (high - low);
  return { at, ticks: ticks.map((power) => [10 ** power, `1e${power}`]) };
}

const SCALES = { RMSE: [linear, ""], "matching loss": [logarithmic, " (logarithmic)"] };

// What is drawn: points are [across, down], in per cent of the plot; NaN where there is no error.

const straight = ([x1, y1], [x2, y2]) =>
  svg("line", { x1: `${x1}%`, y1: `${y1}%`, x2: `${x2}%`, y2: `${y2}%` });

// A line through all points that have a place; a single one is a level to compare with.
function line(points) {
  const isLevel = points.length === 1;
  const [[, level]] = points;
  const ends = [
    [0, level],
    [100, level],
  ];
  const along = isLevel ? ends : points;
  const pairs = along.slice(1).map((point, k) => [along[k], point]);
  const visible = pairs.filter((pair) => pair.flat().every(Number.isFinite));
  const segments = visible.map(([from, to]) => straight(from, to));
  return svg("g", isLevel ? { class: "dlg-level" } : {}, ...segments);
}

const label = (words, x, y, dy, anchor) => svg("text", { x, y, dy, "text-anchor": anchor }, words);

function axisLabels(x, y, title, unit) {
  return [
    ...x.ticks.map(([value, words]) => label(words, `${x.at(value)}%`, "100%", "1.3em", "middle")),
    ...y.ticks.map(([value, words]) =>
      label(words, "-6", `${100 - y.at(value)}%`, "0.35em", "end"),
    ),
    label(title, "0", "-10", "0", "start"),
    label(`${unit} (square-root scale)`, "100%", "100%", "2.7em", "end"),
  ];
}

// The curve in words, with the cursor at frame k of a scene.
function describe({ evaluations, unit, errors, measure }, scene, k) {
  const at = (frame) => {
    const error = errors[scene][frame];
    return `${evaluations[scene][frame]} ${unit}: ${error === null ? "none" : short(error)}`;
  };
  const last = errors[scene].length - 1;
  const others = errors.length - 1;
  const behind = others ? `; faintly behind it the other ${others} of this film` : "";
  const ends = `${at(0)}, ${at(last)}`;
  return `curve of the ${measure}, after ${ends}; the cursor is at ${at(k)}${behind}`;
}

// Calls `ask` with the place, in per cent of the plot's width, that a click or a drag points to.
function followPointer(plot, ask) {
  const follow = (event) => {
    const { left, width } = plot.getBoundingClientRect();
    ask((100 * (event.clientX - left)) / width);
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    follow(event);
  });
  plot.addEventListener("pointermove", (event) => {
    if (plot.hasPointerCapture(event.pointerId)) follow(event);
  });
}

// The plot without its cursor: the axes, and a line for each scene through its points.
function plotOf({ evaluations, unit, errors, measure }) {
  const [scale, remark] = SCALES[measure];
  const x = squareRoot(Math.max(1, ...evaluations.flat()));
  const y = scale(errors);
  const down = (error) => (error === null ? NaN : 100 - y.at(error));
  const points = errors.map((row, s) => {
    return row.map((error, k) => [x.at(evaluations[s][k]), down(error)]);
  });
  const lines = points.map(line);
  const ground = svg("rect", { width: "100%", height: "100%" });
  const labels = axisLabels(x, y, measure + remark, unit);
  const look = { class: "dlg-curve", role: "img" };
  return { points, lines, plot: svg("svg", look, ground, ...labels, ...lines) };
}

// The errors of all scenes over the evaluations, the current one in front. `draw` sets the cursor;
// `move` is called with the frame that a pointer asks for.
export function curve(shown, move) {
  let current = 0;
  const { points, lines, plot } = plotOf(shown);
  const cursor = svg("line", { class: "dlg-cursor", y1: "0%", y2: "100%" });
  const dot = svg("circle", { class: "dlg-dot", r: 5 });
  plot.append(cursor, dot);

  const draw = (scene, k) => {
    current = scene;
    const [left, top] = points[scene][k];
    const isThere = Number.isFinite(top);
    lines.forEach((one, s) => {
      one.classList.toggle("dlg-now", s === scene);
    });
    cursor.before(lines[scene]);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, `${left}%`);
    dot.setAttribute("cx", `${left}%`);
    dot.setAttribute("cy", `${isThere ? top : 0}%`);
    dot.style.display = isThere ? "" : "none";
    plot.setAttribute("aria-label", describe(shown, scene, k));
  };

  followPointer(plot, (place) => {
    const away = points[current].map(([at]) => Math.abs(at - place));
    move(away.indexOf(Math.min(...away)));
  });
  return { plot, draw };
}
