// One request and all that it caused, as a waterfall. A call and its answer are one line: what the caller's sidecar and
// the callee's say of it belongs together.

import { failed, h, milliseconds, server, status } from "./dom.js";

/** Hops of a trace as lines: an outbound hop with exactly one inbound hop below it is told by that one. */
export function lines(hops) {
  const found = [];
  const stack = [];
  hops.forEach((hop, index) => {
    while (stack.length && stack.at(-1).depth >= hop.depth) stack.pop();
    const above = stack.filter((one) => one.shown).length;
    const next = hops[index + 1];
    const told = hop.side === "outbound" && next && next.depth === hop.depth + 1 && next.side === "inbound";
    // A shadow's own sidecar and the one that sent it there both tell of a request: the inner one counts.
    const twice = hop.side === "inbound" && next && next.depth === hop.depth + 1 && next.side === "inbound" && next.workload === hop.workload;
    const shown = !told && !twice;
    stack.push({ depth: hop.depth, shown });
    if (shown) found.push({ hop, level: above });
  });
  return found;
}

function message(title, captured) {
  if (!captured) return h("div", { class: "stack" }, h("h3", {}, title), h("p", { class: "soft small" }, "Not kept: only requests that failed are."));
  const body = captured.body ?? (captured.omitted ? `(${captured.omitted}, ${captured.length} bytes)` : "");
  let text = body;
  try {
    text = JSON.stringify(JSON.parse(body), null, 2);
  } catch { /* as it came */ }
  const fields = (captured.headers ?? []).map(([name, value]) => `${name}: ${value}`).join("\n");
  return h("div", { class: "stack" }, h("h3", {}, title),
    text && h("pre", { tabindex: 0, role: "group", "aria-label": `${title}, body` }, text, captured.truncated ? "\n(only its beginning)" : ""),
    fields && h("pre", { class: "fields-of", tabindex: 0, role: "group", "aria-label": `${title}, fields` }, fields));
}

/** The waterfall of `trace`. bodies: whether what was captured is shown. */
export function waterfall(trace, { bodies = true } = {}) {
  const shown = lines(trace.hops);
  const began = Math.min(...trace.hops.map((hop) => hop.time));
  const whole = Math.max(1, ...trace.hops.map((hop) => (hop.time - began) * 1000 + (hop.durationMs ?? 0)));
  return h("div", { class: "trace" }, shown.map(({ hop, level }) => {
    const bar = h("span", { class: `bar ${failed(hop) ? "bad" : hop.sandbox ? "own" : ""}` });
    bar.style.left = `${Math.min(99, ((hop.time - began) * 100_000) / whole)}%`;
    bar.style.width = `${Math.max(0.5, Math.min(100, ((hop.durationMs ?? 0) * 100) / whole))}%`;
    const what = h("span", { class: "what" },
      h("span", {}, h("strong", {}, hop.side === "outbound" ? `${hop.workload} calls ${hop.peer}` : hop.workload), " ", server(hop), hop.lost ? h("span", { class: "chip wait" }, "key may be lost") : null),
      h("span", { class: "call" }, `${hop.method ?? ""} ${hop.path ?? ""}`));
    what.style.paddingLeft = `${Math.min(level, 8) * 1.1}rem`;
    const summary = h("summary", {}, what, status(hop), h("span", { class: "lane" }, bar), h("span", { class: "ms" }, milliseconds(hop.durationMs)));
    const details = h("details", {}, summary);
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      details.append(h("div", { class: "more" },
        h("p", { class: "small soft" }, [hop.decision, hop.reason, hop.error, `${hop.requestBytes ?? 0} bytes sent, ${hop.responseBytes ?? 0} received`, hop.firstByteMs ? `first byte after ${milliseconds(hop.firstByteMs)}` : ""].filter(Boolean).join("; ")),
        bodies && message("Request", hop.request), bodies && message("Answer", hop.response)));
    });
    return details;
  }));
}
