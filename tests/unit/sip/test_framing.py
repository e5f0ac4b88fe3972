import pytest

from offhook.base.limits import SIP_MESSAGE_BYTES_MAX
from offhook.proto.sip.framing import Broken, Oversized, Ping, StreamFramer

pytestmark = pytest.mark.unit

ONE = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 4\r\n\r\nbody"
TWO = b"OPTIONS sip:y SIP/2.0\nl : 0\n\n"


def test_messages_are_cut_by_content_length_wherever_the_reads_end() -> None:
    data = ONE + TWO + ONE
    for size in (1, 2, 3, 7, len(data)):
        framer, items = StreamFramer(), []
        for start in range(0, len(data), size):
            items.extend(framer.feed(data[start : start + size]))
        assert items == [ONE, TWO, ONE], size


def test_a_double_line_end_between_messages_is_a_ping_and_a_single_one_is_nothing() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == [Ping()]
    assert framer.feed(b"\r\n") == []
    assert framer.feed(ONE) == [ONE]
    assert framer.feed(b"\r\n\r") == []
    assert framer.feed(b"\n" + ONE) == [Ping(), ONE]


def test_a_message_over_the_bound_keeps_its_head_and_ends_the_stream() -> None:
    framer = StreamFramer()
    head = b"INVITE sip:x SIP/2.0\r\nContent-Length: 70000\r\n\r\n"
    assert framer.feed(head + b"x" * 10) == [Oversized(head)]
    assert framer.feed(ONE) == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"INVITE sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n", "content_length"),
        (b"x" * (SIP_MESSAGE_BYTES_MAX + 1), "head_too_large"),
        (b"x" * (SIP_MESSAGE_BYTES_MAX + 1) + b"\r\n\r\n", "head_too_large"),
    ],
)
def test_bytes_that_cannot_be_cut_end_the_stream(data: bytes, kind: str) -> None:
    framer = StreamFramer()
    assert framer.feed(data) == [Broken(kind)]
    assert framer.feed(ONE) == []


def test_without_content_length_a_stream_message_has_no_body() -> None:
    assert StreamFramer().feed(b"OPTIONS sip:x SIP/2.0\r\n\r\n" + ONE) == [
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        ONE,
    ]
