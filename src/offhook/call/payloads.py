"""What each webhook of a leg says (contract 3.4). Keys are sorted later, by the envelope."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offhook.base.clock import iso_time
from offhook.call.commands import StreamCallback, TranscriptionOptions
from offhook.call.facts import (
    AgentAnswered,
    IncomingCall,
    OutgoingCall,
    Payload,
    SpokenWord,
    TranscriptReady,
)
from offhook.call.headers import custom_headers, sip_headers
from offhook.call.values import Direction, Header, LegIdentity, QualityStats, Track
from offhook.call.verdicts import Verdict
from offhook.proto.sdp import NegotiatedMedia, offered_codecs


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What stays the same about a call from its first fact on."""

    identity: LegIdentity
    direction: Direction
    call: IncomingCall | OutgoingCall
    started_at: float


def common(record: CallRecord, client_state: str | None) -> Payload:
    """Return what every webhook of a leg says."""
    identity = record.identity
    return {
        "call_control_id": identity.call_control_id,
        "call_leg_id": identity.call_leg_id,
        "call_session_id": identity.call_session_id,
        "connection_id": identity.connection_id,
        "client_state": client_state,
        "calling_party_type": calling_party_type(record.call.caller),
        "start_time": iso_time(record.started_at),
    }


def calling_party_type(caller: str) -> str:
    """Return `pstn` for a number in +E164 format, else `sip`."""
    digits = caller.removeprefix("+")
    is_number = caller != digits and digits.isascii() and digits.isdigit() and len(digits) <= 15
    return "pstn" if is_number else "sip"


def parties(record: CallRecord) -> Payload:
    """Return who calls whom, for the events that say it."""
    return {"from": record.call.caller, "to": record.call.callee}


def initiated(record: CallRecord, codecs: Sequence[str], offered: Sequence[str] = ()) -> Payload:
    """Return what `call.initiated` adds; `codecs` are ours, `offered` what our own offer names."""
    call = record.call
    if call.offer is not None:
        offered = offered_codecs(call.offer)
    return {
        **_call_fields(record),
        "caller_id_name": call.caller_name or call.caller,
        "connection_codecs": ",".join(codecs),
        "custom_headers": custom_headers(call.headers),
        "direction": record.direction.value,
        "from_sip_uri": call.from_sip_uri,
        "offered_codecs": ",".join(offered),
        "state": "parked" if record.direction is Direction.INCOMING else "bridging",
        "to_sip_uri": call.to_sip_uri,
    }


def answered(record: CallRecord, headers: Sequence[Header], media: NegotiatedMedia) -> Payload:
    """Return what `call.answered` adds; `headers` are those the app put into the answer."""
    return {
        **_call_fields(record),
        "codec": media.codec_name,
        "custom_headers": custom_headers(headers),
        "sampling_rate": media.clock_rate_hz,
        "state": "answered",
    }


def hangup(
    record: CallRecord,
    headers: Sequence[Header],
    verdict: Verdict,
    ended_at: float,
    quality: QualityStats | None,
) -> Payload:
    """Return what `call.hangup` adds; `headers` are those of the app's answer and the far end's BYE."""
    return {
        **_call_fields(record),
        "call_quality_stats": None if quality is None else quality_stats(quality),
        "custom_headers": custom_headers(headers),
        "end_time": iso_time(ended_at),
        "hangup_cause": verdict.cause.value,
        "hangup_source": verdict.source.value,
        "sip_hangup_cause": verdict.sip,
        "state": "hangup",
    }


def quality_stats(quality: QualityStats) -> Payload:
    """Return `call_quality_stats`, in which every number is text."""
    return {
        "inbound": {
            "jitter_max_variance": f"{quality.jitter_max_ms:.2f}",
            "jitter_packet_count": str(quality.jitter_packets),
            "mos": f"{quality.mos:.2f}",
            "packet_count": str(quality.rx_packets),
            "skip_packet_count": str(quality.rx_packets_lost),
        },
        "outbound": {
            "packet_count": str(quality.tx_packets),
            "skip_packet_count": str(quality.tx_packets_skipped),
        },
    }


def transcription(fact: TranscriptReady) -> Payload:
    """Return what `call.transcription` adds. Words are told only where the engine tells them."""
    data: Payload = {
        "confidence": fact.confidence,
        "end_ms": fact.end_ms,
        "engine": fact.engine,
        "is_final": fact.is_final,
        "language": fact.language,
        "served_by": fact.served_by,
        "start_ms": fact.start_ms,
        "transcript": fact.transcript,
        "transcription_track": fact.track.telnyx_name,
        "utterance_end": fact.utterance_end,
        "utterance_id": fact.utterance_id,
    }
    if fact.words:
        data["word_times"] = fact.word_times
        data["words"] = [_word(word) for word in fact.words]
    return {"transcription_data": data}


def _word(word: SpokenWord) -> Payload:
    told: Payload = {
        "confidence": word.confidence,
        "end_ms": word.end_ms,
        "start_ms": word.start_ms,
        "word": word.word,
    }
    return told if word.speaker is None else {**told, "speaker": word.speaker}


def transcription_failed(
    options: TranscriptionOptions, tracks: Sequence[Track], reason: str, *, fallback: str | None = None
) -> Payload:
    """Return what `call.transcription.failed` adds; with a `fallback` that engine goes on."""
    return {
        "engine": options.engine,
        "fallback_engine": fallback,
        "reason": reason,
        "transcription_track": tracks[0].telnyx_name if len(tracks) == 1 else "both",
    }


def agent_answer(fact: AgentAnswered) -> Payload:
    """Return what `dialogflow.detectintent.response` adds; intent, language and sentiment are ours."""
    told: Payload = {
        "confidence": fact.confidence,
        "fulfillment_messages": [{"text": list(texts)} for texts in fact.messages],
        "intent": fact.intent,
        "is_final": fact.is_final,
        "language": fact.language,
        "stream_id": fact.stream_id,
        "transcript": fact.transcript,
    }
    if fact.sentiment is not None:
        score, magnitude = fact.sentiment
        told["sentiment"] = {"magnitude": magnitude, "score": score}
    return told


def stream_track(tracks: Sequence[Track]) -> str:
    """Return the `stream_track` that asks for these tracks."""
    return f"{tracks[0].telnyx_name}_track" if len(tracks) == 1 else "both_tracks"


def stream_callback(identity: LegIdentity, callback: StreamCallback, stream_id: str) -> Payload:
    """Return what every callback of a TeXML stream says (contract 6), less what has happened."""
    return {
        "AccountSid": callback.account_sid,
        "CallSid": identity.call_control_id,
        "CallSidLegacy": identity.call_control_id,
        "StreamName": callback.name,
        "StreamSid": stream_id,
    }


def stream_start(
    record: CallRecord, *, user_id: str, client_state: str | None, stream: dict[str, Any]
) -> Payload:
    """Return the value of the start frame's `start` key (contract 4.3); `stream` is what is its own."""
    identity = record.identity
    return {
        "user_id": user_id,
        "call_control_id": identity.call_control_id,
        "call_session_id": identity.call_session_id,
        "from": record.call.caller,
        "to": record.call.callee,
        "tags": [],
        "client_state": client_state,
        "call_leg_id": identity.call_leg_id,
        "connection_id": identity.connection_id,
        "direction": record.direction.value,
        **stream,
    }


def _call_fields(record: CallRecord) -> Payload:
    return {
        **parties(record),
        "sip_headers": sip_headers(record.call.headers),
        "tags": [],
    }
