"""Pure decisions: which key a request carries, what the table says about it, which trace it belongs to."""
