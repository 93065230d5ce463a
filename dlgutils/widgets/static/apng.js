// An animated PNG of pictures, three bytes a pixel, at five pictures a second. Each pixel
// becomes a square of `scale` × `scale`.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});
const checksum = (data) => ~data.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), -1);

// Numbers as PNG has them: [bytes, value] each, the highest byte first.
function packed(...fields) {
  const numbers = fields.flatMap(([length, value]) => {
    return Array.from({ length }, (_, k) => value >>> (8 * (length - 1 - k)));
  });
  return Uint8Array.from(numbers);
}

function chunk(kind, ...parts) {
  const name = new TextEncoder().encode(kind);
  const content = [name, ...parts].flatMap((part) => Array.from(part));
  const length = packed([4, content.length - 4]);
  const check = packed([4, checksum(content)]);
  return Uint8Array.from([...length, ...content, ...check]);
}

async function deflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The rows of a picture, each with the zero before it that means "no filter".
function scanlines(pixels, [height, width], scale) {
  const length = 1 + 3 * width * scale;
  return Uint8Array.from({ length: length * height * scale }, (_, k) => {
    const row = Math.floor(k / length / scale);
    const column = (k % length) - 1;
    if (column < 0) return 0;
    const place = width * row + Math.floor(column / 3 / scale);
    return pixels[3 * place + (column % 3)];
  });
}

// The header of the file: eight bits a channel, colours without transparency, no interlacing.
function header([height, width], pictures) {
  const form = [8, 2, 0, 0, 0].map((value) => [1, value]);
  return [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    chunk("IHDR", packed([4, width], [4, height], ...form)),
    chunk("acTL", packed([4, pictures], [4, 0])),
  ];
}

// What comes before the data of a picture: its place in the order, its size, how long it is shown.
function control(order, [height, width], milliseconds) {
  const place = [0, 0].map((value) => [4, value]);
  const pause = [milliseconds, 1000].map((value) => [2, value]);
  const form = [0, 0].map((value) => [1, value]);
  return chunk("fcTL", packed([4, order], [4, width], [4, height], ...place, ...pause, ...form));
}

// `shape` is that of a picture, its height and its width.
export async function animated(pictures, shape, scale) {
  const [height, width] = shape;
  const size = [height * scale, width * scale];
  const parts = header(size, pictures.length);
  let order = 0;
  for (const [k, pixels] of pictures.entries()) {
    const data = await deflated(scanlines(pixels, shape, scale));
    const isLast = k === pictures.length - 1;
    parts.push(control(order++, size, isLast ? 2000 : 200));
    const isFirst = k === 0;
    parts.push(isFirst ? chunk("IDAT", data) : chunk("fdAT", packed([4, order++]), data));
  }
  return new Blob([...parts, chunk("IEND")], { type: "image/png" });
}
