"""The whole thing, as its users meet it: real processes, real clients, real sizes."""
