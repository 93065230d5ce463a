// What the generated functions call. All arrays are Float32Arrays in one memory, so that
// WebAssembly sees them too. The generated code provides `productModule`: product.wasm in base64.
/* global productModule */

import { plainProduct } from "./product.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export const decoded = (text) => new Float32Array(bytesOf(text).buffer);

// Bytes for n numbers, with room for a vector of four that begins at the last of them.
const roomFor = (n) => 16 * Math.ceil((n + 3) / 4);

// Arrays of the given sizes in one memory, and the matrix product in it: product.wat's, or the
// page's own where WebAssembly is missing, has no vectors, or is forbidden.
export function machine(sizes) {
  const length = sizes.reduce((sum, n) => sum + roomFor(n), 0);
  let memory;
  try {
    memory = webAssemblyMemory(length);
  } catch {
    memory = { buffer: new ArrayBuffer(length), product: plainProduct };
  }
  const arrays = [];
  let start = 0;
  for (const n of sizes) {
    arrays.push(new Float32Array(memory.buffer, start, n));
    start += roomFor(n);
  }
  return { arrays, product: memory.product };
}

function webAssemblyMemory(length) {
  const memory = new WebAssembly.Memory({ initial: Math.ceil(length / 65536) });
  const compiled = new WebAssembly.Module(bytesOf(productModule));
  const { exports } = new WebAssembly.Instance(compiled, { page: { memory } });
  const at = (array, entry) => array.byteOffset + 4 * entry;
  const product = (o, o0, a, a0, ar, ac, b, b0, br, M, K, N) =>
    exports.product(at(o, o0), at(a, a0), 4 * ar, 4 * ac, at(b, b0), 4 * br, M, K, N);
  return { buffer: memory.buffer, product };
}

// Where the patches of images lie: the entries of the columns that are not padding, and the pixel
// of each. The kernel's size, dilation, padding and stride are given as height and width.
export function patches(planes, H, W, KH, KW, DH, DW, PH, PW, SH, SW) {
  const OH = Math.floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1;
  const OW = Math.floor((W + 2 * PW - DW * (KW - 1) - 1) / SW) + 1;
  const columns = [];
  const pixels = [];
  let column = 0;
  for (let plane = 0; plane < planes; plane++)
    for (let kh = 0; kh < KH; kh++)
      for (let kw = 0; kw < KW; kw++)
        for (let oh = 0; oh < OH; oh++)
          for (let ow = 0; ow < OW; ow++, column++) {
            const y = oh * SH - PH + kh * DH;
            const x = ow * SW - PW + kw * DW;
            if (y < 0 || y >= H || x < 0 || x >= W) continue;
            columns.push(column);
            pixels.push((plane * H + y) * W + x);
          }
  return { columns: Int32Array.from(columns), pixels: Int32Array.from(pixels) };
}

// The padding of o is zero from the start.
export function im2col(o, a, { columns, pixels }) {
  for (let k = 0; k < columns.length; k++) o[columns[k]] = a[pixels[k]];
}

export function col2im(o, a, { columns, pixels }) {
  o.fill(0);
  for (let k = 0; k < columns.length; k++) o[pixels[k]] += a[columns[k]];
}

export function logSoftmax(o, a, rows, n) {
  for (let r = 0; r < rows * n; r += n) {
    let highest = -Infinity;
    let total = 0;
    for (let c = r; c < r + n; c++) highest = Math.max(highest, a[c]);
    for (let c = r; c < r + n; c++) total += Math.exp(a[c] - highest);
    for (let c = r; c < r + n; c++) o[c] = a[c] - highest - Math.log(total);
  }
}

export function softmax(o, a, rows, n) {
  logSoftmax(o, a, rows, n);
  for (let c = 0; c < rows * n; c++) o[c] = Math.exp(o[c]);
}

// As torch rounds: what lies half-way goes to the even neighbour.
export function roundHalfToEven(a) {
  const rounded = Math.round(a);
  return rounded - a === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// The largest entries of a in descending order, as many as o has; NaN counts as the largest.
export function largest(o, a) {
  const sorted = a.slice().sort();
  for (let k = 0; k < o.length; k++) o[k] = sorted[sorted.length - 1 - k];
}
