"""Does the sidecar read messages as everybody else does, and does it refuse what somebody could read otherwise?

corpus.py      the cases of `tests/corpus/*.http`: bytes, verdict, reason
messages.py    the reference reader: what we hold a byte stream to mean
panel.py       h11, httptools, aiohttp and the standard library, asked for their reading of the same bytes
origin.py      an origin that records what every upstream connection received, and answers by script
client.py      a client that writes exact pieces and keeps what came back
lanes.py       one listener of the proxy, one origin behind it, one case at a time
peers.py       Skycap, HAProxy, nginx and a blind relay, started on free ports
deliveries.py  how the bytes of a case are cut into writes
judge.py       what was seen against what the case demands
differences.py the reviewed differences between Skycap and its peers

`python -m tests.conformance` runs cases by hand and prints the table of results.
"""
