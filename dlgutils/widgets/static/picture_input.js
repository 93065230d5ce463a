// The client's picture in the lab: a photograph, a file of the reader's own, or a drawing, at
// 32 × 32 pixels. Pictures are Float32Arrays in [0, 1], channel by channel, as networks take them.

import { choice, labelled, make, paint, picture } from "./controls.js";

export const SIDE = 32; // pixels
export const SHAPE = [SIDE, SIDE, 3];
export const PIXELS = SIDE ** 2;
const LARGEST_FILE = 40e6; // bytes

const toByte = (v) => Math.round(255 * Math.min(1, Math.max(0, v || 0)));
export const toBytes = (x) =>
  Uint8Array.from(x, (_, k) => toByte(x[PIXELS * (k % 3) + Math.floor(k / 3)]));
const fromBytes = (pixels) =>
  Float32Array.from(pixels, (_, k) => pixels[3 * (k % PIXELS) + Math.floor(k / PIXELS)] / 255);

function pad(width, height) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}

function whitePad() {
  const context = pad(SIDE, SIDE);
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  return context;
}

function fromPad(context) {
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  return fromBytes(data.filter((_, k) => k % 4 < 3));
}

// The central square of an image on white ground, halved until it is nearly small enough, then made
// exactly so.
function reduced(image) {
  let side = Math.min(image.width, image.height);
  let [source, left, top] = [image, (image.width - side) / 2, (image.height - side) / 2];
  while (side > SIDE) {
    const next = Math.max(SIDE, Math.min(1024, Math.floor(side / 2)));
    const smaller = pad(next, next);
    smaller.drawImage(source, left, top, side, side, 0, 0, next, next);
    [source, left, top, side] = [smaller.canvas, 0, 0, next];
  }
  const white = whitePad();
  white.drawImage(source, left, top, side, side, 0, 0, SIDE, SIDE);
  return fromPad(white);
}

function checkSize(file) {
  if (file.size <= LARGEST_FILE) return;
  const megabytes = (n) => `${(n / 1e6).toFixed(0)} MB`;
  const [size, most] = [file.size, LARGEST_FILE].map(megabytes);
  throw new Error(`${file.name} has ${size}; choose a picture of at most ${most}.`);
}

// A file as a picture and in words; an error names what is wrong with it, and what to choose.
async function opened(file) {
  checkSize(file);
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(
      `${file.name} is no picture that this browser can open; ` +
        "choose a file of kind PNG, JPEG, WebP or GIF.",
    );
  });
  const enlarged = Math.min(image.width, image.height) < SIDE ? ", enlarged" : "";
  const words =
    `${file.name}, ${image.width} × ${image.height} pixels, ` +
    `the middle of it at ${SIDE} × ${SIDE}${enlarged}`;
  const x = reduced(image);
  image.close();
  return { x, words };
}

// Where a pointer is on a canvas, in pixels of the picture.
function placeOn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  return [across * SIDE, down * SIDE];
}

// A pencil for a canvas: `begin` clears it, strokes follow the pointer, `drawn` gets the picture
// after each; `putAway` ends that. `locked` returns whether nothing may change now.
function pencil(canvas, colour, locked, drawn) {
  const PEN = { lineWidth: 3, lineCap: "round", lineJoin: "round" };
  let context = null;
  let isDown = false;
  const stroke = (event) => {
    if (!isDown) return;
    context.lineTo(...placeOn(canvas, event));
    context.stroke();
    drawn(fromPad(context));
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!context || locked()) return;
    isDown = true;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(context, { strokeStyle: colour.value, ...PEN });
    context.beginPath();
    context.moveTo(...placeOn(canvas, event));
    stroke(event);
  });
  canvas.addEventListener("pointermove", stroke);
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      isDown = false;
    });
  }
  const use = (pad, touchAction) => {
    context = pad;
    canvas.style.touchAction = touchAction;
    if (context) drawn(fromPad(context));
  };
  const begin = () => use(whitePad(), "none"); // a finger draws instead of scrolling
  return { begin, putAway: () => use(null, "") };
}

// The client's secret, its figure, and the controls that choose it.
export class SecretPicture {
  // `images` are the bytes of all photographs, `locked` returns whether the picture may not change
  // now, `showWords` shows words to the reader.
  constructor(model, images, locked, showWords) {
    Object.assign(this, { model, images, locked, showWords });
    this.figure = picture("the client's picture", SHAPE);
    this.x = null;
    this.file = make("input", { type: "file", accept: "image/*" });
    this.drawing = make("button", { type: "button", textContent: "Draw one" });
    this.colour = make("input", { type: "color", value: "#1f5fbf" });
    const canvas = this.figure.querySelector("canvas");
    this.pencil = pencil(canvas, this.colour, locked, (x) => this.takeOwn(x, "a drawing"));
    this.listen();
    this.show(fromPad(whitePad()), "nothing yet"); // a picture of the reader's own is in no trait
    this.showPhoto();
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
  }

  makeControls() {
    const names = this.model.get("photos");
    const chooser = choice(this.model, "photo", ["", ...names], ["your own", ...names]);
    return [
      labelled("picture", chooser),
      labelled("or a file", this.file),
      this.drawing,
      labelled("colour", this.colour),
    ];
  }

  show(x, words) {
    this.x = x;
    paint(this.figure, toBytes(x), SHAPE, `the client's picture: ${words}`);
  }

  // A picture of the reader's own: the trait names no photograph.
  takeOwn(x, words) {
    this.show(x, words);
    this.model.set("photo", "");
    this.model.save_changes();
  }

  showPhoto() {
    const name = this.model.get("photo");
    const place = this.model.get("photos").indexOf(name);
    if (place < 0 || this.locked()) return;
    this.pencil.putAway();
    const size = 3 * PIXELS;
    const pixels = this.images.subarray(size * place, size * (place + 1));
    this.show(fromBytes(pixels), `the photograph ${name}`);
    this.model.set("label", name);
    this.model.save_changes();
  }

  // Take a file that was chosen or dropped, if there is one.
  async take(file) {
    if (!file || this.locked()) return;
    try {
      const { x, words } = await opened(file);
      if (this.locked()) return;
      this.pencil.putAway();
      this.takeOwn(x, words);
      this.showWords(`${words}. It stays in this page.`);
    } catch (error) {
      this.showWords(error.message);
    }
  }
}
