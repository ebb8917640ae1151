"""The processes of this machine, whoever needs them: the launcher of shadows, `skycap up`, a message.

command.py    what is to be run
child.py      one process and its group, seen through a pidfd
keeper.py     stands between us and an application: loses nothing of it
identity.py   which process a stored pid means
ports.py      free ports
listeners.py  who listens where, for messages
private.py    files for their owner only
readiness.py  has it started?
logfile.py    the output of one short program
"""
