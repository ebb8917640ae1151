"""Prompts: how a change is made and proved, and how a failure is diagnosed."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from pydantic import Field

INSTRUCTIONS = """\
Skycap lets you try a change of one service inside an environment of running services that everybody shares. You start
only your changed copy, as a sandbox; requests with the sandbox's routing key reach your copy wherever that service is
called, and nobody else notices.

1. list_workloads: which services there are, who calls whom, a request to try, where the sources are.
2. push_files: your changed files of one service, under a sandbox name of your own. The copy is started with them; it
   waits until that serves, or says why it cannot. (apply_sandbox does the same for another command or address.)
3. send_request with the sandbox's key, to the service that users call. It tells the answer, who served, the tree of
   calls, and where a failure began.
4. Where something is wrong: do what next_actions says, mend the source, and push it under the same key.
5. assert_routed: the evidence that requests reached your revision without failure. Then delete_sandbox, or leave it for
   a reviewer.

A green answer proves nothing while served_by does not name your sandbox and revision. Every error has a code, the
fields that are wrong, and next_actions.
"""

_LOOP = """\
Make this change and prove it in a sandbox: {change}

Work as follows, and stop only when it is proved.
1. Call list_workloads, choose the service to change, and find its sources (cwd and command tell where and how the
   baseline runs them). Never write into the folder of the baseline: it is everybody's.
2. Call push_files with a sandbox name of your own, owner and description, and the files that you changed.
3. Call send_request with the key and a request that needs the change. Read feedback and served_by first: an answer that
   your revision did not serve says nothing.
4. While the verdict is not passing: follow next_actions, mend the source, push it, send the request again.
5. Call assert_routed for the service. Report its sentence, the trace of one request, and what you changed.
"""

_DIAGNOSE = """\
Find out why the requests of the sandbox {name} fail, and say what is to be done.

1. Call get_feedback for {name}. Its verdict says what kind of trouble it is:
   not-ready: the copy does not run; get_logs has its traceback.
   no-traffic: no request carried the key; send_request does.
   misrouted: requests went elsewhere; explain_route says why.
   lost-key: a service between did not pass the key on; lost_keys says which, and what makes it do so.
   failing: failures[0] names the service that failed first, its real answer, and the suspect.
2. The origin need not be the culprit: where a suspect is named, compare what it answers with what its caller needs.
3. Call get_trace with the example for the whole way, and get_logs for what the copies printed.
4. Say in one sentence what failed, why, and which change of which service mends it.
"""


def loop(change: Annotated[str, Field(description="what is to be changed, as a ticket says it")]) -> str:
    """Change a service and prove it in a sandbox."""
    return _LOOP.format(change=change)


def diagnose(name: Annotated[str, Field(description="name of the sandbox")]) -> str:
    """Find out why the requests of a sandbox fail."""
    return _DIAGNOSE.format(name=name)


def add_prompts(server: MCPServer) -> None:
    server.prompt(title="Change a service and prove it")(loop)
    server.prompt(title="Diagnose a sandbox")(diagnose)
