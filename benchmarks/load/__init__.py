"""What sends requests: wrk in a closed loop, our own open loop at a constant rate, and bodies by the piece."""
