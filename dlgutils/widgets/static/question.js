// A question to check oneself with: choose an answer, press Check, read why it is right or wrong.

import { make } from "./controls.js";

// Text in which `backticks` mark code.
const prose = (text) =>
  text.split("`").map((part, k) => (k % 2 ? make("code", { textContent: part }) : part));

// The place of the reply, and a function that fills it: a verdict, and why.
function replyLine() {
  const reply = make("p", { className: "dlg-reply" });
  reply.setAttribute("role", "status"); // a live region: what comes here is read out
  const answer = (verdict, why = "") => {
    reply.dataset.verdict = verdict;
    const reason = prose(why && ` ${why}`);
    reply.replaceChildren(make("strong", { textContent: verdict }), ...reason);
  };
  return { reply, answer };
}

function question(model, root) {
  const answers = model.get("answers");
  const name = `answer-${Math.random()}`; // radio buttons exclude others of their name in the page
  const radios = answers.map(() => make("input", { type: "radio", name }));
  const check = make("button", { type: "button", textContent: "Check" });
  const { reply, answer } = replyLine();

  check.addEventListener("click", () => {
    const chosen = radios.findIndex((radio) => radio.checked);
    if (chosen < 0) return answer("Choose an answer first.");
    answer(chosen === model.get("right") ? "Right." : "No.", answers[chosen][1]);
  });
  for (const radio of radios) radio.addEventListener("change", () => answer(""));

  const legend = make("legend", {}, ...prose(model.get("text")));
  const lines = answers.map(([words], k) => {
    return make("label", {}, radios[k], make("span", {}, ...prose(words)));
  });
  root.append(make("fieldset", {}, legend, ...lines), check, reply);
}

export default {
  render({ model, el }) {
    const root = make("div", { className: "dlg dlg-question" });
    el.append(root);
    question(model, root);
  },
};
