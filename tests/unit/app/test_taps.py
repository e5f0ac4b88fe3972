"""What a stream is opened with, and what the book says of it from then on."""

from typing import Any

import pytest

from offhook import __version__
from offhook.call import commands as ask
from offhook.proto import sip
from tests.fakes.runners import House

pytestmark = pytest.mark.unit

URL = "ws://app.example/media?token=hidden"


def command(house: House, what: ask.Command) -> None:
    house.calls.command(house.call_control_id, type(what).__name__, what)


async def streaming(house: House, **options: Any) -> None:
    """Bring a call to its first stream."""
    house.egress.answer.set()
    call = house.invite()
    command(house, ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    command(house, ask.StartStream(stream=ask.StreamOptions(url=URL, **options)))


def states(house: House, wanted: str = "all") -> list[str]:
    items, _ = house.calls.streams(call_control_id=None, wanted=wanted, first=0, count=100)
    return [item["state"] for item in items]


async def test_the_settings_of_streams_reach_the_media_core(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {
        "frame_ms": 40,
        "fill_gaps": "jump",
        "buffer_ms": 2000,
        "connect_timeout_s": 1.5,
        "connect_retry_s": [0.5],
        "ping_s": 0,
        "l16_byte_order": "big",
        "binary_media": True,
    }
    house = House(flags={"stream": flags})
    opened: list[dict[str, Any]] = []
    add_stream = house.media.add_stream

    def note(leg_id: int, tap_id: int, **options: Any) -> None:
        opened.append(options)
        add_stream(leg_id, tap_id, **options)

    monkeypatch.setattr(house.media, "add_stream", note)
    await streaming(house, auth_token="hidden")
    await house.settle()
    (options,) = opened
    assert {name: options[name] for name in ("frame_ms", "fill_gaps", "buffer_ms", "l16_byte_order")} == {
        "frame_ms": 40,
        "fill_gaps": False,
        "buffer_ms": 2000,
        "l16_byte_order": "big",
    }
    assert (options["connect_timeout_ms"], options["connect_retry_ms"], options["ping_ms"]) == (
        1500,
        [500],
        0,
    )
    assert options["binary_media"] is True
    assert options["headers"] == [
        ("User-Agent", f"offhook/{__version__}"),
        ("x-telnyx-streaming-auth-token", "hidden"),
    ]
    assert options["connected_json"] == (
        '{"event":"connected","version":"1.0.0","connected":{"x-telnyx-streaming-auth-token":"hidden"}}'
    )


async def test_the_book_follows_a_stream_from_its_look_up_to_its_end() -> None:
    house = House()
    await streaming(house)
    assert states(house) == [], "the command is decided, and its effect waits"
    await house.settle()
    assert states(house) == ["begun"]
    house.egress.answer.clear()
    command(house, ask.StartStream(stream=ask.StreamOptions(url=URL)))
    await house.settle()
    assert states(house) == ["begun", "connecting"], "its name is being looked up"
    command(house, ask.StopStream())
    await house.settle()
    assert states(house, "live") == []
    assert states(house, "stopped") == ["stopped", "stopped"]


async def test_the_book_tells_why_a_stream_failed_and_ends_with_the_call() -> None:
    house = House()
    house.egress.known = False
    await streaming(house)
    await house.settle()
    house.egress.known = True
    command(house, ask.StartStream(stream=ask.StreamOptions(url=URL)))
    await house.settle()
    assert states(house) == ["begun", "failed"]
    command(house, ask.Hangup())
    await house.settle()
    assert states(house) == ["stopped", "failed"]
    items, _ = house.calls.streams(call_control_id=None, wanted="all", first=0, count=2)
    assert items[0]["stop_reason"] == "call_ended"
    assert "app.example" in items[1]["failure_detail"]
    assert "hidden" not in repr(items)
    assert len(house.services.stream_book) == 0
    house.assert_nothing_left()
