// Drawing with a mouse, a pen or a finger.

import { fromPad, whitePad } from "./pads.js";
import { SIDE } from "./strip.js";

// Where a pointer is on a canvas, in pixels of the picture.
function placeOn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const down = (event.clientY - box.top) / box.height;
  return [across * canvas.width, down * SIDE];
}

// A pencil for a canvas: `begin` clears it, strokes follow the pointer, `drawn` gets the picture
// after each; `putAway` ends that. `locked` returns whether nothing may change now.
export function pencil(canvas, colour, locked, drawn) {
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
