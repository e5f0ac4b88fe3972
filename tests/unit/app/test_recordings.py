"""The files of recordings: told when complete, finished after a crash, deleted when old, given out by signed URLs."""

import asyncio
import itertools
import json
import stat
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from offhook.app.leg_recordings import beep
from offhook.app.recording_log import RecordingLog
from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.call import commands as ask
from offhook.call import facts
from offhook.call.values import Track
from offhook.edge.http.pages import Page
from offhook.edge.http.recordings import RecordingQuery
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake import FakeRecording
from offhook.edge.store import RecordingTable, Store
from offhook.proto import sip
from tests.fakes.runners import HandClock, House

pytestmark = pytest.mark.unit


def options(**changes: Any) -> ask.RecordingOptions:
    return ask.RecordingOptions(**{"format": ask.RecordingFormat.WAV, "dual": True, **changes})


@asynccontextmanager
async def running_house(tmp_path: Path, **flags: Any) -> AsyncIterator[House]:
    store = Store.open(tmp_path / "data")
    house = House(flags={"data_dir": str(tmp_path / "data"), **flags}, recording_table=RecordingTable(store))
    recordings = house.services.recordings
    recordings.urls.base_url = "http://calls.example"
    await recordings.start()
    yield house
    await recordings.close()
    store.close()


async def answered(house: House, **answer: Any) -> str:
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer(**answer))
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    return house.call_control_id


def start(house: House, call: str, **changes: Any) -> str:
    reply = house.calls.command(call, "record_start", ask.StartRecording(recording=options(**changes)))
    recording_id: str = reply.data["recording_id"]
    return recording_id


async def told(house: House, event_type: str) -> dict[str, Any]:
    """Wait until an event is told; a thread completes the file."""
    async with asyncio.timeout(30):
        while True:
            for events in house.outbox.by_leg.values():
                for kind, payload in events:
                    if kind == event_type:
                        return payload
            await asyncio.sleep(0.002)


async def hung_up(house: House, call: str) -> None:
    house.calls._runners[call].feed(facts.PeerHungUp())
    await house.settle()


def file_of(house: House, payload: dict[str, Any]) -> Path | None:
    url = urlsplit(payload["recording_urls"][payload["format"]])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    return house.services.recordings.file(
        url.path.rpartition("/")[2], expires=query["expires"], signature=query["signature"]
    )


async def test_a_recording_is_told_with_its_times_and_a_url_of_its_file(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        recording_id = start(house, call, file_name="a/b")
        await house.settle()
        house.media.advance(2_000)
        house.clock.at_s += 2.0  # type: ignore[attr-defined]
        house.calls.command(call, "record_stop", ask.StopRecording(client_state="bGFzdA=="))
        payload = await told(house, "call.recording.saved")
        assert payload["recording_id"] == recording_id
        assert (payload["channels"], payload["format"], payload["client_state"]) == (
            "dual",
            "wav",
            "bGFzdA==",
        )
        assert payload["recording_started_at"] == payload["start_time"] == "2026-09-21T14:13:20.000000Z"
        assert payload["recording_ended_at"] == payload["end_time"] == "2026-09-21T14:13:22.000000Z"
        assert payload["public_recording_urls"] == {}
        assert list(payload["recording_urls"]) == ["wav"]
        assert payload["recording_urls"]["wav"].startswith("http://calls.example/v2/recordings/files/")
        file = file_of(house, payload)
        assert file is not None
        with wave.open(str(file)) as audio:
            assert audio.getnframes() == 16_000
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        await hung_up(house, call)
        house.assert_nothing_left()


async def test_an_inline_recording_ends_with_the_call_and_is_told_after_it(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house, recording=options(format=ask.RecordingFormat.MP3))
        leg_id = house.newest.identity.call_leg_id
        await hung_up(house, call)
        payload = await told(house, "call.recording.saved")
        assert house.outbox.types(leg_id)[-2:] == ["call.hangup", "call.recording.saved"]
        file = file_of(house, payload)
        assert file is not None
        assert [path.name for path in file.parent.iterdir()] == [f"{payload['recording_id']}.mp3"]
        house.assert_nothing_left()


async def test_commands_reach_the_recording_they_name(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        first, second = start(house, call), start(house, call, tracks=(Track.RX,), dual=False)
        await house.settle()
        house.calls.command(call, "record_pause", ask.PauseRecording(recording_id=second))
        await house.settle()
        house.media.advance(1_000)
        [leg] = house.media.legs.values()
        taps = [tap for tap in leg.taps.values() if isinstance(tap, FakeRecording)]
        assert [tap.length_ms(house.media.now_ms) for tap in taps] == [1_000, 0]
        assert [(tap.rx, tap.tx, tap.dual) for tap in taps] == [(True, True, True), (True, False, False)]
        house.calls.command(call, "record_resume", ask.ResumeRecording())
        await house.settle()
        house.media.advance(1_000)
        assert [tap.length_ms(house.media.now_ms) for tap in taps] == [2_000, 1_000]
        house.calls.command(call, "record_stop", ask.StopRecording(recording_id=first))
        payload = await told(house, "call.recording.saved")
        assert payload["recording_id"] == first
        await hung_up(house, call)


async def test_a_file_that_cannot_be_written_is_told_as_an_error(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        (tmp_path / "data/recordings").rmdir()
        start(house, call)
        payload = await told(house, "call.recording.error")
        assert payload["reason"] == "Internal server error"
        assert house.services.counters["recordings_failed_total"] == 1
        await hung_up(house, call)
        house.assert_nothing_left()


async def test_an_encoder_that_fails_is_told_as_an_error(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:

        def broken(wav: Path, mp3: Path) -> int:
            raise MediaError("no")

        house.media.wav_to_mp3 = broken  # type: ignore[method-assign]
        call = await answered(house, recording=options(format=ask.RecordingFormat.MP3))
        await hung_up(house, call)
        payload = await told(house, "call.recording.error")
        log = RecordingLog(house.services.recordings, house.services.recording_table)  # type: ignore[arg-type]
        assert await log.get(payload["recording_id"]) is None


async def test_no_recording_begins_without_room_for_it(tmp_path: Path) -> None:
    async with running_house(tmp_path, recordings={"free_bytes_min": 10**18}) as house:
        call = await answered(house, recording=options())
        assert await told(house, "call.recording.error")
        with pytest.raises(LimitReached, match="free_bytes_min"):
            start(house, call)
        await hung_up(house, call)
        house.assert_nothing_left()


async def test_files_beyond_the_room_for_all_are_refused_until_one_is_deleted(tmp_path: Path) -> None:
    async with running_house(tmp_path, recordings={"bytes_max": 10_000}) as house:
        call = await answered(house)
        recording_id = start(house, call)
        await house.settle()
        house.media.advance(1_000)
        house.calls.command(call, "record_stop", ask.StopRecording())
        payload = await told(house, "call.recording.saved")
        with pytest.raises(LimitReached, match="bytes_max"):
            start(house, call)
        log = RecordingLog(house.services.recordings, house.services.recording_table)  # type: ignore[arg-type]
        [deleted] = await log.delete([recording_id, recording_id, "none"])
        assert deleted.id == recording_id
        assert file_of(house, payload) is None
        start(house, call)
        await hung_up(house, call)


async def test_what_a_crash_cut_off_is_finished_and_told_by_the_next_start(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data")
    house = House(flags={"data_dir": str(tmp_path / "data")}, recording_table=RecordingTable(store))
    await house.services.recordings.start()
    call = await answered(house)
    leg_id = house.newest.identity.call_leg_id
    kept, lost = start(house, call, format=ask.RecordingFormat.MP3), start(house, call)
    await house.settle()
    folder = tmp_path / "data/recordings"
    table = house.services.recording_table
    assert table is not None
    async with asyncio.timeout(30):
        while len(await table.unfinished()) < 2:
            await asyncio.sleep(0.002)
    store.close()
    with wave.open(str(folder / f"{kept}.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(bytes(4 * 12_000))
    async with running_house(tmp_path) as next_house:
        saved = await told(next_house, "call.recording.saved")
        error = await told(next_house, "call.recording.error")
        assert (saved["recording_id"], error["recording_id"]) == (kept, lost)
        assert saved["call_leg_id"] == leg_id
        log = RecordingLog(next_house.services.recordings, next_house.services.recording_table)  # type: ignore[arg-type]
        found = await log.get(kept)
        assert found is not None
        assert found.duration_millis == 1_500
        assert [path.name for path in folder.iterdir()] == [f"{kept}.mp3"]
    async with running_house(tmp_path) as third:
        await third.settle()
        assert third.outbox.by_leg == {}, "all was told"


async def test_old_files_are_deleted(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        recording_id = start(house, call)
        await house.settle()
        house.calls.command(call, "record_stop", ask.StopRecording())
        await told(house, "call.recording.saved")
        table = house.services.recording_table
        assert table is not None
        row = await table.get(recording_id)
        assert row is not None
        await table.put(replace(row, ended_at=house.clock.now() - limits.RECORDINGS_KEPT_S - 1))
        await hung_up(house, call)
    async with running_house(tmp_path) as house:
        async with asyncio.timeout(30):
            while await house.services.recording_table.get(recording_id):  # type: ignore[union-attr]
                await asyncio.sleep(0.002)
        assert list((tmp_path / "data/recordings").iterdir()) == []


async def test_a_url_is_good_for_its_file_and_its_time_only(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        start(house, call)
        await house.settle()
        house.calls.command(call, "record_stop", ask.StopRecording())
        payload = await told(house, "call.recording.saved")
        recordings, clock = house.services.recordings, house.clock
        url = urlsplit(payload["recording_urls"]["wav"])
        name = url.path.rpartition("/")[2]
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        assert recordings.file(name, **query) is not None
        for forged in (
            {"expires": str(int(query["expires"]) + 1)},
            {"expires": ""},
            {"expires": "٣"},
            {"expires": "9" * 99},
            {"signature": ""},
            {"signature": "ü"},
            {"signature": query["signature"][::-1]},
        ):
            assert recordings.file(name, **{**query, **forged}) is None, forged
        for other in ("../offhook.sqlite3", name.replace(".wav", ".mp3"), "", "."):
            assert recordings.file(other, **query) is None, other
        assert isinstance(clock, HandClock)
        clock.at_s += limits.RECORDING_URL_VALID_S + 1
        assert recordings.file(name, **query) is None
        await hung_up(house, call)


async def test_recordings_are_found_by_what_they_have(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        leg_id = house.newest.identity.call_leg_id
        first = start(house, call)
        await house.settle()
        house.clock.at_s += 60  # type: ignore[attr-defined]
        second = start(house, call)
        await house.settle()
        await hung_up(house, call)
        log = RecordingLog(house.services.recordings, house.services.recording_table)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            while (await log.page(RecordingQuery(), Page()))[1] < 2:
                await asyncio.sleep(0.002)
        at_s = house.clock.now()

        async def ids(**query: Any) -> list[str]:
            return [item.id for item in (await log.page(RecordingQuery(**query), Page()))[0]]

        assert await ids() == [second, first], "newest first"
        assert await ids(equal=(("call_leg_id", leg_id), ("caller", "+15550001111"))) == [second, first]
        assert await ids(equal=(("call_leg_id", "other"),)) == []
        assert await ids(started_from=at_s) == [second]
        assert await ids(started_until=at_s - 1) == [first]
        assert await ids(ended_until=at_s - 1) == []
        items, total = await log.page(RecordingQuery(), Page(number=2, size=1))
        assert ([item.id for item in items], total) == ([first], 2)


async def test_what_is_kept_for_the_next_start_is_what_was_told(tmp_path: Path) -> None:
    async with running_house(tmp_path) as house:
        call = await answered(house)
        recording_id = start(house, call)
        await house.settle()
        async with asyncio.timeout(30):
            while (row := await house.services.recording_table.get(recording_id)) is None:  # type: ignore[union-attr]
                await asyncio.sleep(0.002)
        assert json.loads(row.told)["call_control_id"] == call
        assert json.loads(row.route)["url"] == "http://192.0.2.3/webhooks"
        await hung_up(house, call)


def test_a_beep_has_its_pitch_and_no_clicks() -> None:
    samples = struct.unpack("<2000h", beep())
    assert abs(samples[0]) < 100
    assert abs(samples[-1]) < 500
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(samples))
    assert crossings in (249, 250)
