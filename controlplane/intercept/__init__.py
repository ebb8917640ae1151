"""Redirecting a machine's connections to the sidecar, for the command line and whoever else installs it.

ruleset.py  the rules as text (pure)
nft.py      running `nft`
verify.py   do connections really reach a sidecar?
"""
