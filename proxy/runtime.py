"""The composition root: builds everything in order, owns signals and the drain.

    settings -> listening sockets -> table and feed -> sides -> listeners -> admin -> (serve) -> drain

All that can be wrong with the configuration is found before the first request is accepted, and said at once: a bad
flag, a port in use, a routes file with a mistake. The listening sockets are opened first, so that a busy port is
known before anything else starts; the kernel queues what arrives until the listeners run.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence

import uvloop

from proxy import __version__
from proxy.contract.routes import Endpoint
from proxy.errors import ConfigurationError
from proxy.exchange.carriers import Carriers
from proxy.exchange.exchange import Exchange
from proxy.exchange.inbound import Inbound
from proxy.exchange.outbound import Outbound
from proxy.exchange.side import SideParts, SpanRecorder
from proxy.feed.file import FileFeed
from proxy.feed.holder import FeedState
from proxy.feed.registry import RegistryFeed
from proxy.net.addresses import OwnAddresses
from proxy.net.listener import Listener, bind
from proxy.net.tasks import Tasks
from proxy.net.timers import TimerWheel
from proxy.net.upstream import Pools
from proxy.routing.correlation import TRACE_SECONDS, Correlation
from proxy.routing.key import KeyReader
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.settings import Settings, parse_settings
from proxy.telemetry import log
from proxy.telemetry.counters import INBOUND, OUTBOUND, Counters, SideCounters
from proxy.telemetry.exposition import Exposition, PoolFigures
from proxy.telemetry.notices import Notices
from proxy.telemetry.tracing import Tracing, open_tracing
from proxy.wire.head import HeadParser

LAST_CALL_SECONDS = 1.0
"""From the start of the drain: idle connections may still send a request and learn that it was their last."""

_log = logging.getLogger("skycap.sidecar")
