from __future__ import annotations

from tests.controlplane.launch.processes import marked

__all__ = ["marked"]
