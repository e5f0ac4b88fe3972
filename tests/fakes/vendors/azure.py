"""Azure Speech on a real WebSocket port: strict about its protocol (USP), with moods a test can choose.

Takes what the official SDK sends, and refuses what that would never send: each such fault closes the
connection and stands in `violations`.
"""

import asyncio
import json
import re
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.fakes.vendors.listener import Began, Listener, SoFar, Told, Utterance

KEY = "azure-key"
PATHS = ("/speech/recognition/conversation/cognitiveservices/v1", "/speech/universal/v2")
TICKS_PER_MS = 10_000
WORD_CONFIDENCE = 0.75
_HEX_32 = re.compile(r"[0-9a-fA-F]{32}")


class Violation(Exception):
    """The client broke the protocol."""


@dataclass
class Turn:
    """One recognition of a connection."""

    request_id: str
    context: dict[str, Any]
    ear: Listener | None = None
    header: bytes = b""
    audio: bytearray = field(default_factory=bytearray)
    phrases: int = 0
    over: bool = False


@dataclass
class Client:
    """One connection, from the server's side."""

    path: str
    query: dict[str, str]
    connection_id: str
    config: dict[str, Any] | None = None
    turns: list[Turn] = field(default_factory=list)

    @property
    def turn(self) -> Turn:
        return self.turns[-1]


@dataclass
class AzureServer:
    """What runs, what it was sent, and its moods."""

    url: str = ""
    clients: list[Client] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    refuse: deque[int] = field(default_factory=deque)
    """HTTP statuses that the next handshakes are answered with."""
    close_at_ms: deque[tuple[int, int]] = field(default_factory=deque)
    """(ms of a connection's audio, close code): when the next connections are closed."""
    statuses: deque[str] = field(default_factory=deque)
    """RecognitionStatus of the next phrases, instead of Success."""
    hostile: list[str | bytes] = field(default_factory=list)
    """Messages that precede every phrase; `{rid}` is the request."""
    phrases_per_turn: int | None = None
    """After so many phrases the service ends the turn by itself."""
    mute: bool = False
    """It listens and never says anything."""
    connections_max: int = 20
    open: int = 0

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a handshake."""
        if self.refuse:
            return _refusal(self.refuse.popleft())
        url = urlsplit(request.path)
        if url.path not in PATHS:
            return _refusal(404)
        if request.headers.get("Ocp-Apim-Subscription-Key") != KEY:
            return _refusal(401)
        if self.open >= self.connections_max:
            return _refusal(429)
        query = parse_qs(url.query)
        if url.path == PATHS[0] and "language" not in query:
            return _refusal(400)
        if not _HEX_32.fullmatch(request.headers.get("X-ConnectionId", "")):
            return _refusal(400)
        if request.headers.get("Sec-WebSocket-Protocol") != "USP":
            return _refusal(400)
        return None

    async def serve(self, connection: ServerConnection) -> None:
        """Talk with one client."""
        assert connection.request is not None
        url = urlsplit(connection.request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        client = Client(url.path, query, connection.request.headers["X-ConnectionId"])
        self.clients.append(client)
        close_at = self.close_at_ms.popleft() if self.close_at_ms else None
        self.open += 1
        try:
            async for message in connection:
                await self._take(connection, client, message)
                heard_ms = sum(turn.ear.at_ms for turn in client.turns if turn.ear)
                if close_at and heard_ms >= close_at[0]:
                    await _close(connection, close_at[1])
                    return
        except Violation as violation:
            self.violations.append(str(violation))
            await connection.close(1007, str(violation)[:100])
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1

    async def _take(self, connection: ServerConnection, client: Client, message: str | bytes) -> None:
        if isinstance(message, str):
            head, _, body = message.partition("\r\n\r\n")
            self._text(client, _headers(head), body)
            return
        (size,) = struct.unpack(">H", message[:2])
        headers = _headers(message[2 : 2 + size].decode("ascii"))
        await self._audio(connection, client, headers, message[2 + size :])

    def _text(self, client: Client, headers: dict[str, str], body: str) -> None:
        _demand("x-timestamp" in headers, "every message has a time")
        path = headers.get("path")
        if path == "telemetry":
            return
        content = json.loads(body)
        if path == "speech.config":
            _demand(client.config is None, "speech.config comes once")
            client.config = content
            return
        _demand(path == "speech.context", f"unknown path {path}")
        _demand(client.config is not None, "speech.config comes first")
        _demand(bool(_HEX_32.fullmatch(headers.get("x-requestid", ""))), "a request id is 32 hex digits")
        _demand(not client.turns or client.turn.over, "a turn begins after the last one's end")
        _demand(client.path != PATHS[1] or "languageId" in content, "v2 wants languages")
        client.turns.append(Turn(headers["x-requestid"], content))

    async def _audio(
        self, connection: ServerConnection, client: Client, headers: dict[str, str], body: bytes
    ) -> None:
        _demand(headers.get("path") == "audio", "binary messages are audio")
        _demand(bool(client.turns), "speech.context comes before audio")
        known = {turn.request_id: turn for turn in client.turns}
        turn = known.get(headers.get("x-requestid", ""))
        _demand(turn is not None, "audio of an unknown turn")
        assert turn is not None
        if turn.over:  # sent before the client knew
            return
        if turn.ear is None:
            turn.ear = Listener(_rate(body), _endpoint_ms(turn.context))
            turn.header = body
            if not self.mute:
                await _say(connection, turn, "turn.start", {"context": {"serviceTag": turn.request_id[:8]}})
            return
        _demand(len(body) <= 32_000, "an audio message is short")
        turn.audio += body
        if body:
            await self._tell(connection, turn, turn.ear.hear(body))
        else:
            await self._end(connection, turn)

    async def _tell(self, connection: ServerConnection, turn: Turn, heard: list[Told]) -> None:
        for item in [] if self.mute or turn.over else heard:
            match item:
                case Began(at_ms) if turn.phrases == 0:
                    await _say(connection, turn, "speech.startDetected", {"Offset": at_ms * TICKS_PER_MS})
                case SoFar(words):
                    text = " ".join(word.text for word in words)
                    await _say(connection, turn, "speech.hypothesis", {"Text": text, **_span(words)})
                case Utterance():
                    await self._phrase(connection, turn, item)
                case _:
                    pass

    async def _phrase(self, connection: ServerConnection, turn: Turn, heard: Utterance) -> None:
        for hostile in self.hostile:
            raw = hostile.replace("{rid}", turn.request_id) if isinstance(hostile, str) else hostile
            await connection.send(raw)
        turn.phrases += 1
        status = self.statuses.popleft() if self.statuses else "Success"
        body: dict[str, Any] = {"RecognitionStatus": status, **_span(heard.words)}
        if status == "Success":
            shown = heard.text.capitalize() + "."
            body |= {"DisplayText": shown, "NBest": [_best(heard, shown)]}
            if "languageId" in turn.context:
                language = turn.context["languageId"]["languages"][-1]
                body["PrimaryLanguage"] = {"Language": language, "Confidence": "High"}
        await _say(connection, turn, "speech.phrase", body)
        if turn.phrases == self.phrases_per_turn:
            turn.over = True
            await _say(connection, turn, "turn.end", {})

    async def _end(self, connection: ServerConnection, turn: Turn) -> None:
        assert turn.ear is not None
        await self._tell(connection, turn, turn.ear.finish())
        if self.mute or turn.over:
            return
        turn.over = True
        end = {"Offset": turn.ear.at_ms * TICKS_PER_MS}
        await _say(connection, turn, "speech.endDetected", end)
        # The SDK begins another turn with what this leaves over, so it is the end of the audio.
        dictation = {"RecognitionStatus": "EndOfDictation", **end, "Duration": 0}
        await _say(connection, turn, "speech.phrase", dictation)
        await _say(connection, turn, "turn.end", {})


@asynccontextmanager
async def azure_server() -> AsyncIterator[AzureServer]:
    """Serve on a port of this machine."""
    told = AzureServer()
    async with serve(
        told.serve, "127.0.0.1", 0, process_request=told.check, select_subprotocol=_no_subprotocol
    ) as server:
        told.url = f"ws://127.0.0.1:{_port(server)}"
        yield told


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


def _no_subprotocol(connection: ServerConnection, offered: Any) -> None:
    """Azure names none in its answer, though the client offers one."""


async def _close(connection: ServerConnection, code: int) -> None:
    if code == 1006:
        connection.transport.abort()
        await asyncio.sleep(0)
    else:
        await connection.close(code, "bye")


async def _say(connection: ServerConnection, turn: Turn, path: str, body: dict[str, Any]) -> None:
    head = f"X-RequestId:{turn.request_id}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}"
    await connection.send(f"{head}\r\n\r\n{json.dumps(body)}")


def _refusal(status: int) -> Response:
    return Response(status, "no", Headers({"Content-Length": "0"}), b"")


def _demand(kept: bool, rule: str) -> None:
    if not kept:
        raise Violation(rule)


def _headers(head: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.split("\r\n") if line)
    return {name.lower(): value for name, _, value in pairs}


def _rate(header: bytes) -> int:
    """Return the sample rate of an endless WAV of 16-bit mono PCM."""
    _demand(
        len(header) == 44 and header[:4] == b"RIFF" and header[8:16] == b"WAVEfmt ", "a turn begins with RIFF"
    )
    form, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", header[20:36])
    _demand((form, channels, bits) == (1, 1, 16), "only 16-bit mono PCM")
    return int(rate_hz)


def _endpoint_ms(context: dict[str, Any]) -> int:
    detection = context.get("phraseDetection", {})
    mode = detection.get(detection.get("mode", ""), {})
    return int(mode.get("segmentation", {}).get("segmentationSilenceTimeoutMs", 500))


def _span(words: list[Any]) -> dict[str, int]:
    start_ms, end_ms = words[0].start_ms, words[-1].end_ms
    return {"Offset": start_ms * TICKS_PER_MS, "Duration": (end_ms - start_ms) * TICKS_PER_MS}


def _best(heard: Utterance, shown: str) -> dict[str, Any]:
    words = [{"Word": word.text, "Confidence": WORD_CONFIDENCE, **_span([word])} for word in heard.words]
    return {
        "Confidence": 0.875,
        "Lexical": heard.text,
        "ITN": heard.text,
        "MaskedITN": heard.text,
        "Display": shown,
        "Words": words,
    }
