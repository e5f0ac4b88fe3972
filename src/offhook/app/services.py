"""What the legs' runners work with: one of each edge, made by the server."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from offhook.app.applications import Applications
from offhook.app.dialogflow import Agents
from offhook.app.plays import Plays
from offhook.app.recording_urls import RecordingUrls
from offhook.app.recordings import FOLDER, Recordings
from offhook.app.settings import DialogflowSettings, Settings
from offhook.app.stream_book import StreamBook
from offhook.base import limits
from offhook.base.clock import Clock
from offhook.base.tasks import TaskSet
from offhook.call.codecs import CodecPolicy
from offhook.edge.egress import Egress, EgressUnresolved
from offhook.edge.media.engine import MediaEngine, MediaError
from offhook.edge.sip import SipServer
from offhook.edge.sounds import SoundError, SoundLibrary
from offhook.edge.speech.service import SpeechService
from offhook.edge.store import RecordingTable
from offhook.edge.voice.service import VoiceService
from offhook.edge.webhook.outbox import Outbox

LEG_COUNTERS = (
    "interim_transcripts_dropped_total",
    "effects_failed_total",
    "events_stored_late_total",
    "digits_dropped_total",
    "playbacks_failed_total",
    "recordings_failed_total",
    "recordings_not_stored_total",
)


async def _nowhere(host: str, port: int) -> list[tuple[str, int]]:
    del port
    raise EgressUnresolved(host, "there is no network")


@dataclass(frozen=True, slots=True)
class Services:
    """The edges of one server, and the numbers it gives out."""

    settings: Settings
    clock: Clock
    sip: SipServer
    media: MediaEngine
    speech: SpeechService
    outbox: Outbox
    egress: Egress
    applications: Applications
    codecs: CodecPolicy = field(default_factory=CodecPolicy)
    agents: Agents = field(default_factory=lambda: Agents(None, DialogflowSettings(), _nowhere))
    recording_table: RecordingTable | None = None
    recording_secret: bytes = b""
    voice: VoiceService = field(default_factory=VoiceService)
    tasks: TaskSet = field(default_factory=TaskSet)
    media_leg_ids: "count[int]" = field(default_factory=lambda: count(1))
    tap_ids: "count[int]" = field(default_factory=lambda: count(1))
    counters: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LEG_COUNTERS, 0)))
    """What runners drop or fail at, for metrics."""
    stream_book: StreamBook = field(init=False)
    sounds: SoundLibrary = field(init=False)
    plays: Plays = field(init=False)
    recordings: Recordings = field(init=False)

    def __post_init__(self) -> None:
        """Open the books of streams, plays and recordings, and the library of sounds."""
        object.__setattr__(self, "stream_book", StreamBook(self.clock, self._tap_counters))
        folder = self.settings.media.folder
        library = SoundLibrary(
            self.egress, self.clock, self._decode_sound, folder=Path(folder) if folder else None
        )
        object.__setattr__(self, "sounds", library)
        object.__setattr__(self, "plays", Plays(self.media))
        recordings = Recordings(
            table=self.recording_table,
            media=self.media,
            outbox=self.outbox,
            clock=self.clock,
            settings=self.settings.recordings,
            folder=self.settings.data_dir / FOLDER,
            urls=RecordingUrls(self.recording_secret, self.clock, self.settings.http.public_url),
            counters=self.counters,
        )
        object.__setattr__(self, "recordings", recordings)

    def _decode_sound(self, data: bytes) -> tuple[bytes, int]:
        try:
            return self.media.decode_sound(data, max_samples=limits.SOUND_SAMPLES_MAX)
        except MediaError as error:
            raise SoundError(str(error)) from None

    def _tap_counters(self, media_leg_id: int) -> Mapping[int, Mapping[str, Any]] | None:
        try:
            return self.media.stats(media_leg_id)["taps"]
        except MediaError:  # the leg is gone, or its worker has no time to answer
            return None
