"""Sans-I/O protocols: bytes and `now` in, values and bytes out. No sockets, no tasks, no clock."""
