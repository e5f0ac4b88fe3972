"""The commands about taps: whether one may be carried out, and the effect that opens a tap."""

from collections.abc import Sequence

from offhook.base import limits
from offhook.call import payloads
from offhook.call.ability import Compat, LegContext
from offhook.call.codecs import MP3, codec_to_app, stream_rate_hz, why_opaque
from offhook.call.commands import (
    Command,
    DialogflowOptions,
    StartFork,
    StartStream,
    StartTranscription,
    StopFork,
    StopStream,
    StopTranscription,
    StreamOptions,
    TranscriptionOptions,
)
from offhook.call.effects import AppHeard, OpenDialogflow, OpenFork, OpenStream
from offhook.call.errors import CommandError
from offhook.call.facts import Payload
from offhook.call.taps import Taps, speaks_rtp
from offhook.call.values import TargetLegs, WebhookRoute
from offhook.proto.sdp import NegotiatedMedia, SessionDescription, make_offer, negotiate

WIDE_BAND_HZ = 16_000


def check(command: Command, taps: Taps, compat: Compat) -> None:
    """Raise `CommandError` when an answered leg with these taps cannot carry out the command."""
    match command:
        case StartStream() | StartFork() if compat.single_stream:
            pass  # whatever runs makes room
        case StartStream() if len(taps.streams) + command.count > limits.STREAMS_PER_LEG_MAX:
            detail = f"a call has at most {limits.STREAMS_PER_LEG_MAX} streams at once"
            raise CommandError("90045", detail)
        case StartStream(stream=StreamOptions(app_codec=codec)) if speaks_rtp(codec) and any(
            stream.two_way for stream in taps.running_streams()
        ):
            detail = (
                "a call has one stream whose app speaks raw audio; stop it first, or start one that does not"
            )
            raise CommandError("90045", detail, "/stream_bidirectional_mode")
        case StartStream(dialogflow=DialogflowOptions()) if any(
            stream.url is None for stream in taps.running_streams()
        ):
            raise CommandError("90045", "a call talks with one agent; stop it first", "/enable_dialogflow")
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


def check_audio(
    media: NegotiatedMedia,
    opaque: frozenset[str],
    *,
    stream: StreamOptions | None = None,
    dialogflow: DialogflowOptions | None = None,
    transcription: TranscriptionOptions | None = None,
) -> None:
    """Raise `CommandError` when taps of a call would need a codec that is only passed on here.

    Args:
        media: what the call is in.
        opaque: codecs that can be neither decoded nor made.
        stream: the stream to be opened, if any.
        dialogflow: the conversation with an agent to be begun, if any.
        transcription: the transcription to be started, if any.
    """
    leg = media.codec_name
    if transcription is not None and leg in opaque:
        raise CommandError("10038", f"the call cannot be transcribed: {why_opaque(leg)}")
    if dialogflow is not None and leg in opaque:
        detail = f"the call cannot be led by an agent: {why_opaque(leg)}"
        raise CommandError("10038", detail, "/enable_dialogflow")
    if stream is None:
        return
    to_app = codec_to_app(stream, media)
    hindrance = leg if leg in opaque else to_app
    if hindrance in opaque and to_app != leg:
        pointer = "/stream_codec" if stream.codec is not None else "/stream_bidirectional_codec"
        detail = f"the call is in {leg} and cannot be streamed in {to_app}: {why_opaque(hindrance)}"
        raise CommandError("10038", detail, pointer)
    from_app = stream.app_codec
    if from_app not in (None, MP3) and (leg in opaque or from_app in opaque):
        hindrance = leg if leg in opaque else str(from_app)
        detail = f"the app's {from_app} cannot be played into this call: {why_opaque(hindrance)}"
        raise CommandError("10038", detail, "/stream_bidirectional_codec")


def expected_media(codecs: Sequence[str], opaque: frozenset[str]) -> NegotiatedMedia:
    """Return what a call that offers these will be in if the far end has no other wish.

    A stream that is opened before the answer is in this codec; it is transcoded if the call is in another.
    """
    wanted = next((name for name in codecs if name not in opaque), codecs[0])
    offer = make_offer((wanted,), address="0.0.0.0", rtp_port=9, rtcp_port=9, session_id=1)
    media = negotiate(SessionDescription.parse(offer), (wanted,))
    assert media is not None, "we can do what we offer"
    return media


def opened_stream(
    stream_id: str, options: StreamOptions, leg: LegContext, expected: NegotiatedMedia | None = None
) -> OpenStream:
    """Return the effect that opens a stream, with what its start and stop frames will say.

    `expected` is what the call will be in, where that is not agreed on yet. MP3 is what apps speak that
    did not ask to speak at all, so where nothing can be played into the call, the app only listens.
    """
    record = leg.record
    media = expected or leg.media
    assert record is not None, "a leg that streams has a call"
    assert media is not None, "a leg that streams has media, or expects some"
    app_codec = None if media.codec_name in leg.codecs.opaque else options.app_codec
    codec = codec_to_app(options, media)
    rate_hz = stream_rate_hz(codec, options, media)
    media_format = {"encoding": codec, "sample_rate": rate_hz, "channels": 1}
    if codec == "AMR-WB":
        media_format["octet_align"] = True  # RFC 4867 knows two packings; streams have this one
    start = {
        "custom_parameters": dict(options.custom_parameters),
        "media_format": media_format,
        "tracks": [track.telnyx_name for track in options.tracks],
    }
    return OpenStream(
        stream_id=stream_id,
        url=options.url,
        tracks=options.tracks,
        codec=codec,
        sample_rate_hz=rate_hz,
        app_codec=app_codec,
        app_sample_rate_hz=stream_rate_hz(options.app_codec or codec, options, media),
        app_heard=_app_heard(options.target_legs, leg.compat),
        auth_token=options.auth_token,
        start=payloads.stream_start(record, user_id=leg.user_id, client_state=leg.client_state, stream=start),
        stop={"user_id": leg.user_id, "call_control_id": record.identity.call_control_id},
        reconnect=options.reconnect,
    )


def callback_of(
    stream_id: str, options: StreamOptions, leg: LegContext
) -> tuple[WebhookRoute, Payload] | None:
    """Return where a stream tells of itself beside the webhooks, and what it says there each time."""
    callback = options.callback
    if callback is None:
        return None
    route = WebhookRoute(callback.url, method=callback.method, form=True)
    return route, payloads.stream_callback(leg.identity, callback, stream_id)


def _app_heard(target_legs: TargetLegs, compat: Compat) -> AppHeard:
    """Return who hears an app, bridged or not (contract 4.6)."""
    match target_legs:
        case TargetLegs.SELF:
            return "self"
        case TargetLegs.BOTH:
            return "both"
        case TargetLegs.OPPOSITE:
            return "opposite_only" if compat.strict_target_legs else "opposite"


def opened_dialogflow(stream_id: str, options: DialogflowOptions, leg: LegContext) -> OpenDialogflow:
    """Return the effect that begins a conversation with an agent, in wide band where the call is."""
    record, media = leg.known()
    narrow = media.codec_name in ("PCMU", "PCMA") or (
        media.codec_name == "L16" and media.clock_rate_hz < WIDE_BAND_HZ
    )
    return OpenDialogflow(stream_id, record.identity, options, 8_000 if narrow else WIDE_BAND_HZ)


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
