"""The voice worker process: `python -m offhook.edge.voice.worker`, spoken to over its standard streams.

Lives exactly as long as its standard input: when the server is gone, so is the worker. Imports
nothing of the server; the voice is loaded when the first line says which.
"""

import importlib
import json
import os
import signal
import sys
from typing import BinaryIO

from offhook.edge.voice import frames
from offhook.edge.voice.protocol import Speaker, VoiceEngine, VoiceUnavailable

_NICE = 5
"""The machine's calls come first: a late word is nothing beside a late packet."""
_EXIT_UNAVAILABLE = 3


def main() -> int:
    """Serve one server until it closes our standard input; returns the exit status."""
    # A terminal's Ctrl-C reaches the whole group; the server decides when workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    source, sink = _take_streams()
    try:
        first = source.readline()
        if not first:
            return 0
        asked = json.loads(first)
        try:
            speaker = load_engine(asked["engine"]).load(asked["options"])
        except VoiceUnavailable as err:
            _send(sink, frames.pack(frames.UNAVAILABLE, str(err).encode()))
            return _EXIT_UNAVAILABLE
        _send(sink, frames.pack(frames.READY))
        for line in source:
            _serve(speaker, line, sink)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return 0


def load_engine(reference: str) -> VoiceEngine:
    """Import `module:NAME` and return the voice engine it names."""
    module, _, name = reference.partition(":")
    try:
        engine = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise VoiceUnavailable(f"the voice {reference} cannot be imported") from None
    if not isinstance(engine, VoiceEngine):
        raise VoiceUnavailable(f"{reference} is not a voice")
    return engine


def _serve(speaker: Speaker, line: bytes, sink: int) -> None:
    asked = json.loads(line)
    try:
        for pcm in speaker.say(asked["text"], asked["rate"], asked["gain_db"]):
            _send(sink, frames.pack(frames.PCM, pcm))
    except OSError:
        raise
    except Exception as err:  # noqa: BLE001 - a voice may fail in any way, and the next text is another
        _send(sink, frames.pack(frames.FAILED, type(err).__name__.encode()))
        return
    _send(sink, frames.pack(frames.DONE))


def _take_streams() -> tuple[BinaryIO, int]:
    # Libraries print; whatever they print must not land between our frames.
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return os.fdopen(source, "rb"), sink


def _send(sink: int, frame: bytes) -> None:
    data = memoryview(frame)
    while data:
        data = data[os.write(sink, data) :]


if __name__ == "__main__":
    sys.exit(main())
