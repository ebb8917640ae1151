// What a sandbox changes and what speaks for it: parts of the page and of the page that a link has.

import { h, table, when } from "./dom.js";

function difference(text) {
  return h("pre", { tabindex: 0, role: "group", "aria-label": "Difference" }, text.split("\n").map((line) =>
    h("span", { class: /^\+(?!\+\+)/.test(line) ? "added" : /^-(?!--)/.test(line) ? "gone" : undefined }, `${line}\n`)));
}

export function changes(report) {
  return (report.changes ?? []).map((change) => h("div", { class: "stack" },
    h("h2", {}, change.workload, " ", h("span", { class: `chip ${change.state === "ready" ? "good" : change.state === "failed" ? "bad" : "wait"}` }, `${change.state}, revision ${change.revision}`)),
    change.message ? h("p", { class: "note bad" }, change.message) : null,
    h("ul", {}, (change.differences ?? []).map((text) => h("li", {}, text.split("`").map((piece, index) => (index % 2 ? h("code", {}, piece) : piece))))),
    (change.files ?? []).map((file) => h("details", { open: true }, h("summary", {}, `${file.change}: `, h("code", {}, file.path)), file.diff ? difference(file.diff.trimEnd()) : null))));
}

export function evidence(report) {
  const shown = report.evidence ?? [];
  if (!shown.length) return h("p", { class: "soft" }, "Nothing was run against it, or nobody has told: ", h("code", {}, "skycap run"), " and ", h("code", {}, "skycap sandbox assert"), " do.");
  return table(["Outcome", "What was run", "Revision#", "When~"], [...shown].reverse().map((one) => [
    h("span", { class: `chip ${one.passed ? "good" : "bad"}` }, one.passed ? "passed" : "failed"),
    h("span", {}, one.title, one.sentence ? h("span", { class: "soft small" }, h("br"), one.sentence) : null),
    String(one.revision), when(one.time),
  ]), "What was run against it");
}

const WORDS = { approved: ["good", "approved"], changes: ["wait", "wants changes"], comment: ["", "comment"] };

export function reviews(report) {
  const said = report.reviews ?? [];
  if (!said.length) return h("p", { class: "soft" }, "Nobody has said anything yet.");
  return h("ul", { class: "stack" }, said.map((one) => h("li", { class: `note ${WORDS[one.verdict][0]}` },
    h("p", {}, one.text), h("p", { class: "soft small" }, `${one.author || "somebody"}, ${WORDS[one.verdict][1]}, on revision ${one.revision}, ${when(one.time)}`))));
}
