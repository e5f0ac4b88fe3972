"""The operator decides which engine speaks for which voice."""

import pytest

from offhook.edge.voice.protocol import VoiceRejected
from offhook.edge.voice.voice_map import VoiceMap

pytestmark = pytest.mark.unit

ROUTES = {"AWS": "one", "AWS.Polly.Joanna": "two", "female": "three", "Azure": "reject"}


@pytest.mark.parametrize(
    ("voice", "engine"),
    [
        ("AWS.Polly.Joanna", "two"),
        ("aws.polly.joanna", "two"),
        ("AWS.Polly.Joanna-Neural", "one"),
        ("AWS.Polly.Brian", "one"),
        ("AWSx", "local"),
        ("female", "three"),
        ("male", "local"),
        ("Telnyx.KokoroTTS.af", "local"),
        ("..", "local"),
    ],
)
def test_the_longest_name_that_fits_decides(voice: str, engine: str) -> None:
    assert VoiceMap(ROUTES).engine_for(voice) == engine


def test_a_voice_may_be_refused_and_so_may_all_others() -> None:
    with pytest.raises(VoiceRejected):
        VoiceMap(ROUTES).engine_for("Azure.en-US-AvaNeural")
    with pytest.raises(VoiceRejected):
        VoiceMap(default="reject").engine_for("female")
    assert VoiceMap(ROUTES).engines() == {"one", "two", "three", "local"}
    assert VoiceMap(default="reject").engines() == set()
