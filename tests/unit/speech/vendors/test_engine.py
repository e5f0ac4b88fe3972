"""What a vendor's engine refuses before a connection is made."""

import asyncio
from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    LanguageUnsupported,
    ParameterUnsupported,
    SpeechConfig,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.vendors.engine import VendorEngine
from tests.fakes.vendors.memory import MemoryDialect, MemoryVendor

pytestmark = pytest.mark.unit

KEY = {"api_key": "secret"}


def engine(vendor: MemoryVendor | None = None) -> VendorEngine:
    info = EngineInfo(name="memory", languages=("en",), parameters=frozenset({"smart_format"}))
    return VendorEngine(info, MemoryDialect, transport=vendor or MemoryVendor())


def asked(**fields: Any) -> SpeechConfig:
    return SpeechConfig(**{"options": KEY, **fields})


def test_a_good_request_is_taken() -> None:
    engine().check(asked(parameters={"smart_format": False, "hints": ["Offhook"]}))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"options": {}}, SpeechUnavailable),
        ({"options": {"api_key": ""}}, SpeechUnavailable),
        ({"language": "de"}, LanguageUnsupported),
        ({"parameters": {"numerals": True}}, ParameterUnsupported),
        ({"sample_rate_hz": 16_000}, SpeechUnavailable),
    ],
)
async def test_what_cannot_be_served_is_refused_at_once(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    vendor = MemoryVendor()
    with pytest.raises(error):
        await engine(vendor).open(asked(**fields), lambda event: None)
    assert vendor.dialled_at_s == []


async def test_a_key_that_is_missing_is_named_at_the_start_of_the_server() -> None:
    with pytest.raises(SpeechUnavailable, match=r"memory\.api_key"):
        await engine().ensure_available({})
    await engine().ensure_available(KEY)


async def test_an_account_has_room_for_so_many_tracks() -> None:
    full = engine()
    config = asked(options={**KEY, "sessions_max": 2})
    events: list[SpeechEvent] = []
    sessions = [await full.open(config, events.append) for _ in range(2)]
    assert full.room() == 0
    with pytest.raises(LimitReached, match=r"memory\.sessions_max"):
        full.check(config)
    await sessions[0].close()
    assert full.room() == 1
    full.check(config)
    await full.close()
    assert [type(event) for event in events].count(Closed) == 2
    assert full.counters()["sessions"] == 0
    assert full.counters()["sessions_opened"] == 2


async def test_a_closed_engine_leaves_no_connection_open() -> None:
    vendor = MemoryVendor()
    closed = engine(vendor)
    session = await closed.open(asked(), lambda event: None)
    session.push(bytes(3_200), 0)
    while not vendor.connections:
        await asyncio.sleep(0)
    await closed.close()
    assert session.ended
    assert all(connection.closed for connection in vendor.connections)
