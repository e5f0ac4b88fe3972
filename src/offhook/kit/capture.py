"""Keeps the RTP packets of a call, copied out of the media core by a fork to two local sockets."""

import asyncio
import socket
from typing import Any

PACKETS_CAPTURED_MAX = 100_000
"""Packets kept a direction, half an hour at 20 ms; later ones are counted and dropped."""
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024


class PacketCapture:
    """Every RTP packet that a phone sent and received during one call, in order."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.dropped = 0
        self._transports: list[asyncio.DatagramTransport] = []

    async def open(self) -> tuple[str, str]:
        """Bind the sockets; return the fork targets for (received, sent) packets."""
        return await self._bind(self.received), await self._bind(self.sent)

    def close(self) -> None:
        """Release the sockets; what was captured stays."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def keep(self, packets: list[bytes], packet: bytes) -> None:
        """Keep one packet, or count it when there are too many."""
        if len(packets) < PACKETS_CAPTURED_MAX:
            packets.append(packet)
        else:
            self.dropped += 1

    async def _bind(self, packets: list[bytes]) -> str:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: _Collector(self, packets), sock=sock)
        except BaseException:
            sock.close()
            raise
        self._transports.append(transport)
        return f"127.0.0.1:{sock.getsockname()[1]}"


class _Collector(asyncio.DatagramProtocol):
    def __init__(self, capture: PacketCapture, packets: list[bytes]) -> None:
        self._capture = capture
        self._packets = packets

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._capture.keep(self._packets, data)
