"""nghttpx and Envoy, as a cautious operator would have them: HTTP/2 without TLS on both sides, one worker, no retry.

Envoy ends a connection for a bad message unless it is told to end the stream only, as RFC 9113 section 8.1.1 has it and
as nghttpx and Skycap do: it is told.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.lanes import Ends
from tests.conformance.peers import Proxy
from tests.tools import find


class Nghttpx(Proxy):
    """The proxy of nghttp2."""

    name = "nghttpx"

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        (lane,) = lanes  # where it goes depends on what is asked for, not on where
        host, port = lane.listener
        origin = lane.authority.decode().replace(":", ",")
        return [
            find("nghttpx") or "nghttpx", f"--frontend={host},{port};no-tls", f"--backend={origin};;proto=h2",
            "--workers=1", "--no-server-push", "--log-level=WARN", "--conf=/dev/null",
        ]  # fmt: skip


class Envoy(Proxy):
    """One worker; hot restart off, because it would meet other Envoys of the machine in shared memory."""

    name = "envoy"

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        (lane,) = lanes
        config = folder / "envoy.yaml"
        config.write_text(_ENVOY.format(listen=lane.listener[1], origin=int(lane.authority.rpartition(b":")[2])))
        alone = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [find("envoy") or "envoy", "-c", str(config), *alone]


_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: corpus
          codec_type: HTTP2
          generate_request_id: false
          delayed_close_timeout: 0s
          upgrade_configs: [{{upgrade_type: websocket}}]
          http2_protocol_options: {{override_stream_error_on_invalid_http_message: true, allow_connect: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: origin, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          http2_protocol_options: {{override_stream_error_on_invalid_http_message: true, allow_connect: true}}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {origin}}}}}}}
"""


def version(name: str) -> str:
    """The first two parts of an installed peer's version."""
    program = find(name)
    assert program is not None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"(?<=/)[0-9]+\.[0-9]+", done.stdout)
    assert found is not None
    return found[0]
