// The curve of a search: the error of its pictures over the evaluations, with a cursor.

// Scales: where a value lies, in per cent of an axis, and the values that are written beside it as [value, words].

const short = (value) => String(Number(value.toPrecision(2)));

// Frames are taken at steps that grow like squares, so that on this scale they are evenly spaced.
function squareRoot(most) {
  const at = (value) => 100 * Math.sqrt(value / most);
  const round = [1e4, 1e3, 100, 10, 1].flatMap((power) => [5, 2, 1].map((digit) => digit * power));
  const room = (ticks, value) => at(value) > 14 && at(ticks.at(-1)) - at(value) > 14;
  const ticks = round.reduce((ticks, value) => (room(ticks, value) ? [...ticks, value] : ticks), [most]);
  return { at, ticks: [...ticks, 0].map((value) => [value, String(value)]) };
}

// From 0 to a little above the worst start: what is far worse than that lies on the edge, or it would flatten all others.
function linear(errors) {
  const known = (values) => Math.max(0.01, ...values.filter((value) => value !== null));
  const highest = known(errors.flat());
  const end = Math.min(1.1 * highest, 1.5 * known(errors.map(([start]) => start)));
  const step = [0.2, 0.5, 1, 2].map((digit) => digit * 10 ** Math.floor(Math.log10(end))).find((step) => end / step < 5);
  const ticks = Array.from({ length: Math.floor((0.85 * end) / step) + 1 }, (_, k) => k * step);
  const edge = highest > end ? [[end, `≥ ${short(end)}`]] : [];
  return { at: (value) => 100 * Math.min(value / end, 1), ticks: [...ticks.map((value) => [value, short(value)]), ...edge] };
}

// From the smallest up to 1, the matching loss of a gradient of zeros, or to the largest, in whole powers of ten.
function logarithmic(errors) {
  const powers = errors.flat().filter((value) => value > 0).map(Math.log10);
  const low = Math.floor(Math.min(0, ...powers));
  const high = Math.max(low + 1, Math.ceil(Math.max(0, ...powers)));
  const stride = Math.ceil((high - low) / 5);
  const ticks = Array.from({ length: Math.floor((high - low) / stride) + 1 }, (_, k) => low + k * stride);
  const at = (value) => (100 * (Math.log10(value) - low)) / (high - low);
  return { at, ticks: ticks.map((power) => [10 ** power, `1e${power}`]) };
}

const SCALES = { RMSE: [linear, ""], "matching loss": [logarithmic, " (logarithmic)"] };

const straight = ([x1, y1], [x2, y2]) => svg("line", { x1: `${x1}%`, y1: `${y1}%`, x2: `${x2}%`, y2: `${y2}%` });

// A line through all points that have a place; a single one is a level to compare with.
function line(points) {
  const [[, level]] = points;
  const along = points.length > 1 ? points : [[0, level], [100, level]];
  const pairs = along.slice(1).map((point, k) => [along[k], point]);
  const segments = pairs.filter((pair) => pair.flat().every(Number.isFinite)).map(([a, b]) => straight(a, b));
  return svg("g", points.length > 1 ? {} : { class: "dlg-level" }, ...segments);
}

// The errors of all scenes over the evaluations, the current one in front; `move` is told the frame that a pointer asks for.
function curve({ evaluations, errors, measure }, move) {
  let current = 0;
  const [scale, remark] = SCALES[measure];
  const x = squareRoot(Math.max(1, ...evaluations.flat()));
  const y = scale(errors);
  const down = (value) => (value === null ? NaN : 100 - y.at(value));
  const points = errors.map((row, s) => row.map((value, k) => [x.at(evaluations[s][k]), down(value)]));
  const lines = points.map(line);
  const cursor = svg("line", { class: "dlg-cursor", y1: "0%", y2: "100%" });
  const dot = svg("circle", { class: "dlg-dot", r: 5 });
  const text = (words, x, y, dy, anchor) => svg("text", { x, y, dy, "text-anchor": anchor }, words);
  const plot = svg(
    "svg",
    { class: "dlg-curve", role: "img" },
    svg("rect", { width: "100%", height: "100%" }),
    ...x.ticks.map(([value, words]) => text(words, `${x.at(value)}%`, "100%", "1.3em", "middle")),
    ...y.ticks.map(([value, words]) => text(words, "-6", `${down(value)}%`, "0.35em", "end")),
    text(measure + remark, "0", "-10", "0", "start"),
    text("evaluations (square-root scale)", "100%", "100%", "2.7em", "end"),
    ...lines,
    cursor,
    dot,
  );

  const words = (scene, k) => {
    const error = errors[scene][k];
    return `${evaluations[scene][k]} evaluations: ${error === null ? "none" : short(error)}`;
  };
  const draw = (scene, k) => {
    current = scene;
    const [left, top] = points[scene][k];
    lines.forEach((line, s) => line.classList.toggle("dlg-now", s === scene));
    cursor.before(lines[scene]);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, `${left}%`);
    dot.setAttribute("cx", `${left}%`);
    dot.setAttribute("cy", `${Number.isFinite(top) ? top : 0}%`);
    dot.style.display = Number.isFinite(top) ? "" : "none";
    const others = lines.length > 1 ? `; faintly behind it the other ${lines.length - 1} of this film` : "";
    const ends = `${words(scene, 0)}, ${words(scene, points[scene].length - 1)}`;
    plot.setAttribute("aria-label", `curve of the ${measure}, after ${ends}; the cursor is at ${words(scene, k)}${others}`);
  };

  const follow = (event) => {
    const { left, width } = plot.getBoundingClientRect();
    const away = points[current].map(([at]) => Math.abs(at - (100 * (event.clientX - left)) / width));
    move(away.indexOf(Math.min(...away)));
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    follow(event);
  });
  plot.addEventListener("pointermove", (event) => plot.hasPointerCapture(event.pointerId) && follow(event));
  return { plot, draw };
}
