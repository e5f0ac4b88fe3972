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
from offhook.edge.speech.protocol import (
    DecodeAbandoned,
    ObligingRecognizer,
    SegmentEngine,
    SegmentRecognizer,
    SpeechUnavailable,
)
from offhook.edge.speech.worker_core import WorkerCore

_READ_BYTES = 64 * 1024
_EXIT_UNAVAILABLE = 3
_EXIT_PROTOCOL = 4


def main() -> int:
    """Serve one server until it closes our standard input; returns the exit status."""
    worker = _Worker(*become_worker())
    try:
        worker.serve()
    except SpeechUnavailable as err:
        worker.send([{"ev": "unavailable", "why": str(err)}])
        return _EXIT_UNAVAILABLE
    except FrameError as err:
        print(f"speech worker: {err}", file=sys.stderr)  # noqa: T201 - there is no other place to say it
        return _EXIT_PROTOCOL
    except (BrokenPipeError, ConnectionResetError):
        pass
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


class _Worker:
    """The two streams and, once its model is loaded, the core between them."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._reader = FrameReader()
        self._core: WorkerCore | None = None

    def serve(self) -> None:
        """Work until the input ends."""
        while True:
            core = self._core
            if self._readable(None if core is None or not core.has_work else 0.0):
                if not self._read():
                    return
            elif core is not None:
                self.send(core.work())

    def send(self, messages: list[Message]) -> None:
        """Tell the server."""
        write_all(self._sink, b"".join(pack_message(message) for message in messages))

    def _attend(self) -> None:
        """Hear what came in the middle of a decode, and tell what is known already."""
        assert self._core is not None, "it decodes"
        # The end of the input stays readable: `serve` meets it again.
        while self._readable(0.0) and self._read():
            pass
        self.send(self._core.finals_ready())
        if self._core.should_abandon:
            raise DecodeAbandoned

    def _readable(self, wait_s: float | None) -> bool:
        if self._core is not None and self._core.saturated:
            return False
        return bool(select.select([self._source], [], [], wait_s)[0])

    def _read(self) -> bool:
        data = os.read(self._source, _READ_BYTES)
        for frame in self._reader.feed(data):
            if self._core is None:
                self._core = self._load(frame)
            else:
                self.send(self._core.receive(frame))
        return bool(data)

    def _load(self, frame: object) -> WorkerCore:
        if not isinstance(frame, dict) or frame.get("op") != "load":
            raise FrameError("the first message must say which engine to load")
        recognizer: SegmentRecognizer = load_engine(frame["engine"]).load(frame["options"])
        if isinstance(recognizer, ObligingRecognizer):
            recognizer.meanwhile = self._attend
        self.send([{"ev": "ready"}])
        return WorkerCore(recognizer, SystemClock().now)


if __name__ == "__main__":
    sys.exit(main())
