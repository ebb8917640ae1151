// One sandbox: what it is, its requests as they come, its output, what it changes, and the links into it.

import { follow, get, part, send } from "./api.js";
import { clock, command, failed, h, milliseconds, phase, server, status, table, verdict, when } from "./dom.js";
import { changes, evidence, reviews } from "./report.js";
import { known, on, pulse } from "./store.js";
import { waterfall } from "./trace.js";

const TABS = { traffic: "Traffic", logs: "Output", changes: "Changes", previews: "Links" };
const ROWS = 300;
const LOGS_MS = 2000;

class Sandbox extends HTMLElement {
  constructor() {
    super();
    this.hops = [];
    this.tab = "";
  }

  connectedCallback() {
    this.head = h("div", { class: "stack" });
    this.tabs = h("nav", { class: "tabs", "aria-label": "About this sandbox" });
    this.body = h("div", { class: "stack" });
    this.replaceChildren(h("a", { class: "back", href: "#/" }, "All sandboxes"), this.head, this.tabs, this.body);
    this.classList.add("stack");
    this.style.display = "block";
    on("sandboxes", this, () => this.draw());
    this.draw();
    this.listen();
  }

  disconnectedCallback() {
    this.source?.close();
    clearInterval(this.polling);
    clearTimeout(this.judging);
  }

  get path() {
    return `/v1/sandboxes/${part(this.name)}`;
  }

  draw() {
    const sandbox = known.sandboxes.get(this.name);
    if (!sandbox) {
      if (known.ready) this.head.replaceChildren(h("h1", {}, this.name), h("p", { class: "note wait" }, "There is no sandbox of that name, or not any more."));
      return;
    }
    const drawn = JSON.stringify([sandbox, Math.floor(Date.now() / 30000)]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const { metadata, spec, status: now } = sandbox;
    const troubles = [...(now.forks ?? []).filter((fork) => fork.message).map((fork) => `${fork.workload}: ${fork.message}`),
      ...(now.conditions ?? []).filter((one) => one.status === "False" && one.message && one.type !== "Ready").map((one) => one.message)];
    this.head.replaceChildren(
      h("div", { class: "title" }, h("h1", {}, metadata.name), phase(now.phase)),
      ...(metadata.description ? [h("p", {}, metadata.description)] : []),
      h("dl", { class: "facts" },
        [["Revision", String(now.revision)], ["Key", h("code", {}, spec.routingKey ?? metadata.name)], ["Forks", spec.forks.map((fork) => fork.workload).join(", ")],
          ["Owner", metadata.owner], ["Ends", when(now.expires)], ["Changed", when(now.updated)]]
          .filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
      ...troubles.map((text) => h("p", { class: "note bad" }, text)));
  }

  go(tab, detail) {
    this.want = [tab in TABS || tab === "t" ? tab : "traffic", detail];
    if (!this.isConnected) return queueMicrotask(() => this.go(tab, detail));
    this.tabs.replaceChildren(...Object.entries(TABS).map(([name, title]) =>
      h("a", { href: `#/s/${part(this.name)}/${name}`, "aria-current": (name === this.want[0] || (name === "traffic" && this.want[0] === "t")) && "page" }, title)));
    clearInterval(this.polling);
    const [which] = this.want;
    const views = { traffic: () => this.traffic(), t: () => this.trace(detail), logs: () => this.logs(), changes: () => this.changes(), previews: () => this.previews() };
    this.tab = which;
    views[which]();
  }

  /** Put a view there, unless somebody has gone on meanwhile. */
  async fill(make) {
    const wanted = this.want;
    try {
      const children = await make();
      if (this.want === wanted) this.body.replaceChildren(...[children].flat(Infinity).filter(Boolean));
    } catch (refusal) {
      if (this.want === wanted) this.body.replaceChildren(h("p", { class: "note bad", role: "alert" }, `${refusal.message}.`));
    }
  }

  // -- its requests -------------------------------------------------------------------------------------------------

  listen() {
    this.source = follow(`${this.path}/traffic/stream`, {
      open: () => this.catchUp(),
      hop: (hop) => {
        if (!this.add([hop])) return;
        pulse(hop);
        if (this.tab === "traffic") this.rows(hop.id);
        this.judge();
      },
      end: () => this.source.close(),
    });
  }

  /** What was there before the stream was: asked for behind its beginning, so that nothing falls in between. */
  async catchUp() {
    try {
      this.add((await get(`${this.path}/traffic?limit=${ROWS}`)).items);
    } catch {
      return;
    }
    if (this.tab === "traffic") this.rows();
    this.judge();
  }

  /** Those that are not known yet, the newest first. */
  add(hops) {
    const known = new Set(this.hops.map((hop) => hop.position));
    const fresh = hops.filter((hop) => !known.has(hop.position));
    this.hops = [...fresh, ...this.hops].sort((one, other) => other.position - one.position).slice(0, ROWS * 4);
    return fresh.length > 0;
  }

  /** What came of its requests, asked for once in a second at most. */
  judge() {
    if (this.judging) return;
    this.judging = setTimeout(async () => {
      this.judging = null;
      try {
        this.feedback = await get(`${this.path}/feedback`);
      } catch {
        return;
      }
      if (this.tab === "traffic") this.verdict();
    }, 400);
  }

  verdict() {
    const found = this.feedback;
    if (!found || !this.said) return;
    const next = found.nextActions?.find((one) => one.command);
    this.said.className = `note ${verdict(found.verdict)}`;
    this.said.replaceChildren(h("p", {}, h("strong", {}, found.verdict), " ", h("span", {}, found.summary)),
      ...(found.lostKeys ?? []).map((lost) => h("p", {}, h("span", { class: "chip wait" }, "lost key"), ` ${lost.workload} calling ${lost.calling}: ${lost.todo}`)),
      ...(found.verdict !== "passing" && next ? [h("p", { class: "soft small" }, `${next.why}: `, h("code", {}, next.command))] : []));
  }

  traffic() {
    this.said = h("div", { class: "note", role: "status" }, h("p", { class: "soft" }, "Nothing is known of its requests yet."));
    this.every = h("input", { type: "checkbox", onchange: () => this.rows() });
    this.wrong = h("input", { type: "checkbox", onchange: () => this.rows() });
    this.like = h("input", { type: "search", placeholder: "Path, service, status", "aria-label": "Filter requests", oninput: () => this.rows() });
    this.list = h("div");
    this.body.replaceChildren(h("sky-map", { sandbox: this.name }), this.said,
      h("div", { class: "row" }, h("div", { class: "grow" }, this.like), h("label", { class: "check" }, this.every, "Inner calls"), h("label", { class: "check" }, this.wrong, "Failed only")),
      this.list);
    this.verdict();
    this.rows();
  }

  rows(fresh) {
    const like = this.like.value.toLowerCase();
    const shown = this.hops.filter((hop) => hop.side === "inbound" && (this.every.checked || !hop.parent) && (!this.wrong.checked || failed(hop))
      && (!like || `${hop.method} ${hop.path} ${hop.workload} ${hop.status}`.toLowerCase().includes(like))).slice(0, ROWS);
    if (!shown.length) {
      const entry = (known.map.services ?? []).find((one) => one.calls?.length && !one.calledBy?.length);
      this.list.replaceChildren(this.hops.length ? h("p", { class: "soft" }, "No request of that kind.")
        : h("div", { class: "stack" }, h("p", {}, "No request with its key has come yet. Send one:"), command(`skycap request ${this.name} http://${entry?.address ?? "127.0.0.1:8080"}/`)));
      return;
    }
    const focus = this.list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const made = table(["Time~", "Request", "Service~", "Answered by", "Status", "Took#"], shown.map((hop) => [
      h("span", { class: "time" }, clock(hop.time)),
      h("a", { class: "mono", href: `#/s/${part(this.name)}/t/${part(hop.trace || hop.id)}` }, `${hop.method} ${hop.path}`),
      hop.workload, this.reached(hop), status(hop), milliseconds(hop.durationMs),
    ]), "Requests, the newest first");
    const index = fresh ? shown.findIndex((hop) => hop.id === fresh) : -1;
    if (index >= 0) made.querySelectorAll("tbody tr")[index].classList.add("fresh");
    this.list.replaceChildren(made);
    if (focus) [...made.querySelectorAll("a")].find((link) => link.getAttribute("href") === focus)?.focus();
  }

  /** Whether a request reached a shadow anywhere on its way. */
  reached(hop) {
    const own = this.hops.find((other) => other.sandbox && (other.id === hop.id || (hop.trace && other.trace === hop.trace)));
    return [server(own ?? hop), this.hops.some((other) => other.lost && other.trace === hop.trace) ? h("span", { class: "chip wait" }, "lost key") : null];
  }

  trace(ident) {
    this.fill(async () => {
      const trace = await get(`/v1/traces/${part(ident)}?sandbox=${part(this.name)}`);
      const first = trace.hops[0];
      return [
        h("p", {}, h("a", { href: `#/s/${part(this.name)}/traffic` }, "All requests")),
        h("div", { class: "title" }, h("h2", {}, h("code", {}, `${first.method} ${first.path}`)), status(first), h("span", { class: "soft" }, `${clock(first.time)}, ${milliseconds(first.durationMs)}`)),
        waterfall(trace),
        h("p", { class: "soft small" }, `Trace ${trace.id}. Open a line for what was said.`),
      ];
    });
  }

  // -- its output, its changes, its links -----------------------------------------------------------------------------

  logs() {
    const draw = () => this.fill(async () => {
      const { items } = await get(`${this.path}/logs?lines=300`);
      const text = JSON.stringify(items);
      if (text === this.logged && this.body.querySelector("pre")) return [...this.body.children];
      this.logged = text;
      if (!items.length) return h("p", { class: "soft" }, "None of its copies has written anything.");
      return items.map((copy) => [h("h2", {}, `${copy.workload}, revision ${copy.revision} `, h("span", { class: `chip ${copy.state === "running" ? "good" : ""}` }, copy.state)),
        h("pre", { tabindex: 0, role: "group", "aria-label": `Output of ${copy.workload}` }, copy.log.trimEnd() || "(nothing)")]);
    });
    this.logged = "";
    draw();
    this.polling = setInterval(draw, LOGS_MS);
  }

  changes() {
    this.fill(async () => {
      const report = await get(`${this.path}/report`);
      return [changes(report), h("h2", {}, "What was run against it"), evidence(report), h("h2", {}, "Reviews"), reviews(report),
        h("p", { class: "soft small" }, "As Markdown for a pull request: ", h("code", {}, `skycap sandbox report ${this.name}`))];
    });
  }

  previews() {
    this.fill(async () => {
      const { items } = await get(`${this.path}/previews`);
      const end = async (link) => { await send("DELETE", `${this.path}/previews/${part(link.id)}`); this.previews(); };
      const list = items.length ? table(["Link", "Enters by~", "Ends", "Action"], items.map((link) => [
        link.url ? h("span", {}, h("a", { href: link.url, target: "_blank", rel: "noopener" }, link.name), " ", h("a", { class: "small", href: link.handoff, target: "_blank", rel: "noopener" }, "review page")) : `${link.name} (its address is not known any more)`,
        link.workload, when(link.expires),
        known.role === "user" ? h("button", { type: "button", onclick: () => end(link), "aria-label": `Revoke ${link.name}` }, "Revoke") : "",
      ]), "Links into this sandbox") : h("p", { class: "soft" }, "No link leads into it.");
      return [h("p", {}, "Whoever has a link sees this sandbox in a browser, without a key and without a proxy."), list, known.role === "user" && this.form()];
    });
  }

  form() {
    const services = (known.map.services ?? []).filter((one) => one.address);
    const entry = services.find((one) => one.calls?.length && !one.calledBy?.length);
    const workload = h("select", {}, services.map((one) => h("option", { value: one.workload, selected: one === entry }, one.workload)));
    const note = h("input", { maxlength: 500, placeholder: "The price in the basket" });
    const guarded = h("input", { type: "checkbox" });
    const said = h("p", { class: "note bad", role: "alert", hidden: true });
    const make = async (event) => {
      event.preventDefault();
      try {
        const body = { workload: workload.value, ...(note.value && { note: note.value }), ...(guarded.checked && { login: "token" }) };
        const made = await send("POST", `${this.path}/previews`, body);
        await this.previews();
        if (made.password) {
          const told = h("p", { class: "note good" }, "Its password, which is not shown again: ", h("code", {}, made.password));
          setTimeout(() => this.body.prepend(told), 100);
        }
      } catch (refusal) {
        said.textContent = `${refusal.message}.`;
        said.hidden = false;
      }
    };
    return h("form", { class: "box fields", onsubmit: make }, h("h2", {}, "A new link"),
      h("label", {}, "Enters by", workload), h("label", {}, "What to look at", note), h("label", { class: "check" }, guarded, "Ask for a password"), said,
      h("div", {}, h("button", { class: "main-action" }, "Make the link")));
  }
}

customElements.define("sky-sandbox", Sandbox);
