"""The transcription socket on a real port, with any speech engine behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import telnyx
import websockets
from prometheus_client import CollectorRegistry

from offhook.app.transcription_sockets import SpeechSockets
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.rates import RateLimit
from offhook.edge.http.server import HttpServer
from offhook.edge.http.transcription_socket import PATH, TranscriptionSockets
from offhook.edge.speech.service import SpeechService
from tests.fakes.call_service import LegService

API_KEY = "KEYsocket"
SAMPLES = {"transcription_engine": "Telnyx", "input_format": "linear16", "sample_rate": "8000"}


@dataclass
class SocketServer:
    """A running API whose only use is the socket."""

    url: str
    sockets: TranscriptionSockets
    speech: SpeechService
    registry: CollectorRegistry

    def connect(self, *, key: str | None = API_KEY, **query: str) -> websockets.connect:
        """Return a plain WebSocket client; `query` goes over that of bare samples at 8 kHz."""
        asked = "&".join(f"{name}={value}" for name, value in (SAMPLES | query).items())
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        url = f"{self.url.replace('http', 'ws', 1)}/v2{PATH}?{asked}"
        return websockets.connect(url, additional_headers=headers, max_size=None)

    def sdk(self) -> telnyx.AsyncTelnyx:
        """Return the official client."""
        return telnyx.AsyncTelnyx(api_key=API_KEY, base_url=f"{self.url}/v2")

    def counted(self, name: str, **labels: str) -> float:
        """Return a metric of the sockets; 0 before its first count."""
        return self.registry.get_sample_value(f"offhook_transcription_{name}", labels) or 0.0


@asynccontextmanager
async def serving_sockets(
    speech: SpeechService, *, rate_limit: RateLimit | None = None
) -> AsyncIterator[SocketServer]:
    """Serve the socket on loopback; `speech` is closed at the end."""
    registry = CollectorRegistry()
    sockets = TranscriptionSockets(SpeechSockets(speech), registry=registry)
    service = LegService()
    options: dict[str, Any] = {"transcriptions": sockets, "rate_limit": rate_limit}
    app = create_app(
        service,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=lambda ip: None),
        clock=service.clock,
        registry=registry,
        **options,
    )
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    try:
        yield SocketServer(server.url, sockets, speech, registry)
    finally:
        await sockets.close()
        await server.close()
        await speech.close()
