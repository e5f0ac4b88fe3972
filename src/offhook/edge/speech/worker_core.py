"""What a speech worker does, without its pipes: frames in, one decode at a time, frames out.

One worker is one thread and one model. Each step decodes one thing: the oldest finished utterance
if there is one, else one whose speaker pauses, else the most overdue partial. So finals never wait
for more than one partial, and partials take at most half of the time, by being made more seldom
and then not at all.

While a speaker pauses, the utterance is decoded ahead: if the pause turns out to be its end, the
final is there at once, and told even in the middle of another decode; a partial being decoded is
given up for it. A model that hears an utterance bit by bit is given it all the time, partials wanted
or not, so that at its end little is left to do.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from offhook.base.limits import SPEECH_FINALS_QUEUED_MAX
from offhook.edge.speech.ear import Ear
from offhook.edge.speech.frames import Audio, Message
from offhook.edge.speech.gates import accept
from offhook.edge.speech.protocol import DecodeAbandoned, Heard, SegmentConfig, SegmentRecognizer
from offhook.edge.speech.segmenter import SegmenterSettings
from offhook.edge.speech.track import Track, Utterance, UtteranceStarted

_PARTIALS_SHARE = 2.0
"""A partial may cost this part (one over it) of the time until the next one."""
_PARTIAL_MS_MAX = 4_000
"""Partials more seldom than this help nobody: the utterance gets no more of them."""
_SETTLED_STEP_MS = 1_000
_AHEAD_QUIET_MS = 250
"""A pause this long is likely to be the end."""
_AHEAD_COST_MS_MAX = 1_000
"""Decoding ahead saves a quarter of a second; dearer than this it is not worth being wasted where the
speaker goes on."""
_AHEAD_RANK_MS = 60_000
"""Decoding ahead goes before any partial: who has paused waits for a final."""

WORKER_COUNTERS = (
    "decode_ms",
    "decodes",
    "decodes_failed",
    "texts_refused",
    "partials_skipped",
    "partials_abandoned",
    "finals_ahead",
    "holes",
)
"""What a worker counts, and tells with each answer to a ping."""


@dataclass(slots=True)
class _Session:
    session_id: int
    track: Track
    ear: Ear
    language: str
    interim: bool
    partial_ms: int
    preroll_ms: int
    next_partial_ms: int | None = None
    last_partial: str = field(default="", repr=False)
    waiting: int = 0
    closing: bool = False
    told_settled_ms: int = 0
    cost_ms: float = 0.0
    abandoned: bool = False
    """Its last partial was given up for somebody's final."""
    ahead: tuple[int, int, Heard | None] | None = None
    """(utterance, end, text) of the last partial: if the final has the same end, it is the final."""

    def ahead_of(self, utterance_id: int, end_ms: int) -> Heard | None:
        """Return what was heard already of exactly this utterance."""
        if self.ahead is not None and self.ahead[:2] == (utterance_id, end_ms):
            return self.ahead[2]
        return None


class WorkerCore:
    """All sessions of one worker around its one model.

    Args:
        recognizer: the loaded model.
        clock: steady seconds, to learn what a decode costs.
    """

    def __init__(self, recognizer: SegmentRecognizer, clock: Callable[[], float]) -> None:
        self._recognizer = recognizer
        self._clock = clock
        self._sessions: dict[int, _Session] = {}
        self._finals: deque[tuple[int, Utterance]] = deque()
        self._decoding: int | None = None
        """Whose final is being decoded."""
        self._partial: tuple[_Session, Utterance] | None = None
        """The partial that is being decoded, while it may be given up."""
        self.counters = dict.fromkeys(WORKER_COUNTERS, 0)

    @property
    def saturated(self) -> bool:
        """True while no more input should be read: enough finals wait."""
        return len(self._finals) >= SPEECH_FINALS_QUEUED_MAX

    @property
    def has_work(self) -> bool:
        """True while `work` would decode something."""
        return bool(self._finals) or self._partial_due() is not None

    def receive(self, frame: Message | Audio) -> list[Message]:
        """Take one frame from the server; returns what to answer. Unknown sessions are ignored."""
        if isinstance(frame, Audio):
            session = self._sessions.get(frame.session)
            if session is None or session.closing:
                return []
            replies = self._told(frame.session, session, session.track.push(frame.pcm, frame.at_ms))
            return replies + self._settled(frame.session, session)
        match frame.get("op"):
            case "open":
                self._open(frame)
            case "flush" if session := self._sessions.get(frame["s"]):
                replies = self._told(frame["s"], session, session.track.flush())
                return [*replies, {"ev": "flushed", "s": frame["s"]}]
            case "close" if session := self._sessions.get(frame["s"]):
                session.closing = True
                replies = self._told(frame["s"], session, session.track.flush())
                return replies + self._close_if_done(frame["s"], session)
            case "drop":
                self._drop(frame["s"])
            case "ping":
                return [{"ev": "pong", "counters": self.counters}]
            case _:
                pass
        return []

    def work(self) -> list[Message]:
        """Decode the one thing that is most urgent; returns what to tell."""
        if self._finals:
            return self._decode_final()
        due = self._partial_due()
        return self._decode_partial(due) if due is not None else []

    def finals_ready(self) -> list[Message]:
        """Tell the finals that were decoded ahead. May be called in the middle of `work`, as `receive` may."""
        replies: list[Message] = []
        # Finals of one session stay in order.
        behind = {self._decoding}
        for item in tuple(self._finals):
            sid, utterance = item
            session = self._sessions[sid]
            if sid in behind or session.ahead_of(utterance.utterance_id, utterance.end_ms) is None:
                behind.add(sid)
                continue
            self._finals.remove(item)
            replies += self._finish(sid, session, utterance)
        return replies

    @property
    def should_abandon(self) -> bool:
        """True while a partial is being decoded and somebody waits for a final, or soon will."""
        if self._partial is None or self._partial[0].abandoned:
            return False  # the second try is finished, or there would be no partials at all under load
        session, utterance = self._partial
        own = (session.session_id, utterance.utterance_id, utterance.end_ms)
        return any((sid, final.utterance_id, final.end_ms) != own for sid, final in self._finals) or any(
            other is not session and self._overdue_ms(other) >= _AHEAD_RANK_MS
            for other in self._sessions.values()
            if other.track.speaking
        )

    def _open(self, message: Message) -> None:
        config: dict[str, Any] = message["config"]
        settings = SegmenterSettings(
            endpoint_ms=config["endpoint_ms"], max_ms=int(config["max_segment_s"] * 1000)
        )
        rate_hz = config["sample_rate_hz"]
        self._sessions[message["s"]] = _Session(
            session_id=message["s"],
            track=Track(
                self._recognizer.detector(rate_hz),
                settings,
                sample_rate_hz=rate_hz,
                first_utterance_id=message["utterance"],
            ),
            ear=Ear(self._recognizer, rate_hz, SegmentConfig(config["language"], tuple(config["phrases"]))),
            language=config["language"],
            interim=config["interim"],
            partial_ms=config["partial_ms"],
            preroll_ms=settings.preroll_ms,
        )

    def _told(self, sid: int, session: _Session, items: list[UtteranceStarted | Utterance]) -> list[Message]:
        replies: list[Message] = []
        for item in items:
            if isinstance(item, UtteranceStarted):
                session.next_partial_ms = item.at_ms + session.preroll_ms + session.partial_ms
                session.last_partial = ""
                replies.append({"ev": "started", "s": sid, "u": item.utterance_id, "at": item.at_ms})
            else:
                session.waiting += 1
                self._finals.append((sid, item))
                replies.append({"ev": "ended", "s": sid, "u": item.utterance_id, "at": item.end_ms})
        return replies

    def _settled(self, sid: int, session: _Session) -> list[Message]:
        if session.waiting:
            return []
        settled_ms = session.track.settled_ms
        if settled_ms - session.told_settled_ms < _SETTLED_STEP_MS:
            return []
        session.told_settled_ms = settled_ms
        return [{"ev": "settled", "s": sid, "ms": settled_ms}]

    def _decode_final(self) -> list[Message]:
        # Who hangs up waits for the last words: those go first.
        urgent = (at for at, (sid, _) in enumerate(self._finals) if self._sessions[sid].closing)
        index = next(urgent, 0)
        sid, utterance = self._finals[index]
        del self._finals[index]
        self._decoding = sid
        try:
            return self._finish(sid, self._sessions[sid], utterance)
        finally:
            self._decoding = None

    def _finish(self, sid: int, session: _Session, utterance: Utterance) -> list[Message]:
        replies = self._final(session, utterance)
        if self._sessions.get(sid) is not session:
            return []  # dropped meanwhile: nobody listens
        session.waiting -= 1
        return replies + self._close_if_done(sid, session)

    def _final(self, session: _Session, utterance: Utterance) -> list[Message]:
        heard = session.ahead_of(utterance.utterance_id, utterance.end_ms)
        if heard is not None:
            self.counters["finals_ahead"] += 1
        else:
            heard = self._decode(session, session.ear.whole, utterance)
        if heard is None:
            return [
                {"ev": "failed", "s": session.session_id},
                _words("final", session, utterance, None),
            ]
        told = accept(heard, final=True, voice=utterance.voice)
        self.counters["texts_refused"] += told is None
        return [_words("final", session, utterance, told)]

    def _decode_partial(self, sid: int) -> list[Message]:
        session = self._sessions[sid]
        utterance = session.track.so_far()
        if session.track.quiet_ms < _AHEAD_QUIET_MS:
            self._partial = (session, utterance)
        try:
            heard = self._decode(session, session.ear.so_far, utterance)
        except DecodeAbandoned:
            self.counters["partials_abandoned"] += 1
            session.abandoned = True
            return []
        finally:
            self._partial = None
        session.abandoned = False
        if self._sessions.get(sid) is not session:
            return []
        pause_ms = max(session.partial_ms, int(_PARTIALS_SHARE * session.cost_ms * self._speakers()))
        going = session.track.speaking and session.track.utterance_id == utterance.utterance_id
        if not going:
            pass  # it ended meanwhile, and its final follows
        elif pause_ms <= _PARTIAL_MS_MAX:
            session.next_partial_ms = utterance.end_ms + pause_ms
        else:
            self.counters["partials_skipped"] += 1
            session.next_partial_ms = None
        # A failure is kept too: it is tried once more, but only when the utterance has ended.
        session.ahead = (
            utterance.utterance_id,
            utterance.end_ms,
            # Such a model may have kept its last words back until it is told that it was all.
            None if session.ear.incremental else heard,
        )
        told = None if heard is None else accept(heard, final=False, voice=utterance.voice)
        if told is None or told.text == session.last_partial or not (session.interim and going):
            return []
        session.last_partial = told.text
        return [_words("partial", session, utterance, told)]

    def _partial_due(self) -> int | None:
        latest: tuple[int, int] | None = None
        for sid, session in self._sessions.items():
            if not session.track.speaking:
                continue
            overdue_ms = self._overdue_ms(session)
            if overdue_ms >= 0 and (latest is None or overdue_ms > latest[0]):
                latest = (overdue_ms, sid)
        return None if latest is None else latest[1]

    def _overdue_ms(self, session: _Session) -> int:
        end_ms = session.track.spoken_until_ms()
        quiet_ms = session.track.quiet_ms
        if quiet_ms >= _AHEAD_QUIET_MS and session.cost_ms <= _AHEAD_COST_MS_MAX:
            known = session.ahead is not None and session.ahead[:2] == (session.track.utterance_id, end_ms)
            return -1 if known else _AHEAD_RANK_MS + quiet_ms
        if not (session.interim or session.ear.incremental) or session.next_partial_ms is None:
            return -1
        return end_ms - session.next_partial_ms

    def _speakers(self) -> int:
        return sum(session.track.speaking for session in self._sessions.values())

    def _decode(
        self, session: _Session, hear: Callable[[Utterance], Heard], utterance: Utterance
    ) -> Heard | None:
        began = self._clock()
        try:
            return hear(utterance)
        except DecodeAbandoned:
            raise
        except Exception:  # noqa: BLE001 - a model's failure costs one utterance, not the worker
            self.counters["decodes_failed"] += 1
            return None
        finally:
            session.cost_ms = (self._clock() - began) * 1000
            self.counters["decodes"] += 1
            self.counters["decode_ms"] += round(session.cost_ms)

    def _close_if_done(self, sid: int, session: _Session) -> list[Message]:
        if not session.closing or session.waiting:
            return []
        self._drop(sid)
        return [{"ev": "closed", "s": sid}]

    def _drop(self, sid: int) -> None:
        session = self._sessions.pop(sid, None)
        if session is not None:
            self.counters["holes"] += session.track.holes
            self._finals = deque(item for item in self._finals if item[0] != sid)


def _words(kind: str, session: _Session, utterance: Utterance, told: Heard | None) -> Message:
    start_ms, end_ms = utterance.start_ms, utterance.end_ms
    return {
        "ev": kind,
        "s": session.session_id,
        "u": utterance.utterance_id,
        "text": None if told is None else told.text,
        "confidence": None if told is None else told.confidence,
        "language": session.language if told is None or told.language is None else told.language,
        "start": start_ms,
        "end": end_ms,
        "words": [
            (
                word.text,
                min(start_ms + word.start_ms, end_ms),
                min(start_ms + word.end_ms, end_ms),
                word.confidence,
            )
            for word in (() if told is None else told.words)
        ],
    }
