"""`skycap demo`: a shop of real HTTP services, two sandboxes of one of them, and what becomes of a request."""
