// Says on a previewed page what one looks at. It lives in a shadow root: the page's rules do not reach it, nor its the page.
{
  const { sandbox, revision, preview } = document.currentScript.dataset;
  const closed = `skycap-closed-${sandbox}-${revision}`;
  const show = () => {
    const host = document.createElement("skycap-banner");
    const root = host.attachShadow({ mode: "closed" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
      :host { all: initial; position: fixed; z-index: 2147483647; left: 50%; bottom: 14px; transform: translateX(-50%); max-width: calc(100vw - 24px); }
      aside { display: flex; gap: 12px; align-items: center; font: 14px/1.4 system-ui, sans-serif; color: #fff; background: #20242b; border-radius: 10px; padding: 8px 10px 8px 14px; box-shadow: 0 2px 14px rgb(0 0 0 / 35%); }
      a { color: #b9c6ff; } button { font: inherit; color: inherit; background: #3a404a; border: 0; border-radius: 6px; padding: 3px 10px; cursor: pointer; }
      :focus-visible { outline: 2px solid #b9c6ff; outline-offset: 2px; }`);
    root.adoptedStyleSheets = [sheet];
    const bar = document.createElement("aside");
    bar.setAttribute("aria-label", "Skycap preview");
    const text = document.createElement("span");
    text.textContent = `Preview of ${sandbox}, revision ${revision}`;
    const link = document.createElement("a");
    link.href = "/~skycap/";
    link.textContent = "What changed";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => {
      host.remove();
      try { sessionStorage.setItem(closed, "1"); } catch { /* it comes back on the next page */ }
    });
    bar.append(text, link, close);
    root.append(bar);
    host.dataset.preview = preview;
    document.body.append(host);
  };
  let gone = null;
  try { gone = sessionStorage.getItem(closed); } catch { /* the page may have no storage */ }
  if (!gone) document.readyState === "loading" ? addEventListener("DOMContentLoaded", show) : show();
}
