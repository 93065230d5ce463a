// What the generated functions call. All arrays are Float32Arrays in one memory, so that WebAssembly sees them too.

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const decoded = (text) => new Float32Array(bytesOf(text).buffer);

// Arrays of the given sizes, and the matrix product in them: product.wat's, or this page's own where there is no WebAssembly,
// none with vectors, or none that the page may run. `productModule` is product.wasm in base64.
function machine(sizes) {
  const room = (n) => 16 * Math.ceil((n + 3) / 4); // bytes; for a vector that begins at the last number
  const length = sizes.reduce((sum, n) => sum + room(n), 0);
  let buffer, product;
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(length / 65536) });
    const wasm = new WebAssembly.Instance(new WebAssembly.Module(bytesOf(productModule)), { page: { memory } }).exports;
    const at = (array, from) => array.byteOffset + 4 * from;
    buffer = memory.buffer;
    product = (o, o0, a, a0, ar, ac, b, b0, br, ...shape) =>
      wasm.product(at(o, o0), at(a, a0), 4 * ar, 4 * ac, at(b, b0), 4 * br, ...shape);
  } catch {
    buffer = new ArrayBuffer(length);
    product = plainProduct;
  }
  let end = 0;
  const arrays = sizes.map((n) => new Float32Array(buffer, (end += room(n)) - room(n), n));
  return { arrays, product };
}

// o[o0 + i N + j] = Σ_k a[a0 + i ar + k ac] b[b0 + k br + j], an M×K by a K×N matrix, strides as in torch.
function plainProduct(o, o0, a, a0, ar, ac, b, b0, br, M, K, N) {
  o.fill(0, o0, o0 + M * N);
  for (let i = 0; i < M; i++) {
    const row = o0 + i * N;
    let k = 0;
    let at = a0 + i * ar;
    for (; k + 4 <= K; k += 4, at += 4 * ac) {
      const [v0, v1, v2, v3] = [a[at], a[at + ac], a[at + 2 * ac], a[at + 3 * ac]];
      let p = b0 + k * br;
      let [q, r, s] = [p + br, p + 2 * br, p + 3 * br];
      for (let j = row; j < row + N; j++) o[j] += v0 * b[p++] + v1 * b[q++] + v2 * b[r++] + v3 * b[s++];
    }
    for (; k < K; k++, at += ac) {
      const v = a[at];
      let p = b0 + k * br;
      for (let j = row; j < row + N; j++) o[j] += v * b[p++];
    }
  }
}

// Where the patches of images lie: the entries of the columns that are not padding, and the pixel of each.
function patches(planes, H, W, KH, KW, DH, DW, PH, PW, SH, SW) {
  const OH = Math.floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1;
  const OW = Math.floor((W + 2 * PW - DW * (KW - 1) - 1) / SW) + 1;
  const [columns, pixels] = [[], []];
  let column = 0;
  for (let plane = 0; plane < planes; plane++)
    for (let kh = 0; kh < KH; kh++)
      for (let kw = 0; kw < KW; kw++)
        for (let oh = 0; oh < OH; oh++)
          for (let ow = 0; ow < OW; ow++, column++) {
            const [y, x] = [oh * SH - PH + kh * DH, ow * SW - PW + kw * DW];
            if (y < 0 || y >= H || x < 0 || x >= W) continue;
            columns.push(column);
            pixels.push((plane * H + y) * W + x);
          }
  return { columns: Int32Array.from(columns), pixels: Int32Array.from(pixels) };
}

// The padding of o is zero from the start.
function im2col(o, a, { columns, pixels }) {
  for (let k = 0; k < columns.length; k++) o[columns[k]] = a[pixels[k]];
}

function col2im(o, a, { columns, pixels }) {
  o.fill(0);
  for (let k = 0; k < columns.length; k++) o[pixels[k]] += a[columns[k]];
}

function logSoftmax(o, a, rows, n) {
  for (let r = 0; r < rows * n; r += n) {
    let highest = -Infinity;
    let total = 0;
    for (let c = r; c < r + n; c++) highest = Math.max(highest, a[c]);
    for (let c = r; c < r + n; c++) total += Math.exp(a[c] - highest);
    for (let c = r; c < r + n; c++) o[c] = a[c] - highest - Math.log(total);
  }
}

function softmax(o, a, rows, n) {
  logSoftmax(o, a, rows, n);
  for (let c = 0; c < rows * n; c++) o[c] = Math.exp(o[c]);
}
