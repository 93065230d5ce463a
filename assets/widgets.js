// Brings the widgets of a page to life without a kernel: each anywidget gets a model over the state that the build stored.
// The general manager of ipywidgets, for which every page would load 1 MB more, is not needed for that.
(() => {
  const bytes = (base64) => new DataView(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);

  // What a front end asks of its model, in the manners of ipywidgets; what is sent has nobody to answer it.
  function modelOver({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const owner = path.slice(0, -1).reduce((value, key) => value[key], state);
      owner[path.at(-1)] = bytes(data);
    }
    const listeners = [];
    const tell = (event) => listeners.filter((listener) => listener.event === event).forEach(({ callback }) => callback());
    return {
      get: (name) => state[name],
      set(name, value) {
        if (state[name] === value) return;
        state[name] = value;
        tell(`change:${name}`);
      },
      save_changes() {},
      send() {},
      on(events, callback) {
        listeners.push(...events.split(" ").map((event) => ({ event, callback })));
      },
    };
  }

  const styles = new Set();
  function dress(css) {
    if (styles.has(css)) return;
    styles.add(css);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  async function draw(model, el) {
    if (!model.get("_esm")) {
      el.textContent = "This control needs a kernel: open the page in Colab or JupyterLab and run its cells.";
      return;
    }
    dress(model.get("_css"));
    const module = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
    const { default: widget } = await import(module);
    URL.revokeObjectURL(module);
    await widget.render({ model, el });
  }

  const stored = document.querySelector("script[type='application/vnd.jupyter.widget-state+json']");
  const models = new Map(Object.entries(JSON.parse(stored.textContent).state).map(([id, entry]) => [id, modelOver(entry)]));
  for (const view of document.querySelectorAll("script[type='application/vnd.jupyter.widget-view+json']")) {
    const el = Object.assign(document.createElement("div"), { className: "widget-subarea" });
    view.after(el);
    draw(models.get(JSON.parse(view.textContent).model_id), el).catch((error) => {
      el.textContent = `This browser cannot show this control: ${error.message}. Open the page in a newer one.`;
    });
  }
})();
