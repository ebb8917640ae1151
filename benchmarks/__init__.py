"""Skycap measured beside other proxies, on this machine, in one run.

The rules that make the figures worth reading:

1. CPU per request decides, not throughput. It comes from the kernel's own accounting of the proxy's process
   (`benchmarks.accounting`), so another program that takes a share of a core changes it little.
2. The proxy has one core for itself; load, origin and this program share the others.
3. Peers take turns within every round (A B C A B C), and ratios are made within a round. A machine that is
   slower for a minute is slower for everyone.
4. Medians over the rounds are reported, always with the spread.
5. An answer that came from the wrong place is an error of the run, never a figure. Every peer is probed before
   and after, and the origins count what reached them.
6. Peers get the cheapest configuration that makes the same decision; Skycap runs with everything on.
"""
