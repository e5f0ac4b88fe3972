"""The book of streams: where each stands, how the last ones ended, and what is never shown."""

from typing import Any

import pytest

from offhook.app.stream_book import StreamBook, StreamState
from offhook.base import limits
from offhook.base.clock import iso_time
from offhook.base.urls import masked_url
from offhook.call import effects as do
from offhook.call.values import Track
from tests.fakes.runners import HandClock

pytestmark = pytest.mark.unit

COUNTERS = {"kind": "stream", "frames_sent": 7, "frames_dropped": 0, "rx_packets": 0, "chunks": 0}


class Shelf:
    """A book, its clock, and a media core that counts how often it is asked."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.asked: list[int] = []
        self.busy = False
        self.book = StreamBook(self.clock, self.taps)

    def taps(self, media_leg_id: int) -> dict[int, dict[str, Any]] | None:
        self.asked.append(media_leg_id)
        if self.busy:
            return None
        return {41: COUNTERS, 42: COUNTERS | {"frames_sent": 9}}

    def open(self, name: str, *, call: str = "v3:a", leg: int = 1, **options: Any) -> None:
        effect = do.OpenStream(
            **{
                "stream_id": name,
                "url": "wss://user:word@app.example:8443/media?token=hidden",
                "tracks": (Track.RX,),
                "codec": "PCMU",
                "sample_rate_hz": 8000,
                "app_codec": None,
                "app_sample_rate_hz": 8000,
                "auth_token": "hidden",
                "start": {"call_leg_id": "leg", "call_session_id": "session"},
                "stop": {"call_control_id": call},
                **options,
            }
        )
        self.book.opening(effect, leg)

    def shown(self, wanted: str = "live", call: str | None = None) -> list[dict[str, Any]]:
        items, total = self.book.page(call_control_id=call, wanted=wanted, first=0, count=1000)
        assert total == len(items)
        return items


def test_a_stream_is_shown_from_its_first_try_to_its_end() -> None:
    shelf = Shelf()
    shelf.open("s", tracks=(Track.RX, Track.TX), app_codec="L16", app_sample_rate_hz=16_000)
    (shown,) = shelf.shown()
    assert shown == {
        "record_type": "stream",
        "stream_id": "s",
        "call_control_id": "v3:a",
        "call_leg_id": "leg",
        "call_session_id": "session",
        "stream_url": "wss://...@app.example:8443/media?...",
        "stream_type": "websocket",
        "state": "connecting",
        "stream_track": "both_tracks",
        "to_app": {"codec": "PCMU", "sample_rate": 8000},
        "from_app": {"codec": "L16", "sample_rate": 16_000},
        "started_at": iso_time(shelf.clock.at_s),
        "connected_at": None,
        "ended_at": None,
        "stop_reason": None,
        "failure_reason": None,
        "failure_detail": None,
        "counters": {},
    }
    shelf.book.opened_tap("s", 41)
    shelf.clock.at_s += 2
    states = []
    for state in (StreamState.CONNECTED, StreamState.BEGUN, StreamState.CLOSING):
        shelf.book.moved("s", state)
        states.append(shelf.shown()[0]["state"])
    assert states == ["connected", "begun", "closing"]
    (shown,) = shelf.shown()
    assert shown["connected_at"] == iso_time(shelf.clock.at_s)
    assert shown["counters"] == {"frames_sent": 7, "frames_dropped": 0}
    shelf.book.stopped("s", "command", COUNTERS | {"frames_sent": 11})
    assert shelf.shown() == []
    (shown,) = shelf.shown("ended")
    assert (shown["state"], shown["stop_reason"], shown["counters"]["frames_sent"]) == (
        "stopped",
        "command",
        11,
    )
    assert shown["ended_at"] == iso_time(shelf.clock.at_s)


def test_a_stream_that_lost_its_socket_says_so_and_stands_where_it_stood() -> None:
    shelf = Shelf()
    shelf.open("s")
    states = []
    for state in (
        StreamState.CONNECTED,
        StreamState.RECONNECTING,
        StreamState.CONNECTED,
        StreamState.RECONNECTING,
        StreamState.BEGUN,  # the start frame is let out, but there is nobody
        StreamState.CONNECTED,
        StreamState.RECONNECTING,
        StreamState.CLOSING,
        StreamState.CONNECTED,
    ):
        shelf.book.moved("s", state)
        states.append(shelf.shown()[0]["state"])
    assert states == [
        "connected",
        "reconnecting",
        "connected",
        "reconnecting",
        "reconnecting",
        "begun",
        "reconnecting",
        "closing",
        "closing",
    ]


def test_a_failed_stream_says_why() -> None:
    shelf = Shelf()
    shelf.open("s")
    shelf.book.failed("s", "connection_failed", "HTTP 403")
    (shown,) = shelf.shown("failed")
    assert (shown["failure_reason"], shown["failure_detail"]) == ("connection_failed", "HTTP 403")
    assert shelf.shown("stopped") == []


def test_what_is_late_changes_nothing() -> None:
    shelf = Shelf()
    shelf.open("s")
    shelf.book.moved("s", StreamState.CLOSING)
    shelf.book.moved("s", StreamState.BEGUN)
    assert shelf.shown()[0]["state"] == "closing"
    shelf.book.stopped("s", "command")
    shelf.book.failed("s", "connection_lost", "late")
    shelf.book.moved("s", StreamState.CONNECTED)
    (shown,) = shelf.shown("all")
    assert (shown["state"], shown["failure_reason"]) == ("stopped", None)


def test_the_streams_of_one_call_are_found_and_asked_for_at_once() -> None:
    shelf = Shelf()
    for name, call, leg, tap in (("s", "v3:a", 1, 41), ("t", "v3:a", 1, 42), ("u", "v3:b", 2, 41)):
        shelf.open(name, call=call, leg=leg)
        shelf.book.opened_tap(name, tap)
    assert [item["counters"]["frames_sent"] for item in shelf.shown(call="v3:a")] == [7, 9]
    assert shelf.asked == [1]
    assert shelf.shown(call="v3:none") == []


def test_a_page_asks_only_for_what_it_shows() -> None:
    shelf = Shelf()
    for number in range(5):
        shelf.open(f"s{number}", leg=number)
        shelf.book.opened_tap(f"s{number}", 41)
    items, total = shelf.book.page(call_control_id=None, wanted="all", first=3, count=2)
    assert ([item["stream_id"] for item in items], total) == (["s3", "s4"], 5)
    assert shelf.asked == [3, 4]


def test_a_core_that_is_too_busy_is_asked_only_once() -> None:
    shelf = Shelf()
    shelf.busy = True
    for number in range(5):
        shelf.open(f"s{number}", leg=number)
        shelf.book.opened_tap(f"s{number}", 41)
    assert [item["counters"] for item in shelf.shown()] == [{}] * 5
    assert shelf.asked == [0]


def test_a_leg_that_is_gone_leaves_no_live_stream() -> None:
    shelf = Shelf()
    shelf.open("s", leg=1)
    shelf.open("t", leg=2)
    shelf.book.leg_released(1)
    assert [item["stream_id"] for item in shelf.shown()] == ["t"]
    assert len(shelf.book) == 1


def test_only_the_last_ended_streams_are_kept() -> None:
    shelf = Shelf()
    for number in range(limits.ENDED_STREAMS_KEPT_MAX + 3):
        shelf.open(str(number))
        shelf.book.stopped(str(number), "command")
    shown = shelf.shown("ended")
    assert len(shown) == limits.ENDED_STREAMS_KEPT_MAX
    assert shown[0]["stream_id"] == str(limits.ENDED_STREAMS_KEPT_MAX + 2), "newest first"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://app.example/media", "wss://app.example/media"),
        ("wss://app.example/media?key=hidden", "wss://app.example/media?..."),
        ("ws://a:hidden@h:1/", "ws://...@h:1/"),
        ("ws://hidden@[::1]:1/x#hidden", "ws://...@[::1]:1/x"),
        ("http://[hidden", "..."),
    ],
)
def test_a_shown_url_holds_no_secret(url: str, shown: str) -> None:
    assert masked_url(url) == shown
