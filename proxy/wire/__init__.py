"""HTTP/1.1 as bytes (RFC 9112): no I/O, no clock, no log. What comes in is checked once, here, and what is not
interesting leaves as the bytes that came."""
