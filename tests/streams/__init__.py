"""WebSocket and server-sent events on the whole way: a caller's sidecar, a callee's sidecar, the real libraries."""
