// An animated PNG of square pictures (bytes, three a pixel), each pixel enlarged so many times, five pictures a second.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});
const checksum = (data) => ~data.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), -1);

// Numbers as PNG has them: [bytes, value] each, the highest byte first.
const packed = (...fields) => Uint8Array.from(fields.flatMap(([n, v]) => Array.from({ length: n }, (_, k) => v >>> (8 * (n - 1 - k)))));

function chunk(kind, ...parts) {
  const content = [new TextEncoder().encode(kind), ...parts].flatMap((part) => Array.from(part));
  return Uint8Array.from([...packed([4, content.length - 4]), ...content, ...packed([4, checksum(content)])]);
}

async function deflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The rows of a picture, each with the zero before it that says "no filter".
function scanlines(pixels, side, scale) {
  const width = 1 + 3 * side * scale;
  return Uint8Array.from({ length: width * side * scale }, (_, k) => {
    const [row, column] = [Math.floor(k / width), (k % width) - 1];
    const place = side * Math.floor(row / scale) + Math.floor(column / 3 / scale);
    return column < 0 ? 0 : pixels[3 * place + (column % 3)];
  });
}

async function animated(pictures, side, scale) {
  const size = side * scale;
  let order = 0;
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", packed([4, size], [4, size], [1, 8], [1, 2], [1, 0], [1, 0], [1, 0])),
    chunk("acTL", packed([4, pictures.length], [4, 0])),
  ];
  for (const [k, pixels] of pictures.entries()) {
    const data = await deflated(scanlines(pixels, side, scale));
    const pause = k === pictures.length - 1 ? 2000 : 200; // milliseconds
    parts.push(
      chunk("fcTL", packed([4, order++], [4, size], [4, size], [4, 0], [4, 0], [2, pause], [2, 1000], [1, 0], [1, 0])),
      k === 0 ? chunk("IDAT", data) : chunk("fdAT", packed([4, order++]), data),
    );
  }
  return new Blob([...parts, chunk("IEND")], { type: "image/png" });
}
