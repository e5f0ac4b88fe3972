"""The `RecordingService` of the HTTP API: complete recordings as Telnyx shows them."""

from pathlib import Path

from offhook.app.recordings import Recordings
from offhook.base.clock import iso_time
from offhook.base.errors import LimitReached
from offhook.edge.http.pages import Page
from offhook.edge.http.recordings import RecordingQuery, RecordingResource
from offhook.edge.store import RecordingFilter, RecordingRow, RecordingTable, StoreError


class RecordingLog:
    """Looks recordings up and deletes them."""

    def __init__(self, recordings: Recordings, table: RecordingTable) -> None:
        self._recordings = recordings
        self._table = table

    async def get(self, recording_id: str) -> RecordingResource | None:
        """See `RecordingService`."""
        row = await self._row(recording_id)
        return None if row is None else self._resource(row)

    async def page(self, query: RecordingQuery, page: Page) -> tuple[list[RecordingResource], int]:
        """See `RecordingService`."""
        wanted = RecordingFilter(
            equal=query.equal,
            started_from=query.started_from,
            started_until=query.started_until,
            ended_from=query.ended_from,
            ended_until=query.ended_until,
        )
        try:
            rows, total = await self._table.page(wanted, first=page.first, count=page.size)
        except StoreError as error:
            raise LimitReached(str(error)) from None
        return [self._resource(row) for row in rows], total

    async def delete(self, recording_ids: list[str]) -> list[RecordingResource]:
        """See `RecordingService`."""
        found = [await self._row(recording_id) for recording_id in dict.fromkeys(recording_ids)]
        rows = [row for row in found if row is not None]
        told = [self._resource(row) for row in rows]
        try:
            await self._recordings.delete(rows)
        except StoreError as error:
            raise LimitReached(str(error)) from None
        return told

    async def file(self, name: str, *, expires: str, signature: str) -> tuple[Path, str] | None:
        """See `RecordingService`."""
        file = self._recordings.file(name, expires=expires, signature=signature)
        if file is None:
            return None
        row = await self._row(file.stem)
        return None if row is None else (file, f"{row.file_name}{file.suffix}")

    async def _row(self, recording_id: str) -> RecordingRow | None:
        try:
            row = await self._table.get(recording_id)
        except StoreError as error:
            raise LimitReached(str(error)) from None
        return row if row is not None and row.state == "completed" else None

    def _resource(self, row: RecordingRow) -> RecordingResource:
        ended_at = row.started_at if row.ended_at is None else row.ended_at
        url = self._recordings.urls.url(row.recording_id, row.format)
        return RecordingResource(
            id=row.recording_id,
            call_control_id=row.call_control_id,
            call_leg_id=row.call_leg_id,
            call_session_id=row.call_session_id,
            channels=row.channels,
            connection_id=row.connection_id,
            created_at=iso_time(row.started_at),
            download_urls={row.format: url},
            duration_millis=row.duration_ms,
            from_=row.caller,
            initiated_by=row.initiated_by,
            recording_ended_at=iso_time(ended_at),
            recording_started_at=iso_time(row.started_at),
            to=row.callee,
            updated_at=iso_time(row.updated_at),
        )
