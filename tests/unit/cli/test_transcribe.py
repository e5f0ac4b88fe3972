"""`offhook transcribe` tells what an engine hears in a file, or says in one sentence why not."""

import json
import wave
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from offhook.app.cli import app
from offhook.edge.speech.protocol import OnEvent, SpeechConfig, SpeechNotInstalled
from tests.fakes.speech_sessions import HandEngine, HandSession, service_of

pytestmark = pytest.mark.unit

SCRIPT = [
    {"at_ms": 400, "text": "good", "is_final": False},
    {"at_ms": 1200, "text": "good morning"},
    {"at_ms": 9000, "text": "never said", "is_final": False},
]


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["transcribe", *arguments], input=stdin)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OFFHOOK_CONFIG", raising=False)
    Path("script.json").write_text(json.dumps(SCRIPT))
    Path("offhook.toml").write_text(
        '[speech]\nscript = "script.json"\nengines = { Deepgram = "scripted", xAI = "reject" }\n'
    )
    for channels, rate_hz in ((1, 8000), (2, 44_100)):
        with wave.open(f"{channels}.wav", "wb") as file:
            file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
            file.writeframes(bytes(2 * channels * rate_hz * 2))


def test_finals_are_told_with_their_times_and_partials_if_asked_for() -> None:
    told = run("1.wav", "--engine", "scripted")
    assert told.exit_code == 0, told.output
    assert told.stdout == "[00:00.4-00:01.2] good morning\n"
    assert "2.0 s by the scripted engine" in told.stderr
    told = run("1.wav", "--engine", "scripted", "--partials")
    assert told.stdout.splitlines() == ["[00:00.4-00:00.4] ~ good", "[00:00.4-00:01.2] good morning"]


def test_each_channel_has_a_recogniser_and_a_name() -> None:
    told = run("2.wav", "--engine", "scripted", "--json")
    *finals, result = lines(told)
    assert [(final["channel"], final["transcript"]) for final in finals] == [
        (1, "good morning"),
        (2, "good morning"),
    ]
    assert (result["event"], result["channels"], result["finals"], result["dropped_ms"]) == (
        "result",
        2,
        2,
        0,
    )
    assert result["audio_s"] == pytest.approx(2, abs=0.02)
    [final, _] = lines(run("2.wav", "--engine", "scripted", "--json", "--channel", "2"))
    assert final == {
        "event": "final",
        "channel": 2,
        "transcript": "good morning",
        "confidence": 0.9,
        "language": "en",
        "start_ms": 400,
        "end_ms": 1200,
        "utterance_id": 0,
        "words": [],
    }


def test_standard_input_is_heard() -> None:
    told = run("-", "--engine", "Deepgram", "--json", stdin=Path("1.wav").read_bytes())
    assert [line["event"] for line in lines(told)] == ["final", "result"]
    assert lines(told)[1]["engine"] == "scripted", "a name of the API leads where the settings say"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none.wav",), "none.wav cannot be read: No such file or directory."),
        (("script.json",), "script.json cannot be transcribed: the file is neither a wav nor an mp3 file."),
        (("1.wav", "--engine", "xai"), "the transcription engine xAI is not offered here"),
        (("1.wav", "--engine", "none"), "There is no speech engine called none: installed are "),
        (("1.wav", "--channel", "2"), "1.wav has 1 channel(s), not 2."),
    ],
)
def test_what_will_not_do_is_one_sentence_and_status_2(arguments: tuple[str, ...], sentence: str) -> None:
    engine = () if "--engine" in arguments else ("--engine", "scripted")
    told = run(*arguments, *engine)
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert told.stdout == ""


class FarEngine(HandEngine):
    """An engine of the network that says its words when it is left, or is lost after `lost_after` pieces."""

    lost_after: int | None = None

    async def open(self, config: SpeechConfig, on_event: OnEvent) -> HandSession:
        session = await super().open(config, on_event)
        session.words_at_close = "good bye"
        push = session.push

        def push_or_break(pcm: bytes, at_ms: int) -> None:
            push(pcm, at_ms)
            if self.lost_after is not None and len(session.heard) > self.lost_after and not session.closed:
                session.break_off("the service hung up")

        session.push = push_or_break  # type: ignore[method-assign]
        session.waiting_ms = lambda: 0  # type: ignore[method-assign]
        return session


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> FarEngine:
    """An engine of the network, and a clock that only sleeping moves."""
    engine = FarEngine("scripted", needs_network=True, sample_rates_hz=(16_000,))
    now_s = 1000.0

    class Clock:
        def now(self) -> float:
            return now_s

    async def sleep(duration_s: float) -> None:
        nonlocal now_s
        now_s += duration_s

    monkeypatch.setattr("offhook.app.file_transcript.make_speech", lambda settings: service_of(engine))
    monkeypatch.setattr("offhook.app.file_transcript.SystemClock", Clock)
    monkeypatch.setattr("offhook.app.file_transcript.pause", sleep)
    return engine


def test_an_engine_of_the_network_hears_in_real_time_and_may_say_its_words_last(far: FarEngine) -> None:
    told = run("2.wav", "--engine", "scripted", "--json", "--channel", "1")
    [final, result] = lines(told)
    assert final["transcript"] == "good bye"
    assert result["failure"] is None
    assert result["took_s"] == pytest.approx(2, abs=0.15)
    assert result["audio_s"] == pytest.approx(2, abs=0.02)
    assert far.sessions[0].flushes == 1


def test_an_engine_that_is_lost_is_told_and_is_status_1(far: FarEngine) -> None:
    far.lost_after = 5
    told = run("1.wav", "--engine", "scripted")
    assert told.exit_code == 1
    assert "The scripted engine failed: the service hung up." in told.stderr
    assert len(far.sessions[0].heard) < 20, "the rest of the file is not waited for"
    assert lines(run("1.wav", "--engine", "scripted", "--json"))[-1]["failure"] == "the service hung up"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SpeechNotInstalled("the local engine is not installed: pip install 'offhook[speech]'")

    monkeypatch.setattr("offhook.edge.speech.moonshine.require_runtime", missing)
    told = run("1.wav", "--engine", "local")
    assert told.exit_code == 2
    assert "pip install 'offhook[speech]'" in told.stderr
