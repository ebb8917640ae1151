"""Does the sidecar read messages as everybody else does, and does it refuse what somebody could read otherwise?

corpus.py       the cases of `tests/corpus/*.http`: bytes, verdict, reason
h2/             the same for HTTP/2: the cases of `tests/corpus/h2/*.h2`, beside nghttpx and Envoy
messages.py     the reference reader: what we hold a stream of bytes to mean
panel.py        h11, httptools, aiohttp and the standard library, asked for their reading of the same bytes

deliveries.py   how the bytes of a case are cut into writes
play.py         the script of one run: what the client and the origin do, and when they are done
client.py       a client that writes exact pieces and keeps what comes back
origin.py       an origin that keeps what every connection brought, and answers by script
lanes.py        a stage of sockets: one listener of a proxy, one origin behind it
memory.py       a stage in memory: the sidecar's exchange and pools, without the kernel and the clock
peers.py        Skycap, HAProxy, nginx and a blind relay, started on free ports
rig.py          a running proxy with its lanes, and the runs spread over them

judge.py        what was seen against what a case demands
laws.py         what holds for any bytes, of generated and fuzzed conversations
grammars.py     how such conversations are generated
differences.py  where HAProxy and nginx do otherwise, reviewed one by one
table.py        the corpus as a table

`python -m tests.conformance` runs cases by hand, compares proxies and prints the table.
"""
