"""Offhook: a self-hosted, real-time voice-streaming server.

It answers SIP calls and, per call leg and on command, streams the audio over a WebSocket, forks
the RTP to UDP targets and transcribes the speech, behind the Telnyx Call Control API.
The rooms, from the inside out: `base`, `proto`, `call`, `edge`, `kit`, `app` (see ARCHITECTURE.md).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("offhook")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
