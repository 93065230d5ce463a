// Pictures as networks take them: Float32Arrays in [0, 1] of one or several pictures of 32 × 32
// pixels, channel by channel. On a canvas they lie side by side.

import { paint } from "./controls.js";

export const SIDE = 32; // pixels
const PIXELS = SIDE ** 2;
export const SIZE = 3 * PIXELS; // numbers of one picture

export const countOf = (x) => x.length / SIZE;
export const shapeOf = (x) => [SIDE, SIDE * countOf(x), 3];
export const part = (x, k) => x.subarray(SIZE * k, SIZE * (k + 1));
export const grey = (count) => new Float32Array(count * SIZE).fill(0.5);

export function joined(pictures) {
  const x = new Float32Array(pictures.length * SIZE);
  for (const [k, one] of pictures.entries()) x.set(one, SIZE * k);
  return x;
}

const toByte = (v) => Math.round(255 * Math.min(1, Math.max(0, v || 0)));
export function toBytes(x) {
  const [, width] = shapeOf(x);
  return Uint8Array.from(x, (_, k) => {
    const [row, column] = [Math.floor(k / 3 / width), Math.floor(k / 3) % width];
    const place = SIZE * Math.floor(column / SIDE) + SIDE * row + (column % SIDE);
    return toByte(x[place + PIXELS * (k % 3)]);
  });
}

// Pictures whose bytes lie one picture after the other.
export const fromBytes = (pixels) =>
  Float32Array.from(pixels, (_, k) => {
    const [image, place] = [Math.floor(k / SIZE), k % SIZE];
    return pixels[SIZE * image + 3 * (place % PIXELS) + Math.floor(place / PIXELS)] / 255;
  });

// Paint pictures side by side, as wide as there are.
export function paintStrip(figure, x, description) {
  const [height, width] = shapeOf(x);
  const canvas = figure.querySelector("canvas");
  if (canvas.width !== width) Object.assign(canvas, { width, height });
  figure.style.setProperty("--pictures", countOf(x));
  paint(figure, toBytes(x), shapeOf(x), description);
}

export function rmse(a, b) {
  const sum = a.reduce((total, v, k) => total + (v - b[k]) ** 2, 0);
  return Math.sqrt(sum / a.length);
}

// All orders of the numbers below n.
function orders(n) {
  if (n === 0) return [[]];
  return orders(n - 1).flatMap((order) =>
    Array.from({ length: n }, (_, k) => order.toSpliced(k, 0, n - 1)),
  );
}

// A gradient does not say which picture came first: the found pictures in the order that suits the
// client's best, as whoever knows them sees it.
export function paired(x, truth) {
  const n = countOf(x);
  if (n === 1) return x;
  const places = Array.from({ length: n }, (_, k) => k);
  const costs = places.map((i) => places.map((k) => rmse(part(x, i), part(truth, k)) ** 2));
  const cost = (order) => order.reduce((sum, i, k) => sum + costs[i][k], 0);
  let [best, lowest] = [places, cost(places)];
  for (const order of orders(n)) {
    if (cost(order) < lowest) [best, lowest] = [order, cost(order)];
  }
  return joined(best.map((i) => part(x, i)));
}
