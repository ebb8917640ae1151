"""Where routes come from: a file or the registry's watch. Whatever happens there, the last good table serves."""
