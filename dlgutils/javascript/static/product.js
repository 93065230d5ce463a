// The page's own product of two matrices, for pages without WebAssembly.

// o[o0 + i N + j] = Σ_k a[a0 + i ar + k ac] b[b0 + k br + j], an M×K by a K×N matrix, strides as in
// torch. Four rows of b at a time, so that o is read and written a quarter as often.
export function plainProduct(o, o0, a, a0, ar, ac, b, b0, br, M, K, N) {
  o.fill(0, o0, o0 + M * N);
  for (let i = 0; i < M; i++) {
    const row = o0 + i * N;
    let k = 0;
    let at = a0 + i * ar;
    for (; k + 4 <= K; k += 4, at += 4 * ac) {
      const v0 = a[at];
      const v1 = a[at + ac];
      const v2 = a[at + 2 * ac];
      const v3 = a[at + 3 * ac];
      let p = b0 + k * br;
      let q = p + br;
      let r = q + br;
      let s = r + br;
      for (let j = row; j < row + N; j++) {
        o[j] += v0 * b[p++] + v1 * b[q++] + v2 * b[r++] + v3 * b[s++];
      }
    }
    for (; k < K; k++, at += ac) {
      const v = a[at];
      let p = b0 + k * br;
      for (let j = row; j < row + N; j++) o[j] += v * b[p++];
    }
  }
}
