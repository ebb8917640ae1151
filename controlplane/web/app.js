// The frame: signing in, the list of sandboxes, and what is chosen by the address behind `#`.

import { get, send } from "./api.js";
import { h, phase, when } from "./dom.js";
import "./map.js";
import "./sandbox.js";
import { known, on, start } from "./store.js";

class App extends HTMLElement {
  async connectedCallback() {
    const code = /^#code=(.+)$/.exec(location.hash);
    if (code) {
      history.replaceState(null, "", "/");
      try {
        await send("POST", "/session", { code: code[1] });
      } catch { /* it is over, or was used: the form says what to do */ }
    }
    known.role = (await get("/session")).role;
    window.addEventListener("signed-out", () => this.ask());
    if (known.role) this.show();
    else this.ask();
  }

  ask() {
    this.replaceChildren(h("sky-sign-in"));
  }

  show() {
    const link = h("span", { class: "link", role: "status" }, "live");
    const main = h("main", { class: "main", id: "main", tabindex: -1 });
    const frame = h("div", { class: "frame" }, h("sky-sandboxes", { class: "list" }), main);
    const out = async () => { await send("DELETE", "/session"); location.hash = ""; this.ask(); };
    this.replaceChildren(
      h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to content"),
      h("header", { class: "top" },
        h("a", { class: "mark", href: "#/" }, h("img", { src: "/web/icon.svg", alt: "" }), "Skycap"),
        h("span", { class: "push" }, link),
        h("button", { type: "button", class: "plain small", onclick: out }, "Sign out")),
      frame);
    start((live) => {
      link.textContent = live ? "live" : "reconnecting";
      link.classList.toggle("lost", !live);
    });
    let shown = null;
    const route = () => {
      if (location.hash && !location.hash.startsWith("#/")) return;
      const [, kind, name, tab, detail] = location.hash.split("/").map(decodeURIComponent);
      const chosen = kind === "s" && name ? name : "";
      frame.classList.toggle("chosen", Boolean(chosen));
      document.title = chosen ? `${chosen}: Skycap` : "Skycap";
      if (chosen && shown?.name === chosen) {
        shown.go(tab || "traffic", detail);
      } else if (chosen) {
        shown = Object.assign(document.createElement("sky-sandbox"), { name: chosen });
        main.replaceChildren(shown);
        shown.go(tab || "traffic", detail);
      } else {
        shown = null;
        main.replaceChildren(h("sky-overview"));
      }
      for (const each of this.querySelectorAll(".list a")) {
        if (each.dataset.name === chosen) each.setAttribute("aria-current", "page");
        else each.removeAttribute("aria-current");
      }
      scrollTo(0, 0);
    };
    window.addEventListener("hashchange", route);
    route();
  }
}

class SignIn extends HTMLElement {
  connectedCallback() {
    const said = h("p", { class: "note bad", role: "alert", hidden: true });
    const token = h("input", { type: "password", name: "token", autocomplete: "current-password", required: true });
    const sign = async (event) => {
      event.preventDefault();
      try {
        known.role = (await send("POST", "/session", { token: token.value })).role;
        document.querySelector("sky-app").show();
      } catch (refusal) {
        said.textContent = `${refusal.message}.`;
        said.hidden = false;
        token.select();
      }
    };
    this.replaceChildren(h("main", { class: "centre stack" },
      h("h1", {}, "Sign in to Skycap"),
      h("p", {}, "On the machine that runs the registry, this opens the page signed in:"),
      h("pre", {}, "skycap page"),
      h("p", {}, "Elsewhere, whoever runs it has a token for you."),
      h("form", { class: "fields", onsubmit: sign },
        h("label", {}, "Token", token), said,
        h("div", {}, h("button", { class: "main-action" }, "Sign in")))));
    token.focus();
  }
}

class Sandboxes extends HTMLElement {
  connectedCallback() {
    this.rows = new Map();
    this.filter = h("input", { type: "search", placeholder: "Name, owner, service", "aria-label": "Filter sandboxes", oninput: () => this.draw() });
    this.count = h("span", { class: "soft small" });
    this.items = h("ul");
    this.none = h("p", { class: "soft small", hidden: true }, "None of that kind.");
    this.replaceChildren(h("nav", { "aria-label": "Sandboxes" },
      h("div", { class: "head" }, h("h2", {}, "Sandboxes", this.count), this.filter, this.none), this.items));
    on("sandboxes", this, () => this.draw());
    setInterval(() => this.draw(), 30_000);
    this.draw();
  }

  draw() {
    const wanted = this.filter.value.toLowerCase();
    const all = [...known.sandboxes.values()].sort((a, b) => a.metadata.name.localeCompare(b.metadata.name));
    let shown = 0;
    let before = null;
    for (const name of [...this.rows.keys()]) {
      if (!known.sandboxes.has(name)) {
        this.rows.get(name).row.remove();
        this.rows.delete(name);
      }
    }
    for (const sandbox of all) {
      const row = this.row(sandbox);
      const text = [sandbox.metadata.name, sandbox.metadata.owner, sandbox.metadata.description, ...sandbox.spec.forks.map((fork) => fork.workload)].join(" ");
      row.hidden = !text.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
      const place = before ? before.nextSibling : this.items.firstChild;
      if (place !== row) this.items.insertBefore(row, place);
      before = row;
    }
    this.count.textContent = known.ready ? String(all.length) : "";
    this.filter.hidden = all.length < 2;
    this.none.hidden = !all.length || shown > 0;
  }

  row(sandbox) {
    const name = sandbox.metadata.name;
    const held = this.rows.get(name);
    const facts = [
      sandbox.status.phase,
      `${sandbox.spec.forks.map((fork) => fork.workload.split("/")[1]).join(", ")}${sandbox.metadata.owner ? `, ${sandbox.metadata.owner}` : ""}`,
      `r${sandbox.status.revision}, ${when(sandbox.status.expires)}`,
    ];
    if (held && held.facts.join() === facts.join()) return held.row;
    const link = held?.link ?? h("a", { href: `#/s/${encodeURIComponent(name)}`, "data-name": name });
    link.replaceChildren(
      h("span", { class: "name" }, name), phase(facts[0]),
      h("span", { class: "about" }, h("span", {}, facts[1]), h("span", {}, facts[2])));
    if (location.hash.split("/")[2] === encodeURIComponent(name)) link.setAttribute("aria-current", "page");
    const row = held?.row ?? h("li", {}, link);
    this.rows.set(name, { row, link, facts });
    return row;
  }
}

customElements.define("sky-sandboxes", Sandboxes);
customElements.define("sky-sign-in", SignIn);
customElements.define("sky-app", App);
