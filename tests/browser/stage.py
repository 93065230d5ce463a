"""A page with nothing but a film on it, and what can be seen there."""

import base64
import json

STAGE = """<!doctype html><meta charset="utf-8"><title>A film</title><style>{css}
html {{ background: {ground}; color: {ink}; font: 16px sans-serif }}</style>
<div style="{before}"></div><main></main><script type="module">
const unpacked = (value) => {{
  if (Array.isArray(value)) return value.map(unpacked);
  if (value?.bytes === undefined) return value;
  return new DataView(Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt()).buffer);
}};
const state = {state};
for (const name of Object.keys(state)) state[name] = unpacked(state[name]);
const listeners = [];
window.model = {{
  get: (name) => state[name],
  set: (name, value) => {{
    if (state[name] === value) return;
    state[name] = value;
    const concerned = listeners.filter(([names]) => names.split(" ").includes(`change:${{name}}`));
    concerned.forEach(([, listener]) => listener());
  }},
  on: (names, listener) => listeners.push([names, listener]),
  save_changes: () => {{}},
}};
const source = new Blob([state._esm], {{ type: "text/javascript" }});
const {{ default: widget }} = await import(URL.createObjectURL(source));
await widget.render({{ model, el: document.querySelector("main") }});
</script>"""


def state_of(film):
    """The traits of a film and its front end as JSON, for a script."""
    names = [name for name in film.keys if not name.startswith("_") or name == "_esm"]
    traits = {name: packed(getattr(film, name)) for name in names if name != "layout"}
    return json.dumps(traits, allow_nan=False).replace("</", "<\\/")


def packed(value):
    """A trait as JSON, bytes as base64."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return [packed(v) for v in value] if isinstance(value, list | tuple) else value


def cursor(page):
    """Where the cursor stands, in per cent of the curve's width."""
    return float(page.locator(".dlg-cursor").get_attribute("x1").removesuffix("%"))


def point(page, share):
    """The middle of the curve's height, so far along its width."""
    box = page.locator(".dlg-curve rect").bounding_box()
    return box["x"] + share * box["width"], box["y"] + box["height"] / 2


def shown(page):
    """The frame, and the picture as it is painted."""
    return page.evaluate("[model.get('frame'), document.querySelector('canvas').toDataURL()]")
