"""What the benchmarks are made of: a caller, an app, the load tools, and the accounts of a process.

It meets the server as the world does, over SIP, HTTP and RTP, and reads its cost from /proc; it imports
nothing of the server.
"""
