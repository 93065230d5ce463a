// What the generated functions call: all arrays are Float32Arrays.

const decoded = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

let panel = new Float32Array(0);

// o[o0 + i N + j] = Σ_k a[a0 + i ar + k ac] b[b0 + k br + j bc], an M×K by a K×N matrix, strides as in torch.
function product(o, o0, a, a0, ar, ac, b, b0, br, bc, M, K, N) {
  if (bc !== 1) {
    if (panel.length < K * N) panel = new Float32Array(K * N);
    for (let j = 0; j < N; j++) for (let k = 0, from = b0 + j * bc; k < K; k++, from += br) panel[k * N + j] = b[from];
    [b, b0, br] = [panel, 0, N];
  }
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

// Calls place(column, pixel) for each entry of the columns that lies inside the image; entries outside are padding.
function windows(planes, H, W, KH, KW, DH, DW, PH, PW, SH, SW, run) {
  const OH = Math.floor((H + 2 * PH - DH * (KH - 1) - 1) / SH) + 1;
  const OW = Math.floor((W + 2 * PW - DW * (KW - 1) - 1) / SW) + 1;
  let column = 0;
  for (let plane = 0; plane < planes; plane++)
    for (let kh = 0; kh < KH; kh++)
      for (let kw = 0; kw < KW; kw++)
        for (let oh = 0; oh < OH; oh++, column += OW) {
          const y = oh * SH - PH + kh * DH;
          if (y < 0 || y >= H) continue;
          const x = kw * DW - PW;
          const first = Math.max(0, Math.ceil(-x / SW));
          const last = Math.min(OW, Math.ceil((W - x) / SW));
          run(column + first, (plane * H + y) * W + x + first * SW, last - first, SW);
        }
}

function im2col(o, a, ...geometry) {
  o.fill(0);
  windows(...geometry, (column, pixel, n, step) => {
    for (let k = 0; k < n; k++, pixel += step) o[column + k] = a[pixel];
  });
}

function col2im(o, a, ...geometry) {
  o.fill(0);
  windows(...geometry, (column, pixel, n, step) => {
    for (let k = 0; k < n; k++, pixel += step) o[pixel] += a[column + k];
  });
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
