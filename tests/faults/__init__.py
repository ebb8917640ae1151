"""Everything that can go wrong on real sockets, with the sidecar as the process that people run."""
