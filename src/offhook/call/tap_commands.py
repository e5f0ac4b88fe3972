"""The commands about taps: whether one may be carried out, and the effect that opens a tap."""

from dataclasses import dataclass

from offhook.base import limits
from offhook.call import payloads
from offhook.call.commands import (
    Command,
    StartFork,
    StartStream,
    StartTranscription,
    StopFork,
    StopStream,
    StopTranscription,
    StreamOptions,
)
from offhook.call.effects import OpenFork, OpenStream
from offhook.call.errors import CommandError
from offhook.call.facts import Payload
from offhook.call.payloads import CallRecord
from offhook.call.taps import Taps, speaks_rtp
from offhook.proto.sdp import NegotiatedMedia

_SAMPLE_RATES_HZ = {"OPUS": 16_000, "AMR-WB": 16_000}
"""Of a stream in a codec that is not the leg's; 8000 for all others (contract 4.4)."""
_SPOKEN_BACK = frozenset({"G722", "OPUS", "AMR-WB", "L16"})
"""Who speaks one of these hears it too, unless asked otherwise (contract 4.4)."""


@dataclass(frozen=True, slots=True)
class Compat:
    """Places where the literal Telnyx behaviour may be asked for instead of the kinder one."""
    single_stream: bool = False
    """A call has room for one stream or fork; the next one takes the place of the last."""

    strict_transcription_stop: bool = False
    """Refuse `transcription_stop` when nothing is being transcribed."""


        case StartStream() | StartFork() if compat.single_stream:
            pass  # whatever runs makes room
def check(command: Command, taps: Taps, compat: Compat) -> None:
    """Raise `CommandError` when an answered leg with these taps cannot carry out the command."""
    match command:
        case StartStream() if len(taps.streams) >= limits.STREAMS_PER_LEG_MAX:
            detail = f"a call has at most {limits.STREAMS_PER_LEG_MAX} streams at once"
            raise CommandError("90045", detail)
        case StartStream(stream=StreamOptions(app_codec=codec)) if speaks_rtp(codec) and any(
            stream.two_way for stream in taps.running_streams()
        ):
            detail = (
                "a call has one stream whose app speaks raw audio; stop it first, or start one that does not"
            )
            raise CommandError("90045", detail, "/stream_bidirectional_mode")
        case StopStream() if not any(taps.running_streams()):
            raise CommandError("90048", "no stream is running on this call")
        case StopStream(stream_id=str(wanted)) if not any(
            stream.stream_id == wanted for stream in taps.running_streams()
        ):
            raise CommandError("90048", "no such stream is running on this call", "/stream_id")
        case StartFork() if len(taps.forks) >= limits.FORKS_PER_LEG_MAX:
            detail = f"a call has at most {limits.FORKS_PER_LEG_MAX} forks at once"
            raise CommandError("10027", detail)
        case StopFork(fork_type=fork_type) if not any(taps.running_forks(fork_type)):
            raise CommandError("90031", "no such fork is running on this call")
        case StartTranscription() if taps.running_transcription() is not None:
            raise CommandError("90054", "stop the running transcription first")
        case StartTranscription() if len(taps.transcriptions) >= limits.TRANSCRIPTIONS_PER_LEG_MAX:
            raise CommandError("90054", "too many transcriptions of this call are still ending")
        case StopTranscription() if compat.strict_transcription_stop and taps.running_transcription() is None:
            raise CommandError("10027", "nothing is being transcribed on this call")
        case _:
            pass


def opened_stream(
    stream_id: str,
    options: StreamOptions,
    *,
    record: CallRecord,
    media: NegotiatedMedia,
    user_id: str,
    client_state: str | None,
) -> OpenStream:
    """Return the effect that opens a stream, with what its start and stop frames will say."""
    spoken = options.app_codec if options.app_codec in _SPOKEN_BACK else None
    codec = options.codec or spoken or media.codec_name
    rate_hz = _rate_hz(codec, options, media)
    start = {
        "custom_parameters": dict(options.custom_parameters),
        "media_format": {"encoding": codec, "sample_rate": rate_hz, "channels": 1},
        "tracks": [track.telnyx_name for track in options.tracks],
    }
    return OpenStream(
        stream_id=stream_id,
        url=options.url,
        tracks=options.tracks,
        codec=codec,
        sample_rate_hz=rate_hz,
        app_codec=options.app_codec,
        app_sample_rate_hz=_rate_hz(options.app_codec or codec, options, media),
        auth_token=options.auth_token,
        start=payloads.stream_start(record, user_id=user_id, client_state=client_state, stream=start),
        stop={"user_id": user_id, "call_control_id": record.identity.call_control_id},
        reconnect=options.reconnect,
    )


def _rate_hz(codec: str, options: StreamOptions, media: NegotiatedMedia) -> int:
    if codec == "L16":
        return options.sample_rate_hz
    return media.clock_rate_hz if codec == media.codec_name else _SAMPLE_RATES_HZ.get(codec, 8_000)


def opened_fork(fork_id: str, command: StartFork, media: NegotiatedMedia) -> tuple[OpenFork, Payload]:
    """Return the effect that opens a fork, and what its webhooks will say."""
    told: Payload = {
        "clock_rate": media.clock_rate_hz,
        "codec": media.codec_name,
        "payload_type": media.payload_type,
        "stream_type": command.fork_type.value,
    }
    targets = {"rx": command.rx, "tx": command.tx, "target": command.target}
    told |= {name: f"udp:{target}" for name, target in targets.items() if target is not None}
    return OpenFork(fork_id, command.rx, command.tx, command.target, command.fork_type), told
