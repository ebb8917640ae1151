"""Resources: the environment, each sandbox, each trace, as the registry gives them."""

from __future__ import annotations

import json

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from controlplane.client import Client, RegistryError
from controlplane.mcp.answer import refused

JSON = "application/json"


class Resources:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def environment(self) -> str:
        """The services, who calls whom, a request to each, and who forks it now."""
        try:
            return (await self._registry.map()).model_dump_json(by_alias=True, exclude_none=True)
        except RegistryError as error:
            raise _resource_error(error) from error

    async def sandbox(self, name: str) -> str:
        """One sandbox: what is wanted, and what is so."""
        try:
            return (await self._registry.sandbox(name)).model_dump_json(by_alias=True, exclude_none=True)
        except RegistryError as error:
            raise _resource_error(error) from error

    async def reviews(self, name: str) -> str:
        """What reviewers have said about a sandbox, the oldest first."""
        try:
            items = [one.model_dump(mode="json", by_alias=True) for one in await self._registry.reviews(name)]
        except RegistryError as error:
            raise _resource_error(error) from error
        return json.dumps({"items": items})

    async def trace(self, id: str) -> str:  # noqa: A002 (the name in the address)
        """The hops of one request, as the tree that they are."""
        try:
            return (await self._registry.trace(id)).model_dump_json(by_alias=True, exclude_none=True)
        except RegistryError as error:
            raise _resource_error(error) from error


def add_resources(server: MCPServer, registry: Client) -> None:
    resources = Resources(registry)
    server.resource("skycap://environment", title="The environment", mime_type=JSON)(resources.environment)
    server.resource("skycap://sandboxes/{name}", title="A sandbox", mime_type=JSON)(resources.sandbox)
    server.resource("skycap://sandboxes/{name}/reviews", title="Words of reviewers", mime_type=JSON)(resources.reviews)
    server.resource("skycap://traces/{id}", title="A trace", mime_type=JSON)(resources.trace)


def _resource_error(error: RegistryError) -> ResourceError:
    told = refused(error)
    kind = ResourceNotFoundError if error.status == 404 else ResourceError
    return kind(f"{told.code}: {told.detail}")
