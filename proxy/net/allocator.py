"""Memory for large bodies, without asking the kernel for it again with every read.

uvloop hands over what it has read as bytes of up to 256 KB. glibc takes pieces of that size from the kernel and gives
them back when they are freed (mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD), so each read pays a page fault for
every 4 KiB: 86 faults and a third of the CPU per MiB, measured with eight connections. With both thresholds above what
a read needs, the same memory is used again and again. The price is at most KEPT_BYTES that an idle sidecar keeps.
"""

from __future__ import annotations

import ctypes

PIECE_BYTES = 1024 * 1024
"""Pieces up to this size come from the heap: four reads, for what is joined or waits to be written."""

KEPT_BYTES = 2 * 1024 * 1024
"""So much may lie free at the heap's end before it is given back."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Set both thresholds of this process. False where the C library has none (musl, macOS)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, PIECE_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
