"""The voice worker process: `python -m offhook.edge.voice.worker`, spoken to over its standard streams.

Lives exactly as long as its standard input: when the server is gone, so is the worker. Imports
nothing of the server; the voice is loaded when the first line says which.
"""

import json
import os
import sys

from offhook.base.worker import become_worker, import_named, write_all
from offhook.edge.voice import frames
from offhook.edge.voice.protocol import Speaker, VoiceEngine, VoiceUnavailable

_EXIT_UNAVAILABLE = 3


def main() -> int:
    """Serve one server until it closes our standard input; returns the exit status."""
    descriptor, sink = become_worker()
    source = os.fdopen(descriptor, "rb")
    try:
        first = source.readline()
        if not first:
            return 0
        asked = json.loads(first)
        try:
            speaker = load_engine(asked["engine"]).load(asked["options"])
        except VoiceUnavailable as err:
            write_all(sink, frames.pack(frames.UNAVAILABLE, str(err).encode()))
            return _EXIT_UNAVAILABLE
        write_all(sink, frames.pack(frames.READY))
        for line in source:
            _serve(speaker, line, sink)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return 0


def load_engine(reference: str) -> VoiceEngine:
    """Import `module:NAME` and return the voice engine it names."""
    try:
        engine = import_named(reference)
    except ImportError:
        raise VoiceUnavailable(f"the voice {reference} cannot be imported") from None
    if not isinstance(engine, VoiceEngine):
        raise VoiceUnavailable(f"{reference} is not a voice")
    return engine


def _serve(speaker: Speaker, line: bytes, sink: int) -> None:
    asked = json.loads(line)
    try:
        for pcm in speaker.say(asked["text"], asked["rate"], asked["gain_db"]):
            write_all(sink, frames.pack(frames.PCM, pcm))
    except OSError:
        raise
    except Exception as err:  # noqa: BLE001 - a voice may fail in any way, and the next text is another
        write_all(sink, frames.pack(frames.FAILED, type(err).__name__.encode()))
        return
    write_all(sink, frames.pack(frames.DONE))


if __name__ == "__main__":
    sys.exit(main())
