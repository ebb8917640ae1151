"""The only sockets of the data path."""
