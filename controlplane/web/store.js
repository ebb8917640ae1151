// What is known now, and who is told when it changes.

import { follow, get } from "./api.js";

export const known = { sandboxes: new Map(), map: { services: [] }, ready: false, role: null };
const told = new EventTarget();

/** Call `act` now and after every change of that kind, until the element leaves the page. */
export function on(kind, element, act) {
  const listener = () => {
    if (element.isConnected) act();
    else told.removeEventListener(kind, listener);
  };
  told.addEventListener(kind, listener);
}

const tell = (kind) => told.dispatchEvent(new Event(kind));
let waiting = false;

/** Many changes of a moment are drawn once. */
function soon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    tell("sandboxes");
  });
}

async function chart() {
  try {
    known.map = await get("/v1/map");
    tell("map");
  } catch { /* the next change asks again */ }
}

export function start(link) {
  let seen = new Set();
  const again = () => { seen = new Set(); };
  follow("/v1/events", {
    open: () => { again(); link(true); },
    lost: () => link(false),
    sandbox: (sandbox) => { seen.add(sandbox.metadata.name); known.sandboxes.set(sandbox.metadata.name, sandbox); soon(); },
    gone: ({ name }) => { known.sandboxes.delete(name); soon(); },
    ready: () => {
      for (const name of [...known.sandboxes.keys()]) if (!seen.has(name)) known.sandboxes.delete(name);
      known.ready = true;
      soon();
      chart();
    },
    map: chart,
  });
}

/** A hop of the chosen sandbox has come. */
export const pulse = (hop) => told.dispatchEvent(new CustomEvent("hop", { detail: hop }));
export function onHop(element, act) {
  const listener = (event) => {
    if (element.isConnected) act(event.detail);
    else told.removeEventListener("hop", listener);
  };
  told.addEventListener("hop", listener);
}
