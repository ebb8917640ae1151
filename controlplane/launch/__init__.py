"""How a shadow is started: one port, one module per way.

port.py       what the registry asks of every way
absent.py     a way that an installation does not have
static.py     bring your own endpoint
process.py    an application and a sidecar on this machine, made of
plan.py       what to run (pure)
pair.py       the two processes of a shadow and their folder
"""
