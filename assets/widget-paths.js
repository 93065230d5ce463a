// Loaded between require.js and the widget manager: keeps both on the files that the book itself serves.
(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");

  // anywidget's front end is looked up here rather than at a CDN.
  requirejs.config({ baseUrl: here + "vendor/" });

  // The theme's Font Awesome replaces <i> by <svg>, which breaks ipywidgets' Play button: let it nest instead.
  window.FontAwesomeConfig = { ...window.FontAwesomeConfig, autoReplaceSvg: "nest" };

  // The widget manager still asks for mathematics in the words of MathJax 2.
  addEventListener("load", () => {
    const { MathJax } = window;
    if (MathJax && !MathJax.Hub) MathJax.Hub = { Queue: ([, , element] = []) => element && MathJax.typesetPromise([element]) };
  });
})();
