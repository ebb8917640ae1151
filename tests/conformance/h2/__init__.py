"""Does the sidecar do with frames what the corpus demands, on real sockets, and where do other proxies do otherwise?

corpus.py       the cases of `tests/corpus/h2/*.h2`; in memory `tests/proxy/exchange/h2/test_corpus.py` runs them
heard.py        what frames say, read without an engine that refuses to hear some of them
origin.py       a server of HTTP/2 that keeps what it was asked, and says the bytes of an `answer`
play.py         one case on one lane: a listener of a proxy and such a server behind it
judge.py        what was seen against what the case demands
peers.py        nghttpx and Envoy
rig.py          a running proxy with its lane
differences.py  which class of outcome each proxy comes to; those that differ are reviewed one by one

`python -m tests.conformance.h2` runs cases by hand and compares proxies.
"""
