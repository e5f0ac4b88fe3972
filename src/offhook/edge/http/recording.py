"""The parameters of `record_*` and of recordings that begin with an answer, and the commands they become."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from offhook.base import limits
from offhook.call import commands as domain
from offhook.call.values import Track
from offhook.edge.http import schemas
from offhook.edge.http.building import common, refuse_asked
from offhook.edge.http.fields import refuse
from offhook.edge.http.schemas import CommandBody

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

TRACKS = {"both": (Track.RX, Track.TX), "inbound": (Track.RX,), "outbound": (Track.TX,)}
LENGTH_S_MAX = 14_400
SILENCE_S_MAX = 43_200
"""More seconds of silence than any recording lasts mean never."""


def _one_of(name: str, code: str, *allowed: str) -> BeforeValidator:
    """Refuse with a code of its own what is none of `allowed`."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise refuse("10026", f"`{name}` must be a string.")
        if value not in allowed:
            raise refuse(code, f"`{name}` must be one of {', '.join(allowed)}.")
        return value

    return BeforeValidator(check)


def _seconds(name: str, code: str, most: int | None) -> BeforeValidator:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse("10026", f"`{name}` must be an integer.")
        if value < 0 or (most is not None and value > most):
            raise refuse(
                code, f"`{name}` must be from 0 to {most}." if most else f"`{name}` must be 0 or more."
            )
        return value

    return BeforeValidator(check)


def _recording_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise refuse("10015", "`recording_id` must be a UUID.") from None


FileName = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.RECORDING_FILE_NAME_CHARACTERS_MAX)
]


class RecordStart(CommandBody):
    """record_start."""

    format: Annotated[Literal["wav", "mp3"], _one_of("format", "90000", "wav", "mp3")]
    channels: Annotated[Literal["single", "dual"], _one_of("channels", "90001", "single", "dual")]
    recording_track: Annotated[
        Literal["both", "inbound", "outbound"],
        _one_of("recording_track", "90059", "both", "inbound", "outbound"),
    ] = "both"
    play_beep: bool = False
    max_length: Annotated[
        int, _seconds("max_length", "10033", LENGTH_S_MAX), Field(ge=0, le=LENGTH_S_MAX)
    ] = 0
    timeout_secs: Annotated[int, _seconds("timeout_secs", "90002", None), Field(ge=0)] = 0
    trim: Literal["trim-silence"] | None = None
    custom_file_name: FileName | None = None
    transcription: bool = False
    transcription_engine: Literal["A", "B", "deepgram/nova-3"] = "A"
    transcription_language: str = "en-US"
    transcription_profanity_filter: bool = False
    transcription_speaker_diarization: bool = False
    transcription_min_speaker_count: int = 2
    transcription_max_speaker_count: int = 6


class RecordingNamed(CommandBody):
    """record_stop, record_pause and record_resume: one recording, or all of the call without `recording_id`."""

    recording_id: Annotated[str, AfterValidator(_recording_id)] | None = None


def record_start(body: RecordStart, rules: "Rules") -> domain.StartRecording:
    """Return the command that records; transcribing the file afterwards is not done here."""
    refuse_asked({"transcription": body.transcription}, ignored=rules.ignore_unsupported)
    recording = domain.RecordingOptions(
        format=domain.RecordingFormat(body.format),
        dual=body.channels == "dual",
        tracks=TRACKS[body.recording_track],
        max_s=body.max_length,
        silence_timeout_s=min(body.timeout_secs, SILENCE_S_MAX),
        trim_silence=body.trim is not None,
        beep=body.play_beep,
        file_name=body.custom_file_name,
    )
    return domain.StartRecording(**common(body), recording=recording)


def record_stop(body: RecordingNamed, rules: "Rules") -> domain.StopRecording:
    """Return the command that ends recordings."""
    return domain.StopRecording(**common(body), recording_id=body.recording_id)


def record_pause(body: RecordingNamed, rules: "Rules") -> domain.PauseRecording:
    """Return the command that leaves out what is heard."""
    return domain.PauseRecording(**common(body), recording_id=body.recording_id)


def record_resume(body: RecordingNamed, rules: "Rules") -> domain.ResumeRecording:
    """Return the command that goes on."""
    return domain.ResumeRecording(**common(body), recording_id=body.recording_id)


def inline_recording(body: schemas.RecordBody) -> domain.RecordingOptions | None:
    """Return the recording that begins with an answer or a bridge."""
    if body.record is None:
        return None
    return domain.RecordingOptions(
        format=domain.RecordingFormat(body.record_format),
        dual=body.record_channels == "dual",
        tracks=TRACKS[body.record_track],
        max_s=body.record_max_length,
        silence_timeout_s=min(body.record_timeout_secs, SILENCE_S_MAX),
        trim_silence=body.record_trim is not None,
        file_name=body.record_custom_file_name,
    )
