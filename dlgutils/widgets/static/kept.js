// The results that the reader keeps: pictures side by side, each with its settings and its error.

import { make, picture } from "./controls.js";
import { paintStrip, SIDE } from "./strip.js";

export class KeptResults {
  constructor() {
    this.count = 0; // of all that were ever kept
    this.heading = make("p", { textContent: "" });
    this.heading.setAttribute("role", "status");
    this.list = make("ul", { className: "dlg-kept" });
    this.root = make("div", { hidden: true }, this.heading, this.list);
  }

  // Keep pictures, with their settings and errors in words.
  keep(x, words) {
    this.count += 1;
    const name = `Result ${this.count}`;
    const figure = picture(`${name}: ${words}`, [SIDE, SIDE]);
    figure.classList.add("dlg-strip");
    paintStrip(figure, x, `${name}: ${words}`);
    const remove = make("button", { type: "button", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove result ${this.count}`);
    const entry = make("li", {}, figure, remove);
    remove.addEventListener("click", () => this.remove(entry, name));
    this.list.append(entry);
    this.say(`${name} kept.`);
  }

  remove(entry, name) {
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    entry.remove();
    next?.querySelector("button").focus(); // the keyboard keeps a place in the list
    this.say(`${name} removed.`);
  }

  say(words) {
    const kept = this.list.children.length;
    this.root.hidden = kept === 0;
    this.heading.textContent = `${words} You have kept ${kept} in all.`;
  }
}
