"""What would keep the server from starting or working, found without starting it."""

import asyncio
import importlib.util
import socket
import tempfile
from pathlib import Path

from offhook.app.settings import Settings
from offhook.app.speech import make_speech, speech_problem
from offhook.app.trunks import Trunks
from offhook.app.voice import make_voice, voice_problem
from offhook.base.errors import ConfigError
from offhook.edge.voice.protocol import VoiceNotInstalled


def find_problems(settings: Settings) -> list[str]:
    """Return one sentence for each thing that must change first; an empty list is a promise to start."""
    problems = [
        _native_core(),
        _data_dir(settings.data_dir),
        *_listeners(settings),
        _rtp_ports(settings),
        _speech(settings),
        _voice(settings),
        _trunks(settings),
    ]
    return [problem for problem in problems if problem is not None]


def find_warnings(settings: Settings) -> list[str]:
    """Return what `serve` would start with, though it is probably not meant."""
    if settings.webhooks.url is None:
        return [
            "No webhook URL is set, so every incoming call is refused that no application made over the API "
            "claims: set --webhook-url or OFFHOOK_WEBHOOK_URL."
        ]
    return []


def _native_core() -> str | None:
    if importlib.util.find_spec("offhook._media") is None:
        return "The native media core is not built: run `make setup` in a checkout, or install a wheel."
    return None


def _voice(settings: Settings) -> str | None:
    """Look at every voice that was chosen; an extra that was never installed is no mistake."""
    found = asyncio.run(make_voice(settings.voice).inspect()).values()
    wrong = [error for error in found if not isinstance(error, VoiceNotInstalled)]
    return voice_problem(wrong[0]) if wrong else None


def _trunks(settings: Settings) -> str | None:
    try:
        Trunks(settings.trunks)
    except ConfigError as error:
        return str(error)
    return None


def _data_dir(data_dir: Path) -> str | None:
    """Look at the directory, or at the one that it would be made in."""
    nearest = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        return f"The data directory {data_dir} cannot be made: {nearest} is a file."
    try:
        # A file without a name: nothing is left behind.
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return (
            f"The data directory {data_dir} cannot be written ({(error.strerror or str(error)).lower()}): "
            "choose another with --data-dir or OFFHOOK_DATA_DIR, or change its owner."
        )


def _listeners(settings: Settings) -> list[str | None]:
    http = settings.http.address
    found = [_bind("tcp", http.host, http.port, "--http-listen or OFFHOOK_HTTP_LISTEN")]
    found += [
        _bind(listen.transport, listen.host, listen.port, "--sip-listen or OFFHOOK_SIP_LISTEN")
        for listen in settings.sip.listeners
    ]
    return found


def _bind(transport: str, host: str, port: int, setting: str) -> str | None:
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            if transport == "tcp":
                # As the server does: a port whose last connections linger can be taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"Cannot listen at {transport}:{host}:{port} ({reason}): choose another with {setting}."
    return None


def _rtp_ports(settings: Settings) -> str | None:
    low, high = settings.media.port_range
    inside = [listen.port for listen in settings.sip.listeners if low <= listen.port <= high]
    if inside:
        return f"The RTP ports {low}-{high} hold the SIP port {inside[0]}: choose others with --rtp-ports."
    return None


def _speech(settings: Settings) -> str | None:
    """Look for what every engine needs that some name of the API leads to."""
    try:
        found = asyncio.run(make_speech(settings).inspect())
    except ConfigError as error:
        return str(error)
    return speech_problem(next(iter(found.values()))) if found else None
