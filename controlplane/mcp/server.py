"""The server: every tool, resource and prompt, on one registry's client."""

from __future__ import annotations

from importlib.metadata import version

from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

from controlplane.client import Client
from controlplane.mcp.app import TRACE_URI, trace_app
from controlplane.mcp.prompts import INSTRUCTIONS, add_prompts
from controlplane.mcp.resources import add_resources
from controlplane.mcp.tool import ACTS, CHANGES, ENDS, READS, Checked, checked
from controlplane.mcp.tools.environment import EnvironmentTools
from controlplane.mcp.tools.files import FileTools
from controlplane.mcp.tools.judging import JudgingTools
from controlplane.mcp.tools.previews import PreviewTools
from controlplane.mcp.tools.sandboxes import SandboxTools
from controlplane.mcp.tools.sending import SendingTools
from controlplane.mcp.tools.stubs import StubTools
from controlplane.mcp.tools.traffic import TrafficTools


def tools(registry: Client) -> list[Checked]:
    """All of them, in the order in which they are needed."""
    environment, sandboxes, files = EnvironmentTools(registry), SandboxTools(registry), FileTools(registry)
    sending, traffic, judging = SendingTools(registry), TrafficTools(registry), JudgingTools(registry)
    previews = PreviewTools(registry)
    return [
        checked(environment.list_workloads, READS, "List services"),
        checked(sandboxes.list_sandboxes, READS, "List sandboxes"),
        checked(sandboxes.get_sandbox, READS, "Look at a sandbox"),
        checked(files.push_files, CHANGES, "Change files of a service"),
        checked(sandboxes.apply_sandbox, CHANGES, "Create or update a sandbox"),
        checked(sandboxes.rollback_sandbox, ACTS, "Go back to an earlier revision"),
        checked(sandboxes.extend_sandbox, ACTS, "Let a sandbox live longer"),
        checked(sandboxes.delete_sandbox, ENDS, "End a sandbox"),
        checked(sending.send_request, ACTS, "Send a request", {"ui": {"resourceUri": TRACE_URI}}),
        checked(judging.get_feedback, READS, "What happened, and what to do"),
        checked(traffic.list_traffic, READS, "List requests"),
        checked(traffic.get_trace, READS, "Show a trace", {"ui": {"resourceUri": TRACE_URI}}),
        checked(judging.get_logs, READS, "Show output"),
        checked(judging.assert_routed, READS, "Prove that requests reached a copy"),
        checked(judging.diff_sandbox, READS, "Compare with the baseline"),
        checked(StubTools(registry).set_stubs, CHANGES, "Stub answers and faults"),
        checked(previews.get_report, READS, "Report for a pull request"),
        checked(previews.create_preview, ACTS, "Make a link for a reviewer"),
        checked(previews.revoke_preview, ENDS, "Revoke a link"),
        checked(environment.explain_route, READS, "Explain a route"),
    ]


def build(registry: Client, auth: AuthSettings | None = None, verifier: TokenVerifier | None = None) -> MCPServer:
    """auth, verifier: who may speak to it over HTTP; None where whoever started it does."""
    server: MCPServer = MCPServer(
        "skycap",
        title="Skycap",
        instructions=INSTRUCTIONS,
        version=version("skycap"),
        tools=list(tools(registry)),
        extensions=[trace_app()],
        auth=auth,
        token_verifier=verifier,
        log_level="WARNING",
    )
    add_resources(server, registry)
    add_prompts(server)
    return server
