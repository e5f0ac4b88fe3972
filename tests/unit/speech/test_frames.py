"""The framing between the server and its workers refuses what it does not know."""

import pytest

from offhook.base.limits import SPEECH_FRAME_BYTES_MAX
from offhook.edge.speech.frames import Audio, FrameError, FrameReader, pack_audio, pack_message

pytestmark = pytest.mark.unit


def read(data: bytes) -> list[object]:
    return list(FrameReader().feed(data))


def test_frames_come_out_as_they_went_in() -> None:
    frames = [
        {"op": "ping"},
        Audio(7, 1 << 40, b"\x01\x02"),
        {"ev": "final", "text": "h\u00e9"},
        Audio(1, -5, b""),
    ]
    data = b"".join(
        pack_audio(frame) if isinstance(frame, Audio) else pack_message(frame) for frame in frames
    )
    assert read(data) == frames


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00",
        (SPEECH_FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01X",
        b"\x00\x00\x00\x03A\x00\x00",
        b"\x00\x00\x00\x03J{]",
        b"\x00\x00\x00\x03J[]",
        b"\x00\x00\x00\x03J\xff\xff",
    ],
    ids=["empty", "too long", "unknown kind", "short audio", "not JSON", "not an object", "not UTF-8"],
)
def test_anything_else_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        read(data)


def test_audio_and_text_are_kept_out_of_reprs() -> None:
    assert "secret" not in repr(Audio(1, 0, b"secret"))
