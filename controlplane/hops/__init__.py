"""Hop records: where they are kept (`port`, `memory`), and the tree that the hops of one trace are (`tree`)."""
