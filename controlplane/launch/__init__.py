"""How a shadow is started: one port, one module per way."""
