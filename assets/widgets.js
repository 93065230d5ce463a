// Brings the widgets of a page to life without a kernel: each anywidget gets a model over the state
// that the build stored. The general manager of ipywidgets, for which every page would load 1 MB
// more, is not needed for that.
{
  const KIND = "application/vnd.jupyter.widget";

  const toView = (base64) =>
    new DataView(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);

  // Put the buffers of a stored state where they belong in it.
  const fillIn = (state, buffers) => {
    for (const { path, data } of buffers) {
      const owner = path.slice(0, -1).reduce((value, key) => value[key], state);
      owner[path.at(-1)] = toView(data);
    }
  };

  // What a front end asks of its model, in the manner of ipywidgets; nobody answers what is sent.
  const modelOver = ({ state, buffers = [] }) => {
    fillIn(state, buffers);
    const listeners = [];
    const set = (name, value) => {
      if (state[name] === value) return;
      state[name] = value;
      const concerned = listeners.filter(({ event }) => event === `change:${name}`);
      for (const { callback } of concerned) callback();
    };
    const on = (events, callback) => {
      listeners.push(...events.split(" ").map((event) => ({ event, callback })));
    };
    return { get: (name) => state[name], set, on, save_changes() {}, send() {} };
  };

  const styles = new Set();
  const dress = (css) => {
    if (styles.has(css)) return;
    styles.add(css);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  };

  const draw = async (model, el) => {
    if (!model.get("_esm")) {
      el.textContent =
        "This control needs a kernel: open the page in Colab or JupyterLab and run its cells.";
      return;
    }
    dress(model.get("_css"));
    const source = new Blob([model.get("_esm")], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    const { default: widget } = await import(address);
    URL.revokeObjectURL(address);
    await widget.render({ model, el });
  };

  const stored = document.querySelector(`script[type='${KIND}-state+json']`);
  const entries = Object.entries(JSON.parse(stored.textContent).state);
  const models = new Map(entries.map(([id, entry]) => [id, modelOver(entry)]));
  for (const view of document.querySelectorAll(`script[type='${KIND}-view+json']`)) {
    const el = Object.assign(document.createElement("div"), { className: "widget-subarea" });
    view.after(el);
    const model = models.get(JSON.parse(view.textContent).model_id);
    draw(model, el).catch((error) => {
      el.textContent =
        `This browser cannot show this control: ${error.message}. ` +
        "Open the page in a newer one.";
    });
  }
}
