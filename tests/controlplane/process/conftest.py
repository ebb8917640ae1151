from __future__ import annotations

from tests.controlplane.process.marked import marked

__all__ = ["marked"]
