// A gradient whose blank columns the reader marks, and a score of what was marked.

import { make, paint, say } from "./controls.js";

const POSITIVE = [33, 102, 172];
const NEGATIVE = [178, 24, 43];

// White for zero, towards blue or red for what is positive or negative.
function colour(value, limit) {
  const share = Math.min(Math.abs(value) / limit, 1);
  const ink = value < 0 ? NEGATIVE : POSITIVE;
  return ink.map((channel) => Math.round(255 + share * (channel - 255)));
}

const largest = (column) => Math.max(...column.map(Math.abs));

// The columns as buttons that stay pressed; one of them has the tab stop, arrows move it.
function columnButtons(model, toggle) {
  const columns = model.get("columns");
  const limit = model.get("limit");
  const buttons = columns.map((column, k) => {
    const canvas = make("canvas", { width: 1, height: column.length });
    const mark = make("span", { className: "dlg-mark" });
    const button = make("button", { type: "button", tabIndex: k ? -1 : 0 }, canvas, mark);
    paint(
      button,
      column.flatMap((value) => colour(value, limit)),
      [column.length, 1, 3],
      "",
    );
    canvas.removeAttribute("aria-label"); // the button says what is in it
    button.addEventListener("click", () => toggle(k));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = buttons[k + step];
      if (!next) return;
      event.preventDefault();
      button.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    return button;
  });
  return buttons;
}

// A button as it is: marked or not, and after a check right or wrong.
function showColumn(model, button, k, isChecked) {
  const isMarked = model.get("marked").includes(k);
  const isWrong = isChecked && isMarked !== model.get("dropped")[k];
  button.setAttribute("aria-pressed", isMarked);
  button.dataset.verdict = isWrong ? "wrong" : "";
  button.querySelector(".dlg-mark").textContent = isWrong ? "✗" : isMarked ? "●" : "";
  const size = largest(model.get("columns")[k]);
  const words = `column ${k}, largest entry ${size}`;
  button.setAttribute("aria-label", isWrong ? `${words}, wrong` : words);
}

// What the marks are worth, in words.
function verdict(model) {
  const dropped = model.get("dropped");
  const marked = model.get("marked");
  const found = marked.filter((k) => dropped[k]).length;
  const hidden = dropped.filter(Boolean).length;
  const extra = marked.length - found;
  const right = dropped.length - (hidden - found) - extra;
  const score = `${right} of ${dropped.length} right`;
  if (right === dropped.length) return `${score}: you have read the client's mask.`;
  const counts = `dropped units found: ${found} of ${hidden}; kept units marked: ${extra}`;
  return `${score}: ${counts}. Look for ✗.`;
}

function blankColumns(model, root) {
  let isChecked = false;
  const caption = make("p");
  const set = (marked) => {
    isChecked = false;
    model.set("marked", marked);
    model.save_changes();
  };
  const toggle = (k) => {
    const marked = model.get("marked");
    const others = marked.filter((other) => other !== k);
    set(others.length < marked.length ? others : [...marked, k].sort((a, b) => a - b));
  };
  const buttons = columnButtons(model, toggle);
  const draw = () => {
    for (const [k, button] of buttons.entries()) showColumn(model, button, k, isChecked);
    const marked = model.get("marked").length;
    const words = `${buttons.length} columns, one for each feature; marked as blank: ${marked}.`;
    say(caption, isChecked ? verdict(model) : words, false);
  };
  const check = make("button", { type: "button", textContent: "Check" });
  const clear = make("button", { type: "button", textContent: "Clear" });
  check.addEventListener("click", () => {
    isChecked = true;
    draw();
  });
  clear.addEventListener("click", () => set([]));
  model.on("change:marked", draw);
  const group = make("div", { className: "dlg-columns" }, ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Mark the blank columns");
  root.append(group, make("div", { className: "dlg-row" }, check, clear), caption);
  draw();
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg" });
    el.append(root);
    blankColumns(model, root);
  },
};
