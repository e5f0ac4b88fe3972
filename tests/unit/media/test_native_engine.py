"""What the native engine's wrapper adds: typed errors, and events one by one."""

import asyncio
import sys
from pathlib import Path

import pytest

from offhook.base.errors import ConfigError
from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.native import NativeEngine

pytestmark = pytest.mark.unit


def start(**changes: object) -> NativeEngine:
    usual = {"workers": 1, "bind_address": "127.0.0.1", "port_range": (24_400, 24_419), "drain_s": 0}
    return NativeEngine(**(usual | changes))  # type: ignore[arg-type]


def test_a_missing_core_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "offhook._media", None)
    monkeypatch.delattr("offhook._media", raising=False)
    with pytest.raises(ConfigError, match="run `make setup`"):
        start()


def test_settings_that_make_no_sense_are_said_in_one_sentence(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for changes, sentence in [
        ({"bind_address": "nonsense"}, "is not an IP address"),
        ({"port_range": (10, 5)}, "10-5 is not a range of UDP ports"),
        ({"workers": 0}, "workers must be 1 to"),
        ({"ca_file": empty}, "holds no certificate"),
        ({"ca_file": tmp_path / "none.pem"}, "cannot be used"),
        ({"port_range": (-1, 5)}, "out of range"),
    ]:
        with pytest.raises(MediaError, match=sentence):
            start(**changes)


async def test_one_event_that_goes_wrong_does_not_hold_up_the_others() -> None:
    engine = start()
    told: list[events.MediaEvent] = []
    all_told = asyncio.Event()

    def on_event(event: events.MediaEvent) -> None:
        told.append(event)
        if len(told) == 3:
            all_told.set()
        raise ValueError("a fault of the receiver")

    engine.attach(asyncio.get_running_loop(), on_event)
    try:
        for leg_id in range(3):
            engine.open_leg(leg_id, rtcp_mux=True)
            engine.close_leg(leg_id)
        async with asyncio.timeout(30):
            await all_told.wait()
    finally:
        engine.detach()
        engine.shutdown()
    assert {type(event) for event in told} == {events.LegClosed}


def test_after_the_end_calls_are_refused_and_the_last_events_can_be_taken() -> None:
    engine = start()
    engine.open_leg(1, rtcp_mux=True)
    engine.shutdown()
    engine.shutdown()
    with pytest.raises(MediaError, match="shut down"):
        engine.open_leg(2, rtcp_mux=True)
    with pytest.raises(MediaError, match="shut down"):
        engine.stats(1)
    assert [type(event) for event in engine.poll()] == [events.LegClosed]
