"""What a sandbox and a workload are, and which routes follow from them. Pure: no I/O, no clock."""
