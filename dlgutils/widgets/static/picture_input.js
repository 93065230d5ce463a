// The client's picture in the lab: a photograph, a file of the reader's own, or a drawing, at 32 × 32 pixels.
// Pictures are Float32Arrays in [0, 1], channel by channel, as the networks take them.

const SIDE = 32; // pixels
const SHAPE = [SIDE, SIDE, 3];
const PIXELS = SIDE ** 2;
const LARGEST_FILE = 40e6; // bytes

const fromBytes = (pixels) => Float32Array.from(pixels, (_, k) => pixels[3 * (k % PIXELS) + Math.floor(k / PIXELS)] / 255);
const toByte = (v) => Math.round(255 * Math.min(1, Math.max(0, v || 0)));
const toBytes = (x) => Uint8Array.from(x, (_, k) => toByte(x[PIXELS * (k % 3) + Math.floor(k / 3)]));

function pad(width, height) {
  const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}

function whitePad() {
  const context = pad(SIDE, SIDE);
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  return context;
}

const fromPad = (context) => fromBytes(context.getImageData(0, 0, SIDE, SIDE).data.filter((_, k) => k % 4 < 3));

// The central square of an image on white ground, halved until it is nearly small enough, then made exactly so.
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

// A file as a picture and in words; an error says what is wrong with it and what would do.
async function opened(file) {
  if (file.size > LARGEST_FILE) {
    const [size, most] = [file.size, LARGEST_FILE].map((n) => `${(n / 1e6).toFixed(0)} MB`);
    throw new Error(`${file.name} has ${size}; choose a picture of at most ${most}.`);
  }
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is no picture that this browser can open; choose a file of kind PNG, JPEG, WebP or GIF.`);
  });
  const enlarged = Math.min(image.width, image.height) < SIDE ? ", enlarged" : "";
  const words = `${file.name}, ${image.width} × ${image.height} pixels, the middle of it at ${SIDE} × ${SIDE}${enlarged}`;
  const x = reduced(image);
  image.close();
  return { x, words };
}

// A pencil for a canvas: the button clears it and begins, strokes follow the pointer, `drawn` gets the picture after each.
// Returns what puts the pencil away.
function pencil(canvas, button, colour, locked, drawn) {
  let context = null;
  let down = false;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  };
  const stroke = (event) => {
    if (!down) return;
    context.lineTo(...place(event));
    context.stroke();
    drawn(fromPad(context));
  };
  button.addEventListener("click", () => {
    context = whitePad();
    canvas.style.touchAction = "none"; // a finger draws rather than scrolls
    drawn(fromPad(context));
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (!context || locked()) return;
    down = true;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(context, { strokeStyle: colour.value, lineWidth: 3, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...place(event));
    stroke(event);
  });
  canvas.addEventListener("pointermove", stroke);
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (down = false));
  return () => {
    context = null;
    canvas.style.touchAction = "";
  };
}

// The secret with its figure and the controls that choose it. `locked` says whether it may not change now, `tell` shows words.
function secretPicture(model, images, locked, tell) {
  const names = model.get("photos");
  const figure = picture("the client's picture", SHAPE);
  const file = make("input", { type: "file", accept: "image/*" });
  const drawing = make("button", { type: "button", textContent: "Draw one" });
  const colour = make("input", { type: "color", value: "#1f5fbf" });
  const secret = { figure, x: null };

  const show = (x, words) => {
    secret.x = x;
    paint(figure, toBytes(x), SHAPE, `the client's picture: ${words}`);
  };
  const own = (x, words) => {
    show(x, words);
    model.set("photo", "");
    model.save_changes();
  };
  const putAway = pencil(figure.querySelector("canvas"), drawing, colour, locked, (x) => own(x, "a drawing"));
  const showPhoto = () => {
    const name = model.get("photo");
    if (!names.includes(name) || locked()) return;
    putAway();
    const from = 3 * PIXELS * names.indexOf(name);
    show(fromBytes(images.subarray(from, from + 3 * PIXELS)), `the photograph ${name}`);
    model.set("label", name);
    model.save_changes();
  };
  secret.take = async (dropped) => {
    if (!dropped || locked()) return;
    try {
      const { x, words } = await opened(dropped);
      if (locked()) return;
      putAway();
      own(x, words);
      tell(`${words}. It stays in this page.`);
    } catch (error) {
      tell(error.message);
    }
  };
  file.addEventListener("change", () => {
    secret.take(file.files[0]);
    file.value = ""; // so that the same file may be chosen again
  });
  drawing.addEventListener("click", () => tell("Draw on the white square."));
  model.on("change:photo", showPhoto);
  show(fromPad(whitePad()), "nothing yet"); // a picture of the reader's own is in no trait
  showPhoto();
  const chooser = choice(model, "photo", ["", ...names], ["your own", ...names]);
  secret.controls = [labelled("picture", chooser), labelled("or a file", file), drawing, labelled("colour", colour)];
  return secret;
}
