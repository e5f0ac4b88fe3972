"""From checked parameters to commands of the domain, one function a command.

Here the API's words end: tracks become rx and tx, targets become addresses. A value that is valid
but not done by this server yet is refused with 10038, never silently ignored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel

from offhook.base.errors import OffhookError
from offhook.call import commands as domain
from offhook.call.codecs import MP3, STREAM_RATES_HZ
from offhook.call.values import Header, TargetLegs, Track, UdpTarget, WebhookWishes
from offhook.edge.http import fields, schemas
from offhook.edge.http.bridging import (
    BridgeBody,
    TransferBody,
    after_bridge_of_dial,
    bridge,
    bridge_of_dial,
    transferred,
)
from offhook.edge.http.building import common, not_yet, refusal, refuse_asked
from offhook.edge.http.events import EVENT_TYPES
from offhook.edge.http.gathering import (
    GatherBody,
    GatherUsingAudio,
    GatherUsingSpeak,
    gather,
    gather_stop,
    gather_using_audio,
    gather_using_speak,
)
from offhook.edge.http.playback import inline_playback, playback_start, playback_stop
from offhook.edge.http.problems import Refusal
from offhook.edge.http.recording import (
    RecordingNamed,
    RecordStart,
    inline_recording,
    record_pause,
    record_resume,
    record_start,
    record_stop,
)
from offhook.edge.http.signalling import Refer, SendSipInfo, refer, send_sip_info
from offhook.edge.http.speaking import speak
from offhook.edge.http.transcription import transcription_options
from offhook.proto.sip import SipUri, is_address, plain_host

log = structlog.get_logger(__name__)

STREAM_TRACKS = {
    "inbound_track": (Track.RX,),
    "outbound_track": (Track.TX,),
    "both_tracks": (Track.RX, Track.TX),
}
WEBHOOK_RETRIES_MS_MAX = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this installation lets a command ask for.

    Args:
        check_ip: raises an `OffhookError` when packets must not be sent to that IP address.
        engines_refused: transcription engines that are switched off here.
        ignore_unsupported: accept features of an answer that are not done here, and do without them.
        silence_when_idle: whether calls get silence while nothing is played, where the app does not say.
        has_sound_folder: whether this server has sounds that are played by their names.
    """

    check_ip: Callable[[str], None]
    engines_refused: frozenset[str] = frozenset()
    ignore_unsupported: bool = False
    silence_when_idle: bool = False
    has_sound_folder: bool = False


def answer(body: schemas.Answer, rules: Rules) -> domain.Answer:
    """Return the command of an answer."""
    _refuse_later_features(body, rules)
    return domain.Answer(
        **common(body),
        preferred_codecs=_preferred_codecs(body),
        headers=_headers(body.sip_headers) + _headers(body.custom_headers),
        silence_when_idle=_silence_when_idle(body, rules),
        webhooks=_webhooks(body),
        stream=_stream(body),
        dialogflow=_dialogflow(body),
        transcription=_inline_transcription(body, rules),
        recording=inline_recording(body),
    )


def dial(body: schemas.Dial, rules: Rules) -> domain.Dial:
    """Return the command of a call to make."""
    _refuse_later_features(body, rules)
    uris = [SipUri.parse(callee.partition(",")[0]) for callee in body.to if callee.lower().startswith("sip:")]
    _refuse_later_dialling(body, uris, rules)
    for uri in uris:
        _check_sip_host(uri, rules)
    headers = _headers(body.sip_headers) + _headers(body.custom_headers)
    if body.diversion is not None:
        headers += (Header("Diversion", f"<tel:{body.diversion}>"),)
    says_transport = "sip_transport_protocol" in body.model_fields_set
    # Keys after a comma are for the one address there is; the parameter for keys wins over them.
    called, _, digits = body.to[0].partition(",")
    return domain.Dial(
        **common(body),
        connection_id=body.connection_id,
        to=(called,) if len(body.to) == 1 else body.to,
        caller=body.from_,
        caller_name=body.from_display_name,
        timeout_s=float(body.timeout_secs),
        retry_on_timeout=body.retry_on_timeout,
        time_limit_s=float(body.time_limit_secs),
        link_to=body.link_to,
        caller_of_link=body.bridge_intent,
        bridge=bridge_of_dial(body),
        after_bridge=after_bridge_of_dial(body),
        transport=domain.Transport(body.sip_transport_protocol.lower()) if says_transport else None,
        username=body.sip_auth_username,
        password=body.sip_auth_password,
        hide_caller=body.privacy == "id",
        digits=body.send_digits_on_answer or digits,
        playback=inline_playback(body, rules),
        preferred_codecs=_preferred_codecs(body),
        headers=headers,
        silence_when_idle=_silence_when_idle(body, rules),
        webhooks=_webhooks(body),
        stream=_stream(body),
        stream_first=body.stream_establish_before_call_originate,
        dialogflow=_dialogflow(body),
        transcription=_inline_transcription(body, rules),
        recording=inline_recording(body),
    )


def transfer(body: TransferBody, rules: Rules) -> domain.Transfer:
    """Return the command of a transfer: the call it makes is a dial."""
    return transferred(body, dial(body.as_dial(), rules))


def _preferred_codecs(body: schemas.Answer) -> tuple[str, ...]:
    return tuple(body.preferred_codecs.split(",")) if body.preferred_codecs else ()


def _inline_transcription(body: schemas.Answer, rules: Rules) -> domain.TranscriptionOptions | None:
    transcription = None
    if body.transcription_config is not None:
        transcription = transcription_options(
            body.transcription_config, prefix="/transcription_config", refused_engines=rules.engines_refused
        )
    elif body.transcription:
        transcription = transcription_options(
            schemas.TranscriptionBody(), prefix="/transcription_config", refused_engines=rules.engines_refused
        )
    return transcription if body.transcription else None


def reject(body: schemas.Reject, rules: Rules) -> domain.Reject:
    """Return the command of a reject."""
    return domain.Reject(**common(body), cause=body.reject_cause())


def hangup(body: schemas.Hangup, rules: Rules) -> domain.Hangup:
    """Return the command of a hangup."""
    return domain.Hangup(**common(body), headers=_headers(body.custom_headers), reason=body.reason)


def fork_start(body: schemas.ForkStart, rules: Rules) -> domain.StartFork:
    """Return the command of a fork: either one target for both directions, or one for each."""
    targets = {"rx": body.rx, "tx": body.tx, "target": body.target}
    if targets["target"] is not None:
        if targets["rx"] is not None or targets["tx"] is not None:
            raise refusal("10015", "Give either `target`, or `rx` and `tx`.", "/target")
    else:
        for name in ("rx", "tx"):
            if targets[name] is None:
                raise refusal("10004", f"The parameter `{name}` is required.", f"/{name}")
    for name, target in targets.items():
        if target is not None:
            _check_target(name, target, rules)
    return domain.StartFork(
        **common(body),
        fork_type=domain.ForkType(body.stream_type),
        rx=body.rx,
        tx=body.tx,
        target=body.target,
    )


def fork_stop(body: schemas.ForkStop, rules: Rules) -> domain.StopFork:
    """Return the command to stop forks; without a type, all of them."""
    return domain.StopFork(
        **common(body), fork_type=None if body.stream_type is None else domain.ForkType(body.stream_type)
    )


def streaming_start(body: schemas.StreamingStart, rules: Rules) -> domain.StartStream:
    """Return the command of a stream."""
    if body.stream_url is None and not body.enable_dialogflow:
        raise refusal("10004", "The parameter `stream_url` is required.", "/stream_url")
    return domain.StartStream(**common(body), stream=_stream(body), dialogflow=_dialogflow(body))


def streaming_stop(body: schemas.StreamingStop, rules: Rules) -> domain.StopStream:
    """Return the command to stop streams; without an id, all of them."""
    # The documentation prints stream ids in both cases (contract 1.3); ours are lower-case.
    stream_id = body.stream_id.lower() if body.stream_id else None
    return domain.StopStream(**common(body), stream_id=stream_id)


def transcription_start(body: schemas.TranscriptionStart, rules: Rules) -> domain.StartTranscription:
    """Return the command of a transcription."""
    options = transcription_options(body, refused_engines=rules.engines_refused)
    return domain.StartTranscription(**common(body), transcription=options)


def transcription_stop(body: schemas.CommandBody, rules: Rules) -> domain.StopTranscription:
    """Return the command to stop transcribing."""
    return domain.StopTranscription(**common(body))


def client_state_update(body: schemas.ClientStateUpdate, rules: Rules) -> domain.UpdateClientState:
    """Return the command that sets client_state."""
    return domain.UpdateClientState(**common(body))


def send_dtmf(body: schemas.SendDtmf, rules: Rules) -> domain.SendDigits:
    """Return the command that presses keys."""
    return domain.SendDigits(**common(body), digits=body.digits, duration_ms=body.duration_millis)


DIAL = "dial"
"""The name of the command of `POST /v2/calls`."""


@dataclass(frozen=True, slots=True)
class Action:
    """One command of the API: how it is asked for and what builds it."""

    name: str
    body: type[BaseModel]
    build: Callable[[Any, Rules], domain.Command]
    method: str = "POST"
    answer: type[BaseModel] = schemas.CommandAnswer


ACTIONS = (
    Action("answer", schemas.Answer, answer, answer=schemas.AnswerAnswer),
    Action("reject", schemas.Reject, reject),
    Action("hangup", schemas.Hangup, hangup),
    Action("streaming_start", schemas.StreamingStart, streaming_start, answer=schemas.StreamCommandAnswer),
    Action("streaming_stop", schemas.StreamingStop, streaming_stop),
    Action("bridge", BridgeBody, bridge),
    Action("transfer", TransferBody, transfer),
    Action("fork_start", schemas.ForkStart, fork_start),
    Action("fork_stop", schemas.ForkStop, fork_stop),
    Action("transcription_start", schemas.TranscriptionStart, transcription_start),
    Action("transcription_stop", schemas.CommandBody, transcription_stop),
    Action("playback_start", schemas.PlaybackStart, playback_start),
    Action("speak", schemas.Speak, speak),
    Action("playback_stop", schemas.PlaybackStop, playback_stop),
    Action("send_dtmf", schemas.SendDtmf, send_dtmf),
    Action("send_sip_info", SendSipInfo, send_sip_info),
    Action("refer", Refer, refer),
    Action("gather", GatherBody, gather),
    Action("gather_using_audio", GatherUsingAudio, gather_using_audio),
    Action("gather_using_speak", GatherUsingSpeak, gather_using_speak),
    Action("gather_stop", schemas.CommandBody, gather_stop),
    Action("record_start", RecordStart, record_start, answer=schemas.RecordingCommandAnswer),
    Action("record_stop", RecordingNamed, record_stop),
    Action("record_pause", RecordingNamed, record_pause),
    Action("record_resume", RecordingNamed, record_resume),
    Action("client_state_update", schemas.ClientStateUpdate, client_state_update, method="PUT"),
)


def _silence_when_idle(body: schemas.Answer, rules: Rules) -> bool:
    asked = "send_silence_when_idle" in body.model_fields_set
    return body.send_silence_when_idle if asked else rules.silence_when_idle


def _headers(headers: list[schemas.CustomHeader] | list[schemas.SipHeader]) -> tuple[Header, ...]:
    return tuple(Header(header.name, header.value) for header in headers)


def _dialogflow(body: schemas.StreamBody) -> domain.DialogflowOptions | None:
    if not body.enable_dialogflow:
        return None
    config = body.dialogflow_config or schemas.DialogflowConfig()
    return domain.DialogflowOptions(
        tracks=STREAM_TRACKS[body.stream_track],
        language=config.language_code,
        analyze_sentiment=config.analyze_sentiment,
        partial_replies=config.partial_automated_agent_reply,
    )


def _stream(body: schemas.StreamBody) -> domain.StreamOptions | None:
    if body.stream_url is None:
        return None
    speaks = body.stream_bidirectional_mode == "rtp"
    return domain.StreamOptions(
        url=body.stream_url,
        tracks=STREAM_TRACKS[body.stream_track],
        codec=None if body.stream_codec == "default" else body.stream_codec,
        # In mp3 mode the parameter says nothing; raw audio is then answered by an error frame.
        app_codec=body.stream_bidirectional_codec if speaks else MP3,
        target_legs=TargetLegs(body.stream_bidirectional_target_legs),
        sample_rate_hz=_rate_hz(body, speaks=speaks),
        auth_token=body.stream_auth_token or None,
        custom_parameters=tuple((item.name, item.value) for item in body.custom_parameters),
        reconnect=body.enable_reconnect,
    )


def _rate_hz(body: schemas.StreamBody, *, speaks: bool) -> int | None:
    """Return the rate asked for, None for the usual one of the codec; one that no codec has is refused."""
    if "stream_bidirectional_sampling_rate" not in body.model_fields_set:
        return None
    rate_hz = body.stream_bidirectional_sampling_rate
    codecs = {body.stream_codec, body.stream_bidirectional_codec if speaks else "default"} - {"default"}
    rates_hz = {name: STREAM_RATES_HZ[name] for name in sorted(codecs)}
    if rates_hz and not any(rate_hz in rates for rates in rates_hz.values()):
        said = " and ".join(f"{name} has {', '.join(map(str, rates))}" for name, rates in rates_hz.items())
        detail = f"No codec here has {rate_hz} Hz: {said}."
        raise refusal("10032", detail, "/stream_bidirectional_sampling_rate")
    return rate_hz


def _check_target(name: str, target: UdpTarget, rules: Rules) -> None:
    if fields.is_host_name(target):
        raise refusal("10015", f"`{name}` must be an IP address, not a host name.", f"/{name}")
    try:
        rules.check_ip(target.host)
    except OffhookError:
        detail = (
            f"The address in `{name}` is private or reserved; "
            "OFFHOOK_ALLOW_PRIVATE_EGRESS=true lets this server send there."
        )
        raise refusal("10015", detail, f"/{name}") from None


def _webhooks(body: schemas.Answer) -> WebhookWishes:
    for event, policy in body.webhook_retries_policies.items():
        if any(wait < 0 for wait in policy.retries_ms) or sum(policy.retries_ms) > WEBHOOK_RETRIES_MS_MAX:
            detail = f"`retries_ms` must add up to at most {WEBHOOK_RETRIES_MS_MAX} ms."
            raise refusal("10033", detail, "/webhook_retries_policies")
        if event not in EVENT_TYPES:
            raise refusal(
                "90057",
                "`webhook_retries_policies` has a key that is no event type.",
                "/webhook_retries_policies",
            )
    return WebhookWishes(
        body.webhook_url,
        body.webhook_url_method,
        body.webhook_urls,
        body.webhook_urls_method,
        {
            event: tuple(wait_ms / 1000 for wait_ms in policy.retries_ms)
            for event, policy in body.webhook_retries_policies.items()
        },
    )


def _refuse_later_features(body: schemas.Answer, rules: Rules) -> None:
    sound = body.sound_modifications
    asked = {
        "sound_modifications": sound is not None and any((sound.pitch, sound.semitone, sound.octaves)),
        "deepfake_detection": body.deepfake_detection is not None and body.deepfake_detection.enabled,
        "assistant": bool(body.assistant),
        "conversation_relay_config": bool(body.conversation_relay_config),
    }
    refuse_asked(asked, ignored=rules.ignore_unsupported)


def _refuse_later_dialling(body: schemas.Dial, uris: Sequence[SipUri], rules: Rules) -> None:
    secure = any("secure" in uri.parameters for uri in uris)
    tls = any(uri.parameters.get("transport", "udp").lower() not in ("udp", "tcp") for uri in uris)
    asked = {
        "media_encryption": body.media_encryption != "disabled",
        "sip_transport_protocol": body.sip_transport_protocol == "TLS",
        "supervise_call_control_id": body.supervise_call_control_id is not None,
        "conference_config": bool(body.conference_config),
        "answering_machine_detection": body.answering_machine_detection != "disabled",
    }
    if secure or tls:
        # Unlike the rest this is never ignored: who asks for secrecy must not be called without it.
        raise Refusal(422, not_yet("to", "leave `secure` out and use the transport udp or tcp"))
    for name in ("media_encryption", "sip_transport_protocol"):
        if asked.pop(name):
            raise Refusal(422, not_yet(name, "leave it out"))
    refuse_asked(asked, ignored=rules.ignore_unsupported)


def _check_sip_host(uri: SipUri, rules: Rules) -> None:
    host = plain_host(uri.host)
    if not is_address(host):
        return  # a name is looked up when the call is made, and its addresses are checked then
    try:
        rules.check_ip(host)
    except OffhookError:
        detail = (
            "The address in `to` is private or reserved; "
            "OFFHOOK_ALLOW_PRIVATE_EGRESS=true lets this server call there."
        )
        raise refusal("10015", detail, "/to") from None
