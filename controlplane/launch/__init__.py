"""How a shadow is started: one port, one module per way.

port.py       what the registry asks of every way
static.py     bring your own endpoint
process.py    an application and a sidecar on this machine, made of
plan.py       what to run (pure)
ports.py      free ports
pair.py       the two processes of a shadow and their folder
child.py      one process and its group, seen through a pidfd
identity.py   which process a stored pid means
readiness.py  has it started?
logfile.py    output that outlives the registry
listeners.py  who listens where, for messages
"""
