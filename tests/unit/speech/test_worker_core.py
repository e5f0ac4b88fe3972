"""What a worker decodes first, and what it tells."""

from collections.abc import Callable
from typing import Any

import pytest

from offhook.base.limits import SPEECH_FINALS_QUEUED_MAX
from offhook.edge.speech.frames import Audio, Message
from offhook.edge.speech.protocol import DecodeAbandoned
from offhook.edge.speech.worker_core import WorkerCore
from tests.fakes.speech_engine import FakeIncremental, FakeRecognizer, silence, tone

pytestmark = pytest.mark.unit

CONFIG = {
    "language": "en",
    "phrases": [],
    "interim": True,
    "sample_rate_hz": 8000,
    "endpoint_ms": 500,
    "max_segment_s": 12.0,
    "partial_ms": 500,
}


class Bench:
    """A core, a clock that decodes push forward, and all it told."""

    def __init__(
        self, decode_s: float = 0.0, make: type[FakeRecognizer] = FakeRecognizer, **options: Any
    ) -> None:
        self.now = 0.0
        self.recognizer = make(options)
        hear = self.recognizer.transcribe

        def timed(*segment: Any) -> Any:
            self.now += decode_s
            return hear(*segment)

        self.recognizer.transcribe = timed  # type: ignore[method-assign]
        self.core = WorkerCore(self.recognizer, lambda: self.now)
        self.told: list[Message] = []
        self.at_ms: dict[int, int] = {}

    def open(self, session: int, **config: Any) -> None:
        self.core.receive({"op": "open", "s": session, "utterance": 0, "config": CONFIG | config})

    def push(self, session: int, pcm: bytes) -> None:
        """Feed audio in chunks of 100 ms, without letting the core decode."""
        for at in range(0, len(pcm), 1600):
            at_ms = self.at_ms.get(session, 0)
            self.told += self.core.receive(Audio(session, at_ms, pcm[at : at + 1600]))
            self.at_ms[session] = at_ms + len(pcm[at : at + 1600]) // 16

    def order(self, op: str, session: int) -> None:
        self.told += self.core.receive({"op": op, "s": session})

    def work(self) -> None:
        while self.core.has_work:
            self.told += self.core.work()

    def kinds(self, session: int) -> list[str]:
        return [message["ev"] for message in self.told if message["s"] == session]

    def texts(self, kind: str) -> list[tuple[int, str]]:
        return [(message["s"], message["text"]) for message in self.told if message["ev"] == kind]


def test_an_utterance_is_told_from_start_to_final() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, silence(1000) + tone(5, 1500))
    bench.work()
    bench.push(1, silence(1000))
    bench.work()
    kinds = [kind for kind in bench.kinds(1) if kind != "settled"]
    assert kinds == ["started", "partial", "ended", "final"]
    final = bench.told[-1]
    assert (final["text"], final["confidence"], final["u"], final["language"]) == ("word5", 0.9, 0, "en")
    assert 600 <= final["start"] <= 1000
    assert 2500 <= final["end"] <= 2800
    assert final["words"] == [("word5", final["start"], final["end"], 0.9)], (
        "words are on the clock of the audio"
    )


def test_a_partial_that_says_nothing_new_is_not_told() -> None:
    bench = Bench()
    bench.open(1)
    for _ in range(30):
        bench.push(1, tone(5, 200))
        bench.work()
    assert bench.texts("partial") == [(1, "word5")]


def test_without_interim_only_finals_are_decoded() -> None:
    bench = Bench()
    bench.open(1, interim=False)
    bench.push(1, tone(5, 3000))
    assert not bench.core.has_work
    bench.push(1, silence(600))
    bench.work()
    assert bench.recognizer.heard == [5]


def test_finals_go_before_partials() -> None:
    bench = Bench()
    for session in (1, 2, 3):
        bench.open(session)
    bench.push(1, tone(1, 3000))
    bench.push(2, tone(2, 1000) + silence(600))
    bench.push(3, tone(3, 1000) + silence(600))
    bench.work()
    assert bench.recognizer.heard == [2, 3, 1]


def test_who_hangs_up_is_served_first() -> None:
    bench = Bench()
    for session in (1, 2):
        bench.open(session)
    bench.push(1, tone(1, 1000) + silence(600))
    bench.push(2, tone(2, 1000))
    bench.order("close", 2)
    bench.work()
    assert bench.recognizer.heard == [2, 1]
    assert bench.kinds(2)[-2:] == ["final", "closed"]


def test_closing_delivers_every_final_before_closed() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, (tone(4, 500) + silence(700)) * 3 + tone(6, 300))
    bench.order("close", 1)
    bench.push(1, tone(9, 1000))
    bench.work()
    assert [text for _, text in bench.texts("final")] == ["word4", "word4", "word4", "word6"]
    assert bench.kinds(1)[-1] == "closed"
    assert bench.kinds(1).count("closed") == 1


def test_closing_in_silence_is_immediate() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, silence(500))
    bench.order("close", 1)
    assert bench.kinds(1) == ["closed"]


def test_flush_ends_the_utterance_at_once() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, tone(5, 400))
    bench.order("flush", 1)
    assert bench.kinds(1)[-2:] == ["ended", "flushed"], "all that it cut off is known before"
    bench.work()
    assert bench.texts("final") == [(1, "word5")]


def test_a_dropped_session_is_forgotten_with_its_work() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, tone(5, 400) + silence(600))
    bench.order("drop", 1)
    assert not bench.core.has_work
    bench.push(1, tone(5, 400) + silence(600))
    bench.order("close", 1)
    assert not bench.core.has_work


def test_under_load_partials_become_rare_and_finals_all_come() -> None:
    slow, quick = Bench(decode_s=0.25), Bench(decode_s=0.01)
    for bench in (slow, quick):
        for session in range(6):
            bench.open(session)
        for turn in range(40):
            for session in range(6):
                bench.push(session, tone(1 + (turn + session) % 9, 200))
            bench.work()
        for session in range(6):
            bench.push(session, silence(600))
        bench.work()
        assert len(bench.texts("final")) == 6
    assert len(quick.recognizer.heard) > 3 * len(slow.recognizer.heard)


def test_partials_that_cost_too_much_are_given_up_and_counted() -> None:
    bench = Bench(decode_s=3.0)
    bench.open(1)
    bench.push(1, tone(5, 1000))
    bench.work()
    bench.push(1, tone(5, 9000))
    bench.work()
    assert len(bench.recognizer.heard) == 1
    assert bench.core.counters["partials_skipped"] == 1
    bench.push(1, silence(600))
    bench.work()
    assert bench.texts("final") == [(1, "word5")]


def test_a_model_that_raises_costs_one_utterance() -> None:
    bench = Bench(raise_on=7)
    bench.open(1, interim=False)
    bench.push(1, tone(7, 500) + silence(700) + tone(5, 500) + silence(700))
    bench.work()
    assert bench.kinds(1).count("failed") == 1
    assert bench.texts("final") == [(1, None), (1, "word5")]
    assert bench.core.counters["decodes_failed"] == 1


def test_a_worker_says_how_far_it_has_settled() -> None:
    bench = Bench()
    bench.open(1)
    bench.push(1, silence(10_000))
    settled = [message["ms"] for message in bench.told if message["ev"] == "settled"]
    assert settled == sorted(settled)
    assert 8_000 <= settled[-1] <= 10_000
    bench.push(1, tone(5, 5000))
    assert settled[-1] <= 10_000, "speech that is not final is not settled"


def test_too_many_waiting_finals_stop_the_reading() -> None:
    bench = Bench()
    bench.open(1, interim=False)
    for _ in range(SPEECH_FINALS_QUEUED_MAX):
        assert not bench.core.saturated
        bench.push(1, tone(5, 200) + silence(600))
    assert bench.core.saturated
    bench.told += bench.core.work()
    assert not bench.core.saturated


@pytest.mark.parametrize("message", [{}, {"op": "dance"}, {"op": "flush", "s": 9}, {"op": "drop", "s": 9}])
def test_orders_that_mean_nothing_change_nothing(message: Message) -> None:
    bench = Bench()
    assert bench.core.receive(message) == []
    assert not bench.core.has_work


def test_ping_is_answered_with_the_counters() -> None:
    (pong,) = Bench().core.receive({"op": "ping"})
    assert pong["ev"] == "pong"
    assert pong["counters"]["decodes"] == 0


def test_a_pause_is_decoded_ahead_and_its_final_is_there_at_once() -> None:
    bench = Bench()
    bench.open(1, interim=False)
    bench.push(1, tone(5, 1000) + silence(300))
    bench.work()
    assert bench.recognizer.heard == [5]
    assert bench.texts("final") == bench.texts("partial") == []
    bench.push(1, silence(300))
    bench.work()
    assert bench.texts("final") == [(1, "word5")]
    assert bench.recognizer.heard == [5], "nothing was decoded twice"
    assert bench.core.counters["finals_ahead"] == 1


@pytest.mark.parametrize(("decode_s", "heard"), [(0.9, [5, 6, 6]), (1.2, [5, 6])])
def test_a_dear_model_is_not_asked_in_pauses(decode_s: float, heard: list[int]) -> None:
    bench = Bench(decode_s=decode_s)
    bench.open(1, interim=False)
    bench.push(1, tone(5, 1000) + silence(600))
    bench.work()
    # What a decode costs is known now; somebody pauses in mid-utterance and goes on.
    bench.push(1, silence(600) + tone(6, 1000) + silence(300))
    bench.work()
    bench.push(1, tone(6, 500) + silence(300))
    bench.push(1, silence(300))
    bench.work()
    assert bench.texts("final") == [(1, "word5"), (1, "word6")]
    assert bench.recognizer.heard == heard


def test_who_speaks_on_after_a_pause_gets_all_words_in_the_final() -> None:
    bench = Bench()
    bench.open(1, interim=False)
    bench.push(1, tone(5, 1000) + silence(300))
    bench.work()
    bench.push(1, tone(6, 500) + silence(600))
    bench.work()
    assert bench.texts("final") == [(1, "word6")]
    assert bench.core.counters["finals_ahead"] == 0


def test_who_pauses_is_decoded_before_who_speaks_on() -> None:
    bench = Bench()
    for session in (1, 2):
        bench.open(session)
        bench.push(session, tone(session, 4000))
    bench.push(2, silence(300))
    bench.told += bench.core.work()
    assert bench.texts("partial") == [(2, "word2")], "the other waits longer, but only for a partial"


def test_what_is_finished_is_decoded_before_who_pauses() -> None:
    bench = Bench()
    for session in (1, 2):
        bench.open(session)
        bench.push(session, tone(session, 1000) + silence(300 * session))
    bench.told += bench.core.work()
    assert bench.texts("final") == [(2, "word2")]


class TestInTheMiddleOfADecode:
    """What happens between the steps of a model."""

    def during(self, bench: Bench, happens: Callable[[], None]) -> None:
        """Let the next decode be interrupted once."""
        hear = bench.recognizer.transcribe

        def interrupted(*segment: Any) -> Any:
            bench.recognizer.transcribe = hear  # type: ignore[method-assign]
            happens()
            bench.told += bench.core.finals_ready()
            if bench.core.should_abandon:
                raise DecodeAbandoned
            return hear(*segment)

        bench.recognizer.transcribe = interrupted  # type: ignore[method-assign]

    def test_a_final_that_is_known_is_told(self) -> None:
        bench = Bench()
        for session in (1, 2):
            bench.open(session)
        bench.push(1, tone(1, 1000) + silence(300))
        bench.work()
        bench.push(2, tone(2, 1500))
        self.during(bench, lambda: bench.push(1, silence(300)))
        bench.work()
        assert [(m["ev"], m["text"]) for m in bench.told if m["ev"] in ("partial", "final")] == [
            ("partial", "word1"),
            ("final", "word1"),
            ("partial", "word2"),
        ]

    @pytest.mark.parametrize("pause_ms", [300, 600])
    def test_a_partial_is_given_up_for_a_final_that_is_due_or_soon_will_be(self, pause_ms: int) -> None:
        bench = Bench()
        for session in (1, 2):
            bench.open(session)
        bench.push(2, tone(2, 1500))
        self.during(bench, lambda: bench.push(1, tone(1, 1000) + silence(pause_ms)))
        bench.work()
        assert bench.recognizer.heard == [1, 2], "the one that waits comes first, nothing is lost"
        assert bench.core.counters["partials_abandoned"] == 1

    def test_a_partial_is_given_up_once_and_then_finished(self) -> None:
        bench = Bench()
        for session in (1, 2, 3):
            bench.open(session)
        bench.push(2, tone(2, 1500))
        self.during(bench, lambda: bench.push(1, tone(1, 1000) + silence(600)))
        bench.told += bench.core.work() + bench.core.work()
        assert bench.texts("final") == [(1, "word1")]
        self.during(bench, lambda: bench.push(3, tone(3, 1000) + silence(600)))
        bench.work()
        assert bench.recognizer.heard == [1, 2, 3]

    def test_a_final_is_never_given_up(self) -> None:
        bench = Bench()
        for session in (1, 2):
            bench.open(session, interim=False)
        bench.push(2, tone(2, 500) + silence(600))
        self.during(bench, lambda: bench.push(1, tone(1, 500) + silence(600)))
        bench.work()
        assert bench.recognizer.heard == [2, 1]
        assert bench.core.counters["partials_abandoned"] == 0

    def test_a_final_never_overtakes_one_of_its_session(self) -> None:
        bench = Bench()
        bench.open(1, interim=False)
        bench.push(1, tone(1, 500) + silence(600))
        # The second utterance is decoded ahead only when the first is done, so it cannot be known.
        self.during(bench, lambda: bench.push(1, tone(2, 500) + silence(600)))
        bench.work()
        assert bench.texts("final") == [(1, "word1"), (1, "word2")]

    def test_the_last_final_comes_before_the_end_of_its_session(self) -> None:
        bench = Bench()
        bench.open(1, interim=False)
        bench.push(1, tone(1, 500) + silence(600))
        self.during(bench, lambda: bench.order("close", 1))
        bench.work()
        assert bench.kinds(1)[-2:] == ["final", "closed"]
        assert bench.kinds(1).count("closed") == 1

    @pytest.mark.parametrize("pause_ms", [0, 600])
    def test_a_session_that_is_dropped_is_told_nothing_more(self, pause_ms: int) -> None:
        bench = Bench()
        bench.open(1)
        bench.push(1, tone(1, 1500) + silence(pause_ms))
        self.during(bench, lambda: bench.order("drop", 1))
        bench.work()
        assert not {"partial", "final", "closed"} & set(bench.kinds(1))

    def test_a_partial_whose_utterance_ended_is_not_told_but_may_be_the_final(self) -> None:
        bench = Bench()
        bench.open(1)
        bench.push(1, tone(1, 1500) + silence(200))
        self.during(bench, lambda: bench.push(1, silence(400)))
        bench.work()
        assert bench.texts("partial") == []
        assert bench.texts("final") == [(1, "word1")]
        assert bench.recognizer.heard == [1]


def test_a_failed_decode_ahead_is_tried_once_more() -> None:
    bench = Bench(raise_on=7)
    bench.open(1)
    bench.push(1, tone(7, 500) + silence(300))
    bench.work()
    bench.recognizer.options = {}
    bench.push(1, silence(400))
    bench.work()
    assert bench.texts("final") == [(1, "word7")]


def incremental(interim: bool, **options: Any) -> tuple[Bench, FakeIncremental]:
    bench = Bench(make=FakeIncremental, **options)
    assert isinstance(bench.recognizer, FakeIncremental)
    bench.open(1, interim=interim)
    return bench, bench.recognizer


@pytest.mark.parametrize("interim", [True, False])
def test_a_model_that_hears_bit_by_bit_hears_each_sample_once(interim: bool) -> None:
    bench, model = incremental(interim)
    for _ in range(20):
        bench.push(1, tone(5, 200))
        bench.work()
    bench.push(1, silence(600))
    bench.work()
    assert bench.texts("final") == [(1, "word5")]
    assert bench.texts("partial") == ([(1, "word5...")] if interim else [])
    assert model.begun == 1
    assert model.heard_bytes == len(model.ended[0])
    assert len(model.heard) > 5, "it was fed while the speaker spoke"


def test_what_such_a_model_says_in_a_pause_is_not_taken_for_its_last_word() -> None:
    bench, _ = incremental(interim=False)
    bench.push(1, tone(5, 1000) + silence(300))
    bench.work()
    bench.push(1, silence(300))
    bench.work()
    assert bench.texts("final") == [(1, "word5")]
    assert bench.core.counters["finals_ahead"] == 0


def test_an_utterance_that_was_cut_behind_what_was_heard_is_heard_anew() -> None:
    bench, model = incremental(interim=True)
    for _ in range(130):
        bench.push(1, tone(5, 100))
        bench.work()
    bench.order("close", 1)
    bench.work()
    assert len(model.ended) == 2
    assert model.begun >= 2
    assert sum(map(len, model.ended)) >= len(tone(5, 12_900))


def test_a_decoder_that_fails_is_replaced_for_the_final() -> None:
    bench, model = incremental(interim=True, raise_on=7)
    bench.push(1, tone(7, 1000))
    bench.work()
    model.options = {}
    bench.push(1, tone(7, 500) + silence(600))
    bench.work()
    assert bench.texts("final") == [(1, "word7")]
    assert model.begun == 2
    assert len(model.ended[0]) >= len(tone(7, 1500))
