"""A long run under everything at once: `make soak`, `python -m tests.soak --minutes 30`.

    clients ──▶ caller's sidecar ──▶ callee's sidecar ──▶ application | shadow a | shadow b
                      └───────── routes ─────────┴──────── registry

All of it are real processes. While traffic of every kind flows, the registry is killed, the application and the
shadows are killed, and sandboxes come, change and go. What is claimed is that nothing of this shows: every answer
comes from whom its key says, whole, and what the sidecars hold of memory, descriptors, threads and connections does
not grow and is gone with the traffic.

    stage       the processes
    application what the application and the shadows answer
    service     its gRPC service
    expected    who may answer a key, and what is excused because we have killed it
    exchanges   clients that behave: requests, bodies, tunnels by CONNECT
    streams     WebSocket and server-sent events
    calls       gRPC of every kind, cancelled and run out of time
    http2       streams of several keys on a connection, resets, clients that leave or send nonsense
    rude        clients that vanish, read slowly, or send nonsense
    trouble     who kills and who changes sandboxes
    samples     what the sidecars hold, looked at once in a while
    losses      what is known of a call that was lost
    judge       the verdicts
    run         all together

The load paces itself: it must not saturate a machine of two cores, because a queue is not a leak.
"""
