// What the widgets have in common: native, labelled controls, and canvases for pictures.

export const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  // JupyterLab takes arrows and Enter for itself, unless the focused element asks for them.
  if (element.matches("button, input, select")) element.dataset.lmSuppressShortcuts = "";
  return element;
};

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const labelled = (text, control) => make("label", {}, text, control);

export const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// What Python compressed with zlib.
export async function unpacked(view) {
  const stream = new Blob([bytes(view)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export function picture(caption, [height, width]) {
  const canvas = make("canvas", { width, height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
}

export function paint(figure, pixels, [height, width, channels], description) {
  if (pixels.length === 0) return;
  const canvas = figure.querySelector("canvas");
  const image = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * p + c] = pixels[p * channels + Math.min(c, channels - 1)];
    }
    image.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", description);
}

// Change a caption, which screen readers announce unless the widget is busy: what comes meanwhile
// is announced once that has ended.
export function say(caption, text, busy) {
  const live = busy ? "off" : "polite";
  if (caption.textContent === text && caption.getAttribute("aria-live") === live) return;
  caption.setAttribute("aria-live", live);
  caption.textContent = text;
}

// A control bound to a trait, both ways; an invalid entry does not reach the trait.
export function bound(model, name, control, read) {
  const show = () => (control.value = model.get(name));
  control.addEventListener("input", () => {
    if (control.value === "" || !control.checkValidity()) return;
    model.set(name, read(control.value));
    model.save_changes();
  });
  control.addEventListener("change", show); // an invalid entry gives way to the last valid one
  model.on(`change:${name}`, show);
  show();
  return control;
}

// A box to tick, bound to a trait that is true or false.
export function switchOf(model, name) {
  const box = make("input", { type: "checkbox" });
  const show = () => (box.checked = model.get(name));
  box.addEventListener("input", () => {
    model.set(name, box.checked);
    model.save_changes();
  });
  model.on(`change:${name}`, show);
  show();
  return box;
}

export const options = (values, words = values) =>
  values.map((value, k) => make("option", { value, textContent: words[k] }));

// A select bound to a trait.
export const choice = (model, name, values, words = values, read = String) =>
  bound(model, name, make("select", {}, ...options(values, words)), read);
