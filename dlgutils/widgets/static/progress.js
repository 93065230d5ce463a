// What the lab shows of a search: what was read off the gradient, and the film of the pictures that the attacker had.

// The gradient of the classifier's bias, a bar for each class: the negative one points down.
function bars(figure, values, description) {
  const most = Math.max(...values.map(Math.abs));
  const [wide, high] = [100 / values.length, 40];
  const rectangles = Array.from(values, (v, k) => {
    const tall = (high * Math.abs(v)) / most;
    const place = { x: k * wide + 1, y: v < 0 ? high + 2 : high - tall, width: wide - 2, height: Math.max(tall, 0.5) };
    return svg("rect", { ...place, class: v < 0 ? "dlg-negative" : "dlg-positive" });
  });
  const axis = svg("line", { x1: 0, x2: 100, y1: high + 1, y2: high + 1, class: "dlg-axis" });
  const drawn = svg("svg", { viewBox: "0 -9 100 100", role: "img", "aria-label": description }, axis, ...rectangles);
  figure.replaceChildren(drawn, make("figcaption", { textContent: description }));
}

// A mask, one square for each feature before the classifier: light if kept, dark if dropped.
function squares(figure, mask, description) {
  const shape = [mask.length / SIDE, SIDE, 1];
  const grid = picture(description, shape);
  paint(grid, Uint8Array.from(mask, (m) => (m > 0 ? 235 : 25)), shape, description);
  figure.replaceChildren(...grid.childNodes);
}

function readings(classes) {
  const [labelFigure, maskFigure] = [make("figure"), make("figure")];
  const show = ({ delta, label, mask, maskRead, draws }, truth) => {
    const verdict = label === truth ? "right" : "wrong";
    const said = label === null ? "not read: the attack optimises it" : `read: ${classes[label]}, ${verdict}`;
    bars(labelFigure, delta, `the bias gradient, a bar for each class; label ${said}`);
    const taken = maskRead ?? mask.map(() => 1);
    const agreed = taken.filter((m, k) => m > 0 === mask[k] > 0).length;
    const right = `${agreed} of ${mask.length} right`;
    const how = maskRead ? `mask read: ${right}` : `mask not read, all taken as kept: ${right}`;
    squares(maskFigure, taken, draws ? "mask not read, drawn anew at every evaluation" : how);
  };
  return { figures: [labelFigure, maskFigure], show };
}

const rmse = (a, b) => Math.sqrt(a.reduce((sum, v, k) => sum + (v - b[k]) ** 2, 0) / a.length);
const START = { evaluation: 0, loss: null, seconds: 0, x: new Float32Array(3 * PIXELS).fill(0.5) }; // of every attack

// The film of a search while it grows and when it has ended, with the curve of its errors, a slider, and a way to keep it.
function searchFilm(caption) {
  const figure = picture("what the attacker has", SHAPE);
  const slider = make("input", { type: "range", min: 0, max: 0, value: 0, disabled: true });
  const save = make("button", { type: "button", textContent: "Save the film", disabled: true });
  const chart = make("div");
  let truth = START.x;
  let frames = [];
  let latest = null; // the film may skip it
  let going = false;
  let moveCursor = () => {};

  const words = ({ evaluation, loss, seconds, error }) => {
    const parts = [`${evaluation} evaluations`];
    if (loss !== null) parts.push(`matching loss ${loss.toExponential(1)}`);
    parts.push(`RMSE ${error.toFixed(3)}`);
    const speed = (evaluation / Math.max(seconds, 1e-3)).toFixed(0);
    return [...parts, ...(evaluation ? [`${seconds.toFixed(1)} s`, `${speed} evaluations a second`] : [])].join(", ");
  };
  const judged = (frame) => ({ ...frame, error: rmse(frame.x, truth) });
  const showFrame = (frame) => {
    paint(figure, toBytes(frame.x), SHAPE, `what the attacker has: ${words(frame)}`);
    slider.setAttribute("aria-valuetext", words(frame));
    say(caption, words(frame), going || document.activeElement === slider); // the slider says it by itself
  };
  const moveTo = (k) => {
    slider.value = k;
    moveCursor(k);
    showFrame(frames[k]);
  };
  const showCurve = () => {
    const errors = frames.map(({ error }) => (Number.isFinite(error) ? error : null));
    const shown = { evaluations: [frames.map(({ evaluation }) => evaluation)], errors: [errors], measure: "RMSE" };
    const { plot, draw } = curve(shown, (k) => going || moveTo(k));
    moveCursor = (k) => draw(0, k);
    moveCursor(frames.length - 1);
    chart.replaceChildren(plot);
  };
  const lock = (now) => {
    going = now;
    slider.disabled = save.disabled = now;
  };

  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  save.addEventListener("click", async () => {
    try {
      const address = URL.createObjectURL(await animated(frames.map(({ x }) => toBytes(x)), SIDE, 8));
      make("a", { href: address, download: "film.png" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000); // some browsers fetch it later
    } catch (error) {
      say(caption, `This browser cannot write the film: ${error.message}`, false);
    }
  });
  paint(figure, toBytes(START.x), SHAPE, "what the attacker has: plain grey");
  return {
    figure,
    chart,
    slider,
    save,
    begin(image) {
      truth = image;
      latest = judged(START);
      frames = [latest];
      lock(true);
      showCurve();
      showFrame(latest);
    },
    add(frame) {
      latest = judged(frame);
      if (frame.filmed) {
        frames.push(latest);
        showCurve();
      }
      showFrame(latest);
    },
    // The last frame, with what is known of it only now.
    end(how, more = {}) {
      if (latest !== frames.at(-1)) frames.push(latest);
      frames.push(judged({ ...frames.pop(), ...more }));
      slider.max = frames.length - 1;
      lock(false);
      showCurve();
      moveTo(frames.length - 1);
      say(caption, `${how} ${words(frames.at(-1))}`, false);
    },
  };
}
