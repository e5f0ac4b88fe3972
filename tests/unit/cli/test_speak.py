"""`offhook speak` writes what a call would hear, or says in one sentence why not."""

import json
import wave
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from offhook.app.cli import app
from offhook.edge.voice.local import SAMPLE_RATE_HZ, LocalVoice
from offhook.edge.voice.protocol import VoiceNotInstalled
from tests.fakes.voice import VoiceInMemory, spoken

pytestmark = pytest.mark.unit


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["speak", *arguments])


@pytest.fixture(autouse=True)
def voice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OFFHOOK_CONFIG", raising=False)
    monkeypatch.setattr(LocalVoice, "check", lambda self, options: None)
    monkeypatch.setattr("offhook.app.cli.speak.make_voice", lambda settings: VoiceInMemory())


def test_text_and_ssml_end_up_in_the_file() -> None:
    told = run("<speak>Hello<break time='250ms'/>you</speak>", "--ssml", "--out", "f.wav", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.output) == {"file": "f.wav", "audio_s": 1.25}
    with wave.open("f.wav") as file:
        assert (file.getframerate(), file.getnchannels()) == (SAMPLE_RATE_HZ, 1)
        pcm = file.readframes(file.getnframes())
    assert pcm == spoken("Hello") + bytes(SAMPLE_RATE_HZ // 2) + spoken("you")
    assert run("Hello", "--out", "g.wav").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("<b>", "--ssml"), "the root must be `speak`"),
        (("x" * 3001,), "more than 3000 characters"),
    ],
)
def test_what_cannot_be_said_is_one_sentence_and_status_2(arguments: tuple[str, ...], sentence: str) -> None:
    told = run(*arguments, "--out", "f.wav")
    assert told.exit_code == 2
    assert sentence in told.output
    assert not Path("f.wav").exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: LocalVoice, options: object) -> None:
        raise VoiceNotInstalled("the local voice is not installed: pip install 'offhook[voice]'")

    monkeypatch.setattr(LocalVoice, "check", missing)
    told = run("Hello", "--out", "f.wav")
    assert told.exit_code == 2
    assert "pip install 'offhook[voice]'" in told.output
    assert not Path("f.wav").exists()
