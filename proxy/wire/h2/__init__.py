"""HTTP/2 as bytes: frames, header blocks, templates of them, what they may say. No I/O, no clock, no log."""
