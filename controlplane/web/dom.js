// Elements from data. Text is always text: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function build(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in { value: 1, checked: 1, hidden: 1 }) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** An HTML element: `h("a", {href: "#/", onclick: go}, "text", child)`. */
export const h = (tag, properties, ...children) => build(document.createElement(tag), properties, children);

/** The same of SVG. */
export const s = (tag, properties, ...children) => build(document.createElementNS(SVG, tag), properties, children);

/** A table with its head; a column that ends with `#` holds numbers, one with `~` is left out on small screens. */
export function table(columns, rows, caption) {
  const kinds = columns.map((name) => (name.endsWith("#") ? "number" : name.endsWith("~") ? "wide" : undefined));
  const cell = (value, index) => h("td", { class: kinds[index] }, value ?? "");
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((name, index) => h("th", { scope: "col", class: kinds[index] }, name.replace(/[#~]$/, ""))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))));
}

/** Text that can be copied. */
export function command(text) {
  const button = h("button", { type: "button", onclick: () => navigator.clipboard?.writeText(text).then(() => { button.textContent = "Copied"; }) }, "Copy");
  return h("div", { class: "command" }, h("pre", { tabindex: 0, role: "group", "aria-label": "Command" }, text), button);
}

const PHASES = { Ready: "good", Pending: "wait", Degraded: "wait", Failed: "bad", Deleting: undefined, Sleeping: undefined };
export const phase = (word) => h("span", { class: `chip ${PHASES[word] ?? ""}` }, word);

const VERDICTS = { passing: "good", failing: "bad", misrouted: "bad", "not-ready": "wait", "lost-key": "wait" };
export const verdict = (word) => VERDICTS[word] ?? "";

/** `in 3 h`, `2 min ago`. */
export function when(moment) {
  const seconds = Math.round((new Date(moment) - Date.now()) / 1000);
  const size = Math.abs(seconds);
  const [number, unit] = size < 90 ? [size, "s"] : size < 5400 ? [Math.round(size / 60), "min"] : size < 172800 ? [Math.round(size / 3600), "h"] : [Math.round(size / 86400), "days"];
  return seconds > 0 ? `in ${number} ${unit}` : `${number} ${unit} ago`;
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
export const milliseconds = (value) => `${(value ?? 0) < 10 ? (value ?? 0).toFixed(1) : Math.round(value)} ms`;
export const failed = (hop) => !(hop.status >= 100 && hop.status < 400) || Boolean(hop.error) || Boolean(hop.grpcStatus);

export function status(hop) {
  return h("span", { class: `status ${failed(hop) ? "bad" : ""}` }, String(hop.status || hop.error || "none"));
}

/** Who answered a hop. */
export function server(hop) {
  if (hop.sandbox) return h("span", { class: "chip own" }, `${hop.sandbox} r${hop.revision}`);
  return h("span", { class: "soft" }, hop.reason ? `baseline: ${hop.reason}` : "baseline");
}
