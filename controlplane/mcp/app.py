"""The tree of a trace as a page inside the host: an MCP App (`io.modelcontextprotocol/ui`).

The page gets what the tool answered, `structuredContent`, as a message from the host, and asks for nothing else: no
network, no storage. Hosts that have no apps show the text of the answer.
"""

from __future__ import annotations

from importlib.resources import files

from mcp.server.apps import Apps, ResourceCsp

TRACE_URI = "ui://skycap/trace.html"


def trace_app() -> Apps:
    """The extension that offers the page. The tools that it belongs to name it in their `_meta`."""
    apps = Apps()
    apps.add_html_resource(
        TRACE_URI,
        files("controlplane.mcp").joinpath("trace.html").read_text(encoding="utf-8"),
        name="trace",
        title="The calls of a request",
        description="The tree of calls that a request led to, with times and who served each",
        csp=ResourceCsp(connect_domains=[], resource_domains=[]),
        prefers_border=True,
    )
    return apps
