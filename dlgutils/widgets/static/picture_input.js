// The client's pictures in the lab: a photograph, a file of the reader's own, or a drawing, at
// 32 × 32 pixels, and in a batch the photographs that come next.

import { choice, labelled, make, picture } from "./controls.js";
import { fromPad, opened, whitePad } from "./pads.js";
import { pencil } from "./pencil.js";
import { joined, paintStrip, part, SIDE } from "./strip.js";

const CLASSES = 12; // of a network; so many photographs there are, and as many fruits

// The names of the classes of the network that is chosen.
export function classNames(model) {
  const first = model.get("weights") === "trained" ? CLASSES : 0;
  return model.get("photos").slice(first, first + CLASSES);
}

// The client's secret, its figure, and the controls that choose it.
export class SecretPicture {
  // `photos` are all photographs, `isLocked` returns whether the picture may not change now,
  // `showWords` shows words to the reader.
  constructor(model, photos, isLocked, showWords) {
    Object.assign(this, { model, photos, isLocked, showWords });
    this.figure = picture("the client's picture", [SIDE, SIDE]);
    this.figure.classList.add("dlg-strip");
    this.own = fromPad(whitePad()); // the reader's own picture is in no trait
    this.words = "nothing yet";
    this.file = make("input", { type: "file", accept: "image/*" });
    this.drawing = make("button", { type: "button", textContent: "Draw one" });
    this.colour = make("input", { type: "color", value: "#1f5fbf" });
    const canvas = this.figure.querySelector("canvas");
    this.pencil = pencil(canvas, this.colour, isLocked, (x) => this.takeOwn(x, "a drawing"));
    this.listen();
    this.show();
  }

  listen() {
    this.file.addEventListener("change", () => {
      this.take(this.file.files[0]);
      this.file.value = ""; // so that the same file may be chosen again
    });
    this.drawing.addEventListener("click", () => {
      this.pencil.begin();
      this.showWords("Draw on the white square.");
    });
    this.model.on("change:photo", () => this.showPhoto());
    this.model.on("change:weights", () => this.setLabel());
    this.model.on("change:batch change:label", () => this.show());
  }

  makeControls() {
    const names = this.model.get("photos");
    const chooser = choice(this.model, "photo", ["", ...names], ["your own", ...names]);
    return [
      labelled("picture", chooser),
      labelled("or a file", this.file),
      this.drawing,
      labelled("pencil colour", this.colour),
    ];
  }

  // Where the chosen photograph is among all of them; -1 for the reader's own picture.
  get place() {
    return this.model.get("photos").indexOf(this.model.get("photo"));
  }

  // The classes that the client reports: the one that is chosen, then the next ones.
  get labels() {
    const first = classNames(this.model).indexOf(this.model.get("label"));
    return Array.from({ length: this.model.get("batch") }, (_, k) => (first + k) % CLASSES);
  }

  // The chosen picture, then the photographs that come next.
  get images() {
    const place = this.place < 0 ? this.labels[0] : this.place;
    const [set, first] = [place - (place % CLASSES), place % CLASSES];
    const next = (_, k) => part(this.photos, set + ((first + k) % CLASSES));
    const images = Array.from({ length: this.model.get("batch") }, next);
    if (this.place < 0) images[0] = this.own;
    return joined(images);
  }

  show() {
    const more = this.model.get("batch") - 1;
    const chosen = this.place < 0 ? this.words : `the photograph ${this.model.get("photo")}`;
    const words = more ? `${chosen}, and the next ${more} photographs` : chosen;
    this.figure.querySelector("figcaption").textContent = more
      ? "the client's pictures"
      : "the client's picture";
    paintStrip(this.figure, this.images, `what the client has: ${words}`);
  }

  // A picture of the reader's own: the trait names no photograph.
  takeOwn(x, words) {
    Object.assign(this, { own: x, words });
    this.model.set("photo", "");
    this.model.save_changes();
    this.show();
  }

  showPhoto() {
    if (this.place < 0 || this.isLocked()) return;
    this.pencil.putAway();
    this.setLabel();
    this.show();
  }

  // The class of the chosen photograph, or of the one in its place, if the network knows others.
  setLabel() {
    const place = Math.max(0, this.place) % CLASSES;
    this.model.set("label", classNames(this.model)[place]);
    this.model.save_changes();
  }

  // Take a file that was chosen or dropped, if there is one.
  async take(file) {
    if (!file || this.isLocked()) return;
    try {
      const { x, words } = await opened(file);
      if (this.isLocked()) return;
      this.pencil.putAway();
      this.takeOwn(x, words);
      this.showWords(`${words}. It stays in this page.`);
    } catch (error) {
      this.showWords(error.message);
    }
  }
}
