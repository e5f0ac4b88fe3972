"""The speech worker process: `python -m offhook.edge.speech.worker`, spoken to over its standard streams.

Lives exactly as long as its standard input: when the server is gone, so is the worker. Imports
nothing of the server; the model is loaded when the first message says which.
"""

import os
import select
import sys

from offhook.base.clock import SystemClock
from offhook.base.worker import become_worker, import_named, write_all
from offhook.edge.speech.frames import FrameError, FrameReader, Message, pack_message
from offhook.edge.speech.protocol import SegmentEngine, SegmentRecognizer, SpeechUnavailable
from offhook.edge.speech.worker_core import WorkerCore

_READ_BYTES = 64 * 1024
_EXIT_UNAVAILABLE = 3
_EXIT_PROTOCOL = 4


def main() -> int:
    """Serve one server until it closes our standard input; returns the exit status."""
    source, sink = become_worker()
    reader = FrameReader()
    core: WorkerCore | None = None
    try:
        while True:
            wait_s = 0.0 if core is not None and core.has_work else None
            if (core is None or not core.saturated) and select.select([source], [], [], wait_s)[0]:
                data = os.read(source, _READ_BYTES)
                if not data:
                    return 0
                for frame in reader.feed(data):
                    if core is None:
                        core = _load(frame, sink)
                        continue
                    _send(sink, core.receive(frame))
                continue
            assert core is not None, "before the model is loaded there is only reading"
            _send(sink, core.work())
    except SpeechUnavailable as err:
        _send(sink, [{"ev": "unavailable", "why": str(err)}])
        return _EXIT_UNAVAILABLE
    except FrameError as err:
        print(f"speech worker: {err}", file=sys.stderr)  # noqa: T201 - there is no other place to say it
        return _EXIT_PROTOCOL
    except (BrokenPipeError, ConnectionResetError):
        return 0


def load_engine(reference: str) -> SegmentEngine:
    """Import `module:NAME` and return the segment engine it names."""
    try:
        engine = import_named(reference)
    except ImportError:
        raise SpeechUnavailable(f"the speech engine {reference} cannot be imported") from None
    if not isinstance(engine, SegmentEngine):
        raise SpeechUnavailable(f"{reference} is not a segment engine")
    return engine


def _load(frame: object, sink: int) -> WorkerCore:
    if not isinstance(frame, dict) or frame.get("op") != "load":
        raise FrameError("the first message must say which engine to load")
    recognizer: SegmentRecognizer = load_engine(frame["engine"]).load(frame["options"])
    _send(sink, [{"ev": "ready"}])
    return WorkerCore(recognizer, SystemClock().now)


def _send(sink: int, messages: list[Message]) -> None:
    write_all(sink, b"".join(pack_message(message) for message in messages))


if __name__ == "__main__":
    sys.exit(main())
