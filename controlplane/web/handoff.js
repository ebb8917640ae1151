// What a reviewer sees who has nothing but a link: what changed, what speaks for it, and room for words.

import { get, send } from "./api.js";
import { h, phase, verdict, when } from "./dom.js";
import { changes, evidence, reviews } from "./report.js";
import { waterfall } from "./trace.js";

class Handoff extends HTMLElement {
  async connectedCallback() {
    let report;
    try {
      report = await get("handoff");
    } catch (refusal) {
      this.replaceChildren(h("main", { class: "centre stack" }, h("h1", {}, "This page cannot be shown"), h("p", {}, `${refusal.message}.`)));
      return;
    }
    document.title = `${report.sandbox}, revision ${report.revision}: review`;
    const part = (title, ...children) => h("section", {}, h("h2", {}, title), ...children);
    this.said = h("div", {}, reviews(report));
    this.replaceChildren(h("main", { class: "handoff" },
      h("div", { class: "title" }, h("h1", {}, report.sandbox), phase(report.phase)),
      report.description && h("p", {}, report.description),
      h("dl", { class: "facts" }, [["Revision", String(report.revision)], ["Owner", report.owner], ["Changed", when(report.updated)], ["Tried with route group", report.link.group], ["Link ends", when(report.link.expires)]]
        .filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      report.note && h("div", { class: "box stack" }, h("h2", {}, "What to look at"), h("p", {}, report.note)),
      h("p", {}, h("a", { href: "/", target: "_blank", rel: "noopener" }, `Open ${report.link.workload} with this change`)),
      h("div", { class: `note ${verdict(report.verdict)}` }, h("p", {}, h("strong", {}, report.verdict), " ", report.summary)),
      part("What changed", changes(report)),
      part("What was run against it", evidence(report)),
      report.sample && part("A request through it", waterfall(report.sample, { bodies: false })),
      part("Reviews", this.said, this.form())));
  }

  form() {
    const text = h("textarea", { rows: 4, required: true, maxlength: 4000 });
    const author = h("input", { maxlength: 200, autocomplete: "name" });
    const choice = h("select", {}, h("option", { value: "comment" }, "A comment"), h("option", { value: "approved" }, "I approve"), h("option", { value: "changes" }, "I want changes"));
    const outcome = h("p", { class: "note", role: "status", hidden: true });
    const submit = async (event) => {
      event.preventDefault();
      try {
        await send("POST", "reviews", { text: text.value, author: author.value, verdict: choice.value });
        text.value = "";
        outcome.className = "note good";
        outcome.textContent = "Sent. It is in the feedback of whoever works on this.";
        this.said.replaceChildren(reviews(await get("handoff")));
      } catch (refusal) {
        outcome.className = "note bad";
        outcome.textContent = `${refusal.message}.`;
      }
      outcome.hidden = false;
    };
    return h("form", { class: "box fields", onsubmit: submit }, h("label", {}, "Your words, for whoever works on this", text), h("label", {}, "Your name", author),
      h("label", {}, "Verdict", choice), outcome, h("div", {}, h("button", { class: "main-action" }, "Send")));
  }
}

customElements.define("sky-handoff", Handoff);
