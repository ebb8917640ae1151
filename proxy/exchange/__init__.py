"""One request and its answer as a state machine on small ports; see README.md of the package above for its life."""
