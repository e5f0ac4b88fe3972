"""Stand-ins for what a test cannot have: time that waits for it, a network that loses packets."""
