// Small canvases: what a file or a drawing becomes before it is a picture of 32 × 32 pixels.

import { make } from "./controls.js";
import { fromBytes, SIDE } from "./strip.js";

const LARGEST_FILE = 40e6; // bytes

function pad(width, height) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}

export function whitePad() {
  const context = pad(SIDE, SIDE);
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  return context;
}

export function fromPad(context) {
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
  throw new Error(`${file.name} is ${size} large; choose a picture of at most ${most}.`);
}

// A file as a picture and in words; an error names what is wrong with it, and what to choose.
export async function opened(file) {
  checkSize(file);
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(
      `This browser cannot open ${file.name} as a picture; ` +
        "choose a file in PNG, JPEG, WebP or GIF format.",
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
