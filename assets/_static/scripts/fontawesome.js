// The theme's icons come from its style sheet and fonts; its script of this name, 0.5 MB, would only redraw them as SVG.
