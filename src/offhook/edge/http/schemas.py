"""The parameters of each command as Telnyx documents them (contract 2.1, 2.4).

Types are strict, unknown parameters are ignored (and logged), null is absent. The models check
each value by itself; what the values ask for together is decided in `commands` and `transcription`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from offhook.base import limits
from offhook.call.commands import RejectCause
from offhook.call.values import EngineAlias, EngineName
from offhook.edge.http import fields

_Headers = Annotated[list["CustomHeader"], Field(max_length=limits.HEADERS_PER_COMMAND_MAX)]
_Codec = Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"]
_Method = Literal["POST", "GET"]


class Body(BaseModel):
    """An object of a request."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class CommandBody(Body):
    """What every command may carry (contract 1.4)."""

    client_state: fields.ClientState | None = None
    command_id: fields.CommandId | None = None


class CustomHeader(Body):
    """A SIP header to add."""

    name: fields.HeaderName
    value: fields.HeaderValue


class SipHeader(Body):
    """A standard SIP header to add; Telnyx knows one."""

    name: Literal["User-to-User"]
    value: fields.HeaderValue


class CustomParameter(Body):
    """One member of `start.custom_parameters` in the stream."""

    name: fields.ParameterText
    value: fields.ParameterText


class DialogflowConfig(Body):
    """Options of a Dialogflow connection."""

    analyze_sentiment: bool = False
    partial_automated_agent_reply: bool = False
    language_code: Annotated[str, Field(max_length=35, pattern="^[A-Za-z0-9-]+$")] | None = None


class StreamBody(Body):
    """The parameters of a stream, wherever one can be asked for."""

    stream_url: fields.StreamUrl | None = None
    stream_track: Literal["inbound_track", "outbound_track", "both_tracks"] = "inbound_track"
    stream_codec: Literal["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16", "default"] = "default"
    stream_bidirectional_mode: Literal["mp3", "rtp"] = "mp3"
    stream_bidirectional_codec: _Codec = "PCMU"
    stream_bidirectional_sampling_rate: fields.SamplingRate = 8000
    stream_bidirectional_target_legs: Literal["both", "self", "opposite"] = "opposite"
    stream_auth_token: fields.AuthToken | None = None
    custom_parameters: Annotated[list[CustomParameter], Field(max_length=limits.CUSTOM_PARAMETERS_MAX)] = []
    enable_reconnect: bool = True
    enable_dialogflow: bool = False
    dialogflow_config: DialogflowConfig | None = None


class StreamingStart(CommandBody, StreamBody):
    """streaming_start."""


class StreamingStop(CommandBody):
    """streaming_stop: one stream, or all of the call without `stream_id`."""

    stream_id: str | None = None


class ForkStart(CommandBody):
    """fork_start: `rx` and `tx`, or `target`."""

    rx: fields.Target | None = None
    tx: fields.Target | None = None
    target: fields.Target | None = None
    stream_type: Literal["raw", "decrypted"] = "decrypted"


class ForkStop(CommandBody):
    """fork_stop: the forks of one type, or all of the call without `stream_type`."""

    stream_type: Literal["raw", "decrypted"] | None = None


class TranscriptionBody(Body):
    """What to transcribe and how; `language` and `interim_results` here are the form of 2024."""

    transcription_engine: Literal[EngineName, EngineAlias] | None = None
    transcription_engine_config: dict[str, Any] | None = None
    transcription_tracks: Literal["inbound", "outbound", "both"] = "inbound"
    language: str | None = None
    interim_results: bool | None = None


class TranscriptionStart(CommandBody, TranscriptionBody):
    """transcription_start."""


class SoundModifications(Body):
    """Changes of a voice."""

    pitch: float | None = None
    semitone: float | None = None
    octaves: float | None = None
    track: str = "outbound"


class DeepfakeDetection(Body):
    """Detection of synthetic voices."""

    enabled: bool
    rtp_timeout: Annotated[int, Field(ge=5, le=120)] = 30
    timeout: Annotated[int, Field(ge=5, le=60)] = 15


class RetriesPolicy(Body):
    """When the webhooks of one event are sent again."""

    retries_ms: Annotated[list[int], Field(max_length=5)] = []


class RecordBody(Body):
    """What may be asked of a recording that begins with an answer or a bridge."""

    record: Literal["record-from-answer"] | None = None
    record_channels: Literal["single", "dual"] = "dual"
    record_format: Literal["wav", "mp3"] = "mp3"
    record_max_length: Annotated[int, Field(ge=0, le=43_200)] = 0
    record_timeout_secs: Annotated[int, Field(ge=0)] = 0
    record_track: Literal["both", "inbound", "outbound"] = "both"
    record_trim: Literal["trim-silence"] | None = None
    record_custom_file_name: Annotated[str, Field(min_length=1, max_length=40)] | None = None


class Answer(CommandBody, StreamBody, RecordBody):
    """answer."""

    preferred_codecs: fields.CodecList = ""
    custom_headers: _Headers = []
    sip_headers: Annotated[list[SipHeader], Field(max_length=limits.HEADERS_PER_COMMAND_MAX)] = []
    send_silence_when_idle: bool = False
    webhook_url: fields.WebUrl | None = None
    webhook_url_method: _Method = "POST"
    webhook_urls: fields.WebUrls = {}
    webhook_urls_method: _Method = "POST"
    webhook_retries_policies: dict[str, RetriesPolicy] = {}
    transcription: bool = False
    transcription_config: TranscriptionBody | None = None
    billing_group_id: str | None = None
    sound_modifications: SoundModifications | None = None
    deepfake_detection: DeepfakeDetection | None = None
    assistant: dict[str, Any] = {}
    conversation_relay_config: dict[str, Any] = {}


class Dial(Answer):
    """Call somebody; what may begin with an answer may begin with the far end's too."""

    connection_id: str
    to: fields.Callees
    from_: fields.Caller = Field(alias="from")
    from_display_name: fields.DisplayName = ""
    timeout_secs: Annotated[int, Field(ge=5, le=600)] = 30
    retry_on_timeout: bool = True
    time_limit_secs: Annotated[int, Field(ge=30, le=14_400)] = 14_400
    link_to: str | None = None
    bridge_intent: bool = False
    bridge_on_answer: bool = False
    prevent_double_bridge: bool = False
    park_after_unbridge: Literal["self"] | None = None
    audio_url: fields.WebUrl | None = None
    media_name: fields.MediaName | None = None
    media_encryption: Literal["disabled", "SRTP", "DTLS"] = "disabled"
    sip_auth_username: fields.SipCredential | None = None
    sip_auth_password: fields.SipCredential | None = None
    sip_transport_protocol: Literal["UDP", "TCP", "TLS"] = "UDP"
    sip_region: Literal["US", "Europe", "Canada", "Australia", "Middle East"] = "US"
    route_to_mobile: bool = False
    privacy: Literal["id", "none"] = "none"
    diversion: fields.E164 | None = None
    send_digits_on_answer: fields.Digits = ""
    stream_establish_before_call_originate: bool = False
    supervise_call_control_id: str | None = None
    supervisor_role: Literal["barge", "whisper", "monitor"] = "barge"
    conference_config: dict[str, Any] = {}
    answering_machine_detection: Literal[
        "premium", "detect", "detect_beep", "detect_words", "greeting_end", "disabled"
    ] = "disabled"
    answering_machine_detection_config: dict[str, Any] = {}


class Reject(CommandBody):
    """reject."""

    cause: Literal["CALL_REJECTED", "USER_BUSY", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE"]

    def reject_cause(self) -> RejectCause:
        """Return the cause as the domain names it."""
        return RejectCause(self.cause)


class Hangup(CommandBody):
    """hangup. `reason` is for the CANCEL of an outgoing leg."""

    custom_headers: _Headers = []
    reason: fields.HangupReason | None = None


class SendDtmf(CommandBody):
    """send_dtmf."""

    digits: fields.Keys
    duration_millis: fields.DigitMs = 250


class PlaybackStart(CommandBody):
    """playback_start: one of `audio_url`, `media_name` and `playback_content`."""

    audio_url: fields.WebUrl | None = None
    playback_content: str | None = None
    media_name: fields.MediaName | None = None
    audio_type: Literal["mp3", "wav"] = "mp3"
    loop: fields.Loop = 1
    overlay: bool = False
    stop: fields.Stop | None = None
    target_legs: Literal["self", "opposite", "both"] = "self"
    cache_audio: bool = True


class SpeakBody(CommandBody):
    """What every command that speaks says about the text and the voice."""

    payload: fields.SpokenText
    voice: fields.VoiceName
    payload_type: Literal["text", "ssml"] = "text"
    service_level: Literal["basic", "premium"] = "premium"
    language: fields.LanguageCode | None = None
    voice_settings: dict[str, Any] | None = None


class Speak(SpeakBody):
    """speak."""

    loop: fields.Loop = 1
    stop: fields.Stop | None = None
    target_legs: Literal["self", "opposite", "both"] = "self"


class PlaybackStop(CommandBody):
    """playback_stop."""

    stop: fields.Stop = "all"
    overlay: bool = False


class ClientStateUpdate(Body):
    """client_state_update."""

    client_state: fields.ClientState
    command_id: fields.CommandId | None = None


class CommandResult(BaseModel):
    """What an accepted command is told."""

    model_config = ConfigDict(extra="forbid")
    result: Literal["ok"] = "ok"


class CommandAnswer(BaseModel):
    """The answer to an accepted command."""

    data: CommandResult


class StreamResult(CommandResult):
    """What a command is told that may begin streams."""

    stream_id: str | None = None
    dialogflow_stream_id: str | None = None


class StreamCommandAnswer(BaseModel):
    """The answer to an accepted command that may begin streams."""

    data: StreamResult


class AnswerResult(StreamResult):
    """What an answer is told, which may begin a recording, too."""

    recording_id: str | None = None


class AnswerAnswer(BaseModel):
    """The answer to an accepted answer."""

    data: AnswerResult


class RecordingResult(CommandResult):
    """What a command is told that has begun a recording."""

    recording_id: str


class RecordingCommandAnswer(BaseModel):
    """The answer to an accepted command that has begun a recording."""

    data: RecordingResult


class ErrorSource(BaseModel):
    """Which part of the request is at fault."""

    pointer: str


class ErrorMeta(BaseModel):
    """Where the code is explained."""

    url: str


class ErrorEntry(BaseModel):
    """One thing that is wrong."""

    code: str
    title: str
    detail: str
    source: ErrorSource | None = None
    meta: ErrorMeta


class ErrorAnswer(BaseModel):
    """The answer to a refused request."""

    errors: list[ErrorEntry]


class CallResource(BaseModel):
    """A call leg (contract 2.3)."""

    model_config = ConfigDict(extra="forbid")
    call_control_id: str
    call_leg_id: str
    call_session_id: str
    is_alive: bool
    record_type: Literal["call"] = "call"
    client_state: str | None = None
    call_duration: int | None = None
    start_time: str | None = None
    end_time: str | None = None


class DialledCall(CallResource):
    """A call leg that was just made, and the streams and the recording that begin with its answer."""

    stream_id: str | None = None
    dialogflow_stream_id: str | None = None
    recording_id: str | None = None


class DialAnswer(BaseModel):
    """The answer to a dial."""

    data: DialledCall


class ActiveCall(BaseModel):
    """A call that is up or ringing (contract 2.3)."""

    record_type: Literal["call"] = "call"
    call_control_id: str
    call_leg_id: str
    call_session_id: str
    client_state: str
    call_duration: int


class CallAnswer(BaseModel):
    """The answer about a call."""

    data: CallResource


class StreamFormat(BaseModel):
    """A codec and its rate in Hz, null where the data says it itself."""

    codec: str
    sample_rate: int | None


class StreamResource(BaseModel):
    """A stream as it is seen from inside, an addition of Offhook."""

    record_type: Literal["stream"] = "stream"
    stream_id: str
    call_control_id: str
    call_leg_id: str
    call_session_id: str
    stream_url: str | None
    stream_type: str
    state: str
    stream_track: str
    to_app: StreamFormat
    from_app: StreamFormat | None
    started_at: str
    connected_at: str | None
    ended_at: str | None
    stop_reason: str | None
    failure_reason: str | None
    failure_detail: str | None
    counters: dict[str, int]


class PageMeta(BaseModel):
    """Which page of how many."""

    page_number: int
    page_size: int
    total_pages: int
    total_results: int


class Cursors(BaseModel):
    """Where a page of a list begins and ends."""

    after: str | None
    before: str | None


class CursorMeta(PageMeta):
    """Which part of how much, and where its neighbours are."""

    total_items: int
    cursors: Cursors
    next: str | None
    previous: str | None


class ActiveCallsAnswer(BaseModel):
    """Some of the calls that are up or ringing."""

    data: list[ActiveCall]
    meta: CursorMeta


class StreamsAnswer(BaseModel):
    """Some of the streams."""

    data: list[StreamResource]
    meta: PageMeta


class PublicKeys(BaseModel):
    """Base64 of Ed25519 keys that verify webhooks; the neighbours are there while keys are renewed."""

    public_key: str
    next_public_key: str | None = None
    previous_public_key: str | None = None


class PublicKeysAnswer(BaseModel):
    """The answer about the keys."""

    data: PublicKeys


class HealthAnswer(BaseModel):
    """Whether calls are taken."""

    model_config = ConfigDict(extra="allow")
    status: str
