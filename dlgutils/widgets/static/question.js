// A question to check oneself with: choose an answer, press Check, read why it is right or wrong.

// Text in which `backticks` mark code.
const prose = (text) => text.split("`").map((part, k) => (k % 2 ? make("code", { textContent: part }) : part));

function question(model, root) {
  const answers = model.get("answers");
  const name = `answer-${Math.random()}`; // radio buttons exclude those of the same name in the whole page
  const radios = answers.map(() => make("input", { type: "radio", name }));
  const check = make("button", { type: "button", textContent: "Check" });
  const reply = make("p", { className: "dlg-reply" });
  reply.setAttribute("role", "status"); // a live region: what comes here is read out

  const said = (verdict, why = "") => {
    reply.dataset.verdict = verdict;
    reply.replaceChildren(make("strong", { textContent: verdict }), ...prose(why && ` ${why}`));
  };
  check.addEventListener("click", () => {
    const chosen = radios.findIndex((radio) => radio.checked);
    if (chosen < 0) return said("Choose an answer first.");
    said(chosen === model.get("right") ? "Right." : "No.", answers[chosen][1]);
  });
  for (const radio of radios) radio.addEventListener("change", () => said(""));

  const lines = answers.map(([answer], k) => make("label", {}, radios[k], make("span", {}, ...prose(answer))));
  root.append(make("fieldset", {}, make("legend", {}, ...prose(model.get("text"))), ...lines), check, reply);
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-question" });
    el.append(root);
    question(model, root);
  },
};
