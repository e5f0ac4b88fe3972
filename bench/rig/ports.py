"""Where everything listens: below the ports that the system gives out by itself, and out of each other's way."""

HOST = "127.0.0.1"

SIP = 15060
CALLER = 15062
HTTP = 15080
WEBHOOKS = 15081
SINK_WEBSOCKET = 15090
SINK_UDP = 15092

SERVER_RTP = (20_000, 23_999)
FLOOR_RTP = 24_000
LOAD_RTP = 28_000

# Two ports a call, up to the 32,768 at which the system's own begin.
CALLS_MAX = 2_000
