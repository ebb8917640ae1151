"""HTTP/2 and gRPC as the benchmarks speak it, independent of the sidecar's own code: a client that checks every answer,
and an application that echoes messages.

    frames    the frame layout, and what both ends need of it
    requests  the requests: real fields, ids that never repeat, compressed as far as the peer allows
    answers   header blocks that came back: each kind is decoded once and held against what must stand in it
    client    a blocking client for probes, bodies and connections that are held
    bodies    large ones, one stream after the other
    lanes     a closed loop over many connections and streams
    echo      the gRPC application
"""
