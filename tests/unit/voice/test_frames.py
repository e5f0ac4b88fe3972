"""The bytes between the server and a voice worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.base.limits import VOICE_FRAME_BYTES_MAX
from offhook.edge.voice import frames

pytestmark = pytest.mark.unit

FRAMES = [(frames.READY, b""), (frames.PCM, b"\x01\x02" * 50), (frames.DONE, b"")]


@given(st.integers(1, 20))
def test_frames_survive_any_cutting(size: int) -> None:
    data = b"".join(frames.pack(*frame) for frame in FRAMES)
    reader = frames.FrameReader()
    found = [frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])]
    assert found == FRAMES


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\0", (VOICE_FRAME_BYTES_MAX + 1).to_bytes(4, "big"), b"\0\0\0\x01X", b"GET / HTTP/1.1"],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(frames.FrameError):
        list(frames.FrameReader().feed(data))
