"""Ways in which a copy of one of the shop's services can be broken: programs, each run as a real process."""
