// Mends what the markup of the theme and of Sphinx gets wrong for screen readers.
{
  const each = (selector, mend) => {
    for (const element of document.querySelectorAll(selector)) mend(element);
  };

  // Where words are to be seen they are the name; an aria-label with other words would hide them.
  each(".search-button-field, details.hide > summary", (named) => {
    named.removeAttribute("aria-label");
  });

  // A signature's parameters, one a line, are not a list of terms; references are the items of
  // theirs.
  each("dl.py > dt dl, dl.py > dt dd", (line) => {
    line.setAttribute("role", "none");
  });
  each(".citation-list > .citation", (reference) => {
    reference.setAttribute("role", "listitem");
  });

  // The theme lets the keyboard into what scrolls, and looks for it after a resize: so let it look
  // when something was unfolded, too.
  document.addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);
}
