// The map of the environment: who calls whom, who forks what, and where the chosen sandbox's requests go just now.

import { command, h, s, table } from "./dom.js";
import { known, on, onHop } from "./store.js";

const WIDTH = 156, HEIGHT = 50, ACROSS = 62, DOWN = 26, EDGE = 24, LANE = 11;
const LIVE_MS = 900;
const short = (workload) => workload.split("/").pop();

/** How far each service is from where requests enter. A circle of calls is cut where it is met again. */
function depths(services) {
  const called = new Map(services.map((one) => [one.workload, (one.calls ?? []).map((call) => call.workload).filter(Boolean)]));
  const found = new Map();
  const visit = (name, depth, way) => {
    if (!called.has(name) || way.has(name) || (found.get(name) ?? -1) >= depth || depth > called.size) return;
    found.set(name, depth);
    for (const next of called.get(name)) visit(next, depth + 1, new Set([...way, name]));
  };
  const inner = new Set([...called].flatMap(([name, list]) => list.filter((other) => other !== name)));
  for (const name of called.keys()) if (!inner.has(name)) visit(name, 0, new Set());
  for (const name of called.keys()) if (!found.has(name)) visit(name, 0, new Set());
  return found;
}

class ServiceMap extends HTMLElement {
  connectedCallback() {
    this.edges = new Map();
    on("map", this, () => this.draw());
    on("sandboxes", this, () => this.draw());
    onHop(this, (hop) => this.light(hop));
    this.draw();
  }

  draw() {
    const services = known.map.services ?? [];
    const chosen = this.getAttribute("sandbox");
    const forks = new Map();
    for (const sandbox of known.sandboxes.values()) {
      for (const fork of sandbox.spec.forks) {
        forks.set(fork.workload, [...(forks.get(fork.workload) ?? []), sandbox.metadata.name]);
      }
    }
    const key = JSON.stringify([services.map((one) => [one.workload, (one.calls ?? []).map((call) => [call.workload, Boolean(call.requests)])]), [...forks], chosen]);
    if (key === this.drawn) return;
    this.drawn = key;
    if (!services.length) {
      this.replaceChildren(h("p", { class: "soft" }, "No service is registered yet. ", h("code", {}, "skycap up FILE"), " starts an environment and registers its services."));
      return;
    }
    const depth = depths(services);
    const columns = [];
    for (const one of services) (columns[depth.get(one.workload)] ??= []).push(one.workload);
    const rows = Math.max(...columns.map((column) => column?.length ?? 0));
    const long = services.flatMap((one) => (one.calls ?? []).filter((call) => depth.get(call.workload) - depth.get(one.workload) > 1).map((call) => `${one.workload} ${call.workload}`));
    const top = EDGE + long.length * LANE;
    const tall = top + EDGE + rows * (HEIGHT + DOWN) - DOWN;
    const broad = EDGE * 2 + columns.length * (WIDTH + ACROSS) - ACROSS;
    const place = new Map();
    columns.forEach((column, x) => column.forEach((name, y) => {
      const free = tall - top - EDGE - column.length * (HEIGHT + DOWN) + DOWN;
      place.set(name, { x: EDGE + x * (WIDTH + ACROSS), y: top + free / 2 + y * (HEIGHT + DOWN) });
    }));
    this.edges.clear();
    const lines = services.flatMap((one) => (one.calls ?? []).filter((call) => place.has(call.workload)).map((call) => {
      const from = place.get(one.workload), to = place.get(call.workload);
      const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 7, to.y + HEIGHT / 2];
      const bend = Math.max(30, Math.abs(x2 - x1) / 2);
      // One that passes columns goes above them, in a lane of its own.
      const lane = long.indexOf(`${one.workload} ${call.workload}`);
      const over = EDGE / 2 + lane * LANE, turn = ACROSS / 2;
      const line = s("path", {
        d: lane < 0 ? `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`
          : `M${x1} ${y1} C${x1 + turn} ${y1} ${x1 + 4} ${over} ${x1 + turn} ${over} L${x2 - turn} ${over} C${x2 - 4} ${over} ${x2 - turn} ${y2} ${x2} ${y2}`,
        class: call.requests ? "" : "declared", "marker-end": "url(#arrow)",
      }, s("title", {}, `${one.workload} calls ${call.workload}${call.requests ? `: ${call.requests} requests seen, ${call.failed ?? 0} failed` : ", not seen yet"}`));
      this.edges.set(`${one.workload} ${call.workload}`, line);
      return line;
    }));
    const boxes = services.map((one) => {
      const { x, y } = place.get(one.workload);
      const names = forks.get(one.workload) ?? [];
      const mine = chosen ? names.includes(chosen) : names.length > 0;
      const under = chosen && mine ? `your fork${names.length > 1 ? `, and ${names.length - 1} more` : ""}` : names.length ? `forked by ${names.length === 1 ? names[0] : `${names.length} sandboxes`}` : "baseline";
      return s("g", { class: mine ? "forked" : "" },
        s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 9 }),
        s("text", { x: x + 13, y: y + 21 }, short(one.workload)),
        s("text", { x: x + 13, y: y + 38, class: "under" }, under.length > 21 ? `${under.slice(0, 20)}…` : under));
    });
    this.replaceChildren(h("div", { class: "map", tabindex: 0, role: "group", "aria-label": "Map of the services" },
      s("svg", { width: broad, height: tall, viewBox: `0 0 ${broad} ${tall}`, role: "img", "aria-label": `${services.length} services and the calls between them; the table below says the same` },
        s("defs", {}, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 2, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, s("path", { d: "M0 0L8 4L0 8z" }))),
        lines, boxes)));
  }

  /** A request of the chosen sandbox came by. */
  light(hop) {
    if (hop.side !== "outbound") return;
    const service = (known.map.services ?? []).find((one) => one.workload === hop.workload);
    const call = service?.calls?.find((one) => one.address === hop.peer);
    const line = call && this.edges.get(`${hop.workload} ${call.workload}`);
    if (!line) return;
    line.classList.add("live");
    clearTimeout(line.dimmed);
    line.dimmed = setTimeout(() => line.classList.remove("live"), LIVE_MS);
  }
}

class Overview extends HTMLElement {
  connectedCallback() {
    this.empty = h("section", { class: "box stack" });
    this.rows = h("section", { class: "stack" });
    this.replaceChildren(h("h1", {}, "Environment"), this.empty, h("sky-map"), this.rows);
    for (const kind of ["map", "sandboxes"]) on(kind, this, () => this.draw());
    this.draw();
  }

  draw() {
    const services = known.map.services ?? [];
    this.empty.hidden = !known.ready || known.sandboxes.size > 0;
    if (!this.empty.hidden) this.teach(services);
    const linked = (forks) => forks.map((fork, index) => [index ? ", " : "", h("a", { href: `#/s/${encodeURIComponent(fork.sandbox)}` }, fork.sandbox)]);
    this.rows.hidden = !services.length;
    this.rows.replaceChildren(h("h2", {}, "Services"), table(
      ["Service", "Reached at~", "Calls", "Calls seen#", "Forked by"],
      services.map((one) => [
        h("strong", {}, one.workload),
        h("code", {}, one.address ?? "unknown"),
        (one.calls ?? []).map((call) => (call.workload ? short(call.workload) : call.address)).join(", ") || h("span", { class: "soft" }, "nobody"),
        String((one.calledBy ?? []).reduce((sum, call) => sum + (call.requests ?? 0), 0)),
        one.forks?.length ? linked(one.forks) : h("span", { class: "soft" }, "nobody"),
      ]), "Services"));
  }

  teach(services) {
    const inner = services.find((one) => one.baseline && one.program?.length && one.calledBy?.length) ?? services.find((one) => one.baseline && one.program?.length);
    const program = inner ? inner.program.join(" ") : "python users_v2.py";
    const where = inner?.cwd ? ` --cwd ${inner.cwd}` : "";
    const text = `skycap sandbox apply my-change --fork ${inner?.workload ?? "shop/users"} --command '${program}'${where} --wait`;
    if (text === this.taught) return;
    this.taught = text;
    this.empty.replaceChildren(
      h("h2", {}, "No sandbox yet"),
      h("p", {}, "A sandbox replaces one service by your changed copy, for requests with its key and for no others. Put the command of your copy here, and run this on a terminal:"),
      command(text),
      h("p", {}, "Then send a request with its key, and watch it arrive here:"),
      command(`skycap request my-change http://${(services.find((one) => one.calls?.length && !one.calledBy?.length) ?? services[0])?.address ?? "127.0.0.1:8080"}/`));
  }
}


customElements.define("sky-map", ServiceMap);
customElements.define("sky-overview", Overview);
