// The registry, as the page asks it. The session's cookie goes along by itself.

/** A refusal: `message` is one sentence for a person. */
export class Refusal extends Error {
  constructor(problem, status) {
    const fields = (problem.problems ?? []).map((each) => (each.path ? `${each.path}: ${each.message}` : each.message));
    super([problem.title, problem.detail, ...fields].filter(Boolean).join(". "));
    this.status = status;
  }
}

export async function send(method, path, body) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let document = null;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    document = { title: `The answer is not understood (${answer.status})` };
  }
  if (!answer.ok) {
    if (answer.status === 401) window.dispatchEvent(new Event("signed-out"));
    throw new Refusal(document ?? { title: `Refused with ${answer.status}` }, answer.status);
  }
  return document;
}

export const get = (path) => send("GET", path);
export const part = encodeURIComponent;

/** Follow a stream. handlers: by the name of an event, each with its data; `open` and `lost` for the connection. */
export function follow(path, handlers) {
  const source = new EventSource(path);
  for (const [name, handler] of Object.entries(handlers)) {
    if (name !== "open" && name !== "lost") source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
  source.addEventListener("open", () => handlers.open?.());
  source.addEventListener("error", () => handlers.lost?.(source.readyState === EventSource.CLOSED));
  return source;
}
