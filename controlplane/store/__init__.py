"""Where the registry's state outlives it: one port, one module per place."""
