"""The recordings of the server: their files, what is known of them, and the webhooks about them.

A file grows while the call goes on and can be played at any time. When the core has closed it, it is encoded
if mp3 was asked for, and only then told by `call.recording.saved`. What a crash has interrupted is
finished by the next start.
"""

import asyncio
import json
import os
import shutil
import wave
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from offhook.app.recording_urls import RecordingUrls
from offhook.app.settings import RecordingSettings
from offhook.base import limits
from offhook.base.clock import Clock, iso_time
from offhook.base.errors import LimitReached
from offhook.base.tasks import TaskSet
from offhook.call.facts import Payload
from offhook.call.values import WebhookRoute
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaEngine, MediaError
from offhook.edge.store import RecordingRow, RecordingTable, StoreError
from offhook.edge.webhook.outbox import Outbox

log = structlog.get_logger(__name__)

FOLDER = "recordings"
FAILURE = "Internal server error"
"""The one published reason of `call.recording.error` that fits."""


@dataclass(frozen=True, slots=True)
class Told:
    """What every webhook of a leg says now, and where they go now."""

    payload: Payload
    route: WebhookRoute


@dataclass(slots=True)
class _Running:
    row: RecordingRow
    told: Callable[[], Told]


class Recordings:
    """Keeps the files of recordings from their first byte to their deletion.

    Args:
        table: None: nothing is known after the process has ended.
        folder: where the files are; made by `start`.
        counters: what failed is counted here.
    """

    def __init__(
        self,
        *,
        table: RecordingTable | None,
        media: MediaEngine,
        outbox: Outbox,
        clock: Clock,
        settings: RecordingSettings,
        folder: Path,
        urls: RecordingUrls,
        counters: Counter[str],
    ) -> None:
        self.urls = urls
        self._table = table
        self._media = media
        self._outbox = outbox
        self._clock = clock
        self._settings = settings
        self._folder = folder
        self._counters = counters
        self._running: dict[tuple[int, int], _Running] = {}
        self._slots = asyncio.Semaphore(limits.RECORDINGS_FINISHING_MAX)
        self._finishing = TaskSet()
        self._sweeping = TaskSet()
        self._size_bytes = 0

    async def start(self) -> None:
        """Finish what the last run could not, and look for old files from now on."""
        _make(self._folder)
        if self._table is None:
            return
        self._size_bytes = await self._table.size_bytes()
        for row in await self._table.unfinished():
            log.warning("a recording was cut off by the end of the last run", recording=row.recording_id)
            self._finishing.start(self._recover(row), name="recover recording")
        self._sweeping.start(self._sweep(), name="sweep recordings")

    async def close(self) -> None:
        """Let files that are being encoded become complete, for a moment."""
        await self._sweeping.close()
        await self._finishing.wait(timeout_s=limits.RECORDINGS_CLOSE_GRACE_S)
        await self._finishing.close()

    # A recording's life

    def check_room(self) -> None:
        """Refuse a recording for which there is no room.

        Raises:
            LimitReached: the files take as much as they may, or the disk is nearly full.
        """
        most = self._settings.bytes_max
        if most and self._size_bytes >= most:
            raise LimitReached("The recordings take as much room as recordings.bytes_max allows.")
        folder = self._folder if self._folder.is_dir() else Path.cwd()
        if shutil.disk_usage(folder).free < self._settings.free_bytes_min:
            raise LimitReached("The disk has less room than recordings.free_bytes_min asks for.")

    def begin(self, key: tuple[int, int], row: RecordingRow, told: Callable[[], Told]) -> Path:
        """Keep book of a recording that the core is about to make; return the file it shall write.

        Args:
            key: leg and tap, as the core knows them.
        """
        self._running[key] = _Running(row, told)
        self._finishing.start(self._keep(row), name="keep recording")
        return self._file(row.recording_id, "wav")

    def never_began(self, key: tuple[int, int], detail: str) -> None:
        """Take it that the core refused the recording."""
        running = self._running.pop(key)
        self._finishing.start(self._fail(running, detail), name="fail recording")

    def on_closed(self, event: media_events.RecordingClosed) -> None:
        """Take the end of a file, perhaps after the end of its leg, and finish it beside everything else."""
        running = self._running.pop((event.leg_id, event.tap_id), None)
        if running is None:
            return
        running.row = replace(running.row, ended_at=self._clock.now(), duration_ms=event.duration_ms)
        if event.reason == "failed":
            self._finishing.start(self._fail(running, event.detail), name="fail recording")
        else:
            self._finishing.start(self._finish(running), name="finish recording")

    # For the API

    def file(self, name: str, *, expires: str, signature: str) -> Path | None:
        """Return the file that a signed URL names; None when it is not good, or there is no such file."""
        if not expires.isdigit() or not expires.isascii() or len(expires) > 12:
            return None
        if not self.urls.accepts(name, expires, signature):
            return None
        recording_id, _, extension = name.rpartition(".")
        file = self._file(recording_id, extension)
        return file if file.is_file() else None

    async def delete(self, rows: list[RecordingRow]) -> None:
        """Delete recordings for good.

        Raises:
            StoreError: the store does not take it; the files are gone already.
        """
        await asyncio.to_thread(self._unlink, rows)
        if self._table is not None:
            await self._table.delete([row.recording_id for row in rows])
        self._size_bytes -= sum(row.size_bytes for row in rows)

    # The end of a file

    async def _finish(self, running: _Running) -> None:
        try:
            async with self._slots:
                size_bytes = await asyncio.to_thread(self._complete, running.row)
        except (OSError, MediaError) as error:
            await self._fail(running, str(error))
            return
        now = self._clock.now()
        row = replace(running.row, state="completed", size_bytes=size_bytes, updated_at=now)
        self._size_bytes += size_bytes
        await self._keep(row)
        log.info("recording saved", recording=row.recording_id, ms=row.duration_ms, size_bytes=size_bytes)
        await self._tell(running, "call.recording.saved", saved(row, self.urls))

    async def _fail(self, running: _Running, detail: str) -> None:
        self._counters["recordings_failed_total"] += 1
        now = self._clock.now()
        row = replace(running.row, state="failed", ended_at=running.row.ended_at or now, updated_at=now)
        log.error("a recording failed", recording=row.recording_id, detail=detail)
        await self._keep(row)
        await self._tell(running, "call.recording.error", failed(row))

    async def _recover(self, row: RecordingRow) -> None:
        payload = json.loads(row.told)
        route = _route(row.route)
        running = _Running(row, lambda: Told(payload, route))
        try:
            ended_at, duration_ms = await asyncio.to_thread(self._measure, row)
        except (OSError, wave.Error, EOFError) as error:
            await self._fail(running, str(error))
            return
        running.row = replace(row, ended_at=ended_at, duration_ms=duration_ms)
        await self._finish(running)

    async def _tell(self, running: _Running, event_type: str, payload: Payload) -> None:
        told = running.told()
        await self._outbox.put(
            event_type,
            {**told.payload, **payload},
            occurred_at=self._clock.now(),
            route=told.route,
            call_leg_id=running.row.call_leg_id,
        )

    async def _keep(self, row: RecordingRow) -> None:
        if self._table is None:
            return
        try:
            await self._table.put(row)
        except StoreError as error:
            self._counters["recordings_not_stored_total"] += 1
            log.error("what is known of a recording was not stored", reason=str(error))

    def _complete(self, row: RecordingRow) -> int:
        """Make the file what was asked for, and durable; return how long it is. Takes a moment."""
        wav, wanted = self._file(row.recording_id, "wav"), self._file(row.recording_id, row.format)
        if row.format == "mp3" and (wav.exists() or not wanted.exists()):
            part = wanted.with_suffix(".part")
            self._media.wav_to_mp3(wav, part)
            part.chmod(0o600)
            _sync(part)
            part.replace(wanted)
            wav.unlink()
        else:
            _sync(wanted)
        return wanted.stat().st_size

    def _measure(self, row: RecordingRow) -> tuple[float, int]:
        """Return when a file was last written to, and how much audio it has."""
        wav, wanted = self._file(row.recording_id, "wav"), self._file(row.recording_id, row.format)
        if not wav.exists():
            return wanted.stat().st_mtime, row.duration_ms
        with wave.open(str(wav)) as file:
            return wav.stat().st_mtime, file.getnframes() * 1000 // file.getframerate()

    # Old files

    async def _sweep(self) -> None:
        while self._table is not None:
            if self._settings.kept_s:
                try:
                    await self._delete_old(self._table)
                except StoreError as error:
                    log.warning("old recordings were not deleted", reason=str(error))
            await asyncio.sleep(limits.RECORDINGS_SWEEP_S)

    async def _delete_old(self, table: RecordingTable) -> None:
        before = self._clock.now() - self._settings.kept_s
        while rows := await table.ended_before(before, count_max=limits.RECORDINGS_PER_SWEEP_MAX):
            await self.delete(rows)
            log.info("old recordings deleted", count=len(rows))

    def _unlink(self, rows: list[RecordingRow]) -> None:
        for row in rows:
            for extension in ("wav", "mp3", "part"):
                self._file(row.recording_id, extension).unlink(missing_ok=True)

    def _file(self, recording_id: str, extension: str) -> Path:
        return self._folder / f"{recording_id}.{extension}"


def saved(row: RecordingRow, urls: RecordingUrls) -> Payload:
    """Return what `call.recording.saved` adds (contract 3.4)."""
    started, ended = iso_time(row.started_at), iso_time(row.ended_at or row.started_at)
    return {
        "channels": row.channels,
        "end_time": ended,
        "format": row.format,
        "public_recording_urls": {},
        "recording_ended_at": ended,
        "recording_id": row.recording_id,
        "recording_started_at": started,
        "recording_urls": {row.format: urls.url(row.recording_id, row.format)},
        "start_time": started,
    }


def failed(row: RecordingRow) -> Payload:
    """Return what `call.recording.error` adds."""
    return {"reason": FAILURE, "recording_id": row.recording_id}


def route_json(route: WebhookRoute) -> str:
    """Return a route as text, for the next run."""
    return json.dumps(asdict(route))


def _route(text: str) -> WebhookRoute:
    members: dict[str, Any] = json.loads(text)
    members["retries_s"] = {event: tuple(waits) for event, waits in members["retries_s"].items()}
    return WebhookRoute(**members)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
