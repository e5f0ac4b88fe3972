"""A SIP endpoint that answers every call by itself: the peer of the sipp runs. No media.

Run as a program it prints its ports, then serves until its standard input closes; the last line is
one JSON object with what happened and the CPU time it took.
"""

import argparse
import asyncio
import json
import resource
import sys
from collections import Counter

from offhook.edge.sip import Listen, SipServer
from offhook.proto.sdp import SessionDescription, make_answer, negotiate
from offhook.proto.sip import (
    AckTimedOut,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallHandle,
    CallRejected,
    IncomingCall,
    OfferReceived,
    UserAgentConfig,
    UserAgentEvent,
)


class Answerer:
    """Rings and accepts at once; users named `ring...` are left ringing, `busy...` get 486."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.server = SipServer(UserAgentConfig(), self.on_event)

    def on_event(self, event: UserAgentEvent) -> None:
        self.seen[type(event).__name__] += 1
        match event:
            case IncomingCall():
                self._take(event)
            case OfferReceived():
                self.server.answer_offer(event.call, self._sdp(event.sdp))
            case CallEnded() | CallCancelled() | CallRejected() | CallEstablished() | AckTimedOut():
                pass
            case _:
                pass

    def _take(self, event: IncomingCall) -> None:
        call: CallHandle = event.call
        if ":busy" in event.to_uri:
            self.server.reject(call, 486)
            return
        self.server.ring(call)
        if ":ring" not in event.to_uri:
            self.server.accept(call, self._sdp(event.sdp))

    def _sdp(self, offered: bytes | None) -> bytes:
        offer = SessionDescription.parse(offered or b"")
        media = negotiate(offer, ("PCMU", "PCMA"))
        assert media is not None
        return make_answer(offer, media, address="127.0.0.1", rtp_port=40000, rtcp_port=40001, session_id=1)


async def serve(host: str) -> None:
    answerer = Answerer()
    await answerer.server.start([Listen("udp", host, 0), Listen("tcp", host, 0)])
    print(*(bound.port for bound in answerer.server.bound), flush=True)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stats = dict(answerer.server.stats())
    await answerer.server.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {"seen": answerer.seen, "stats": stats, "cpu_s": used.ru_utime + used.ru_stime}
    print(json.dumps(result), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    if arguments.uvloop:
        import uvloop

        uvloop.run(serve("127.0.0.1"))
    else:
        asyncio.run(serve("127.0.0.1"))


if __name__ == "__main__":
    main()
