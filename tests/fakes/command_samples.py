"""One request for each command, and one telling value for each of its parameters.

A new command or parameter has no line here at first; the tests that read these tables say so.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

from offhook.edge.http.commands import ACTIONS, DIAL
from tests.fakes.call_service import CONNECTION_ID, OTHER_CALL

Members = dict[str, Any]

SOCKET = "wss://app.example/media"
SOUND = "https://app.example/hello.wav"
WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVE").decode()
COMMANDS = (*(action.name for action in ACTIONS), DIAL)
"""Every command, by the name that the API's reference gives it."""

LEAST: dict[str, Members] = {
    "answer": {},
    "reject": {"cause": "USER_BUSY"},
    "hangup": {},
    "streaming_start": {"stream_url": SOCKET},
    "streaming_stop": {},
    "fork_start": {"rx": "udp:192.0.2.1:9000", "tx": "udp:192.0.2.1:9002"},
    "fork_stop": {},
    "transcription_start": {},
    "transcription_stop": {},
    "playback_start": {"audio_url": SOUND},
    "playback_stop": {},
    "record_start": {"format": "wav", "channels": "dual"},
    "record_stop": {},
    "record_pause": {},
    "record_resume": {},
    "speak": {"payload": "Hello.", "voice": "female"},
    "send_dtmf": {"digits": "12"},
    "send_sip_info": {"content_type": "application/json", "body": "{}"},
    "refer": {"sip_address": "sip:desk@pbx.example"},
    "gather": {},
    "gather_using_audio": {"audio_url": SOUND},
    "gather_using_speak": {"payload": "Hello.", "voice": "female"},
    "gather_stop": {},
    "client_state_update": {"client_state": "eA=="},
    "bridge": {"call_control_id": OTHER_CALL},
    "transfer": {"to": "+15550100002"},
    DIAL: {"connection_id": CONNECTION_ID, "to": "+15550100002", "from": "+15550100001"},
}
"""The least that each command may be asked with."""

BEFORE: dict[str, tuple[str, ...]] = {
    "streaming_stop": ("streaming_start",),
    "fork_stop": ("fork_start",),
    "transcription_stop": ("transcription_start",),
    "playback_stop": ("playback_start",),
    "gather_stop": ("gather",),
}
"""Which commands an answered call must have had before this one does something."""
WHILE_RINGING = frozenset({"answer", "reject"})
"""Commands for a call that is not answered yet; the others are for one that is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a parameter that asks for something else than its absence.

    `beside` is what else the request must hold for the parameter to say anything, `without` what it
    must not hold.
    """

    value: Any
    beside: Members = field(default_factory=dict)
    without: tuple[str, ...] = ()


_STREAM = {"stream_url": SOCKET}
_APP_SPEAKS = {**_STREAM, "stream_bidirectional_mode": "rtp"}
_AGENT = {"enable_dialogflow": True}
_HEADERS = [{"name": "User-to-User", "value": "00"}]
_RECORD = {"record": "record-from-answer"}

_SAMPLES: dict[str, Sample] = {
    "client_state": Sample("c3RhdGU="),
    "command_id": Sample("once"),
    "preferred_codecs": Sample("G722"),
    "custom_headers": Sample([{"name": "X-A", "value": "1"}]),
    "sip_headers": Sample(_HEADERS),
    "send_silence_when_idle": Sample(True),
    "webhook_url": Sample("https://app.example/other"),
    "webhook_url_method": Sample("GET", {"webhook_url": "https://app.example/other"}),
    "webhook_urls": Sample({"call.hangup": "https://app.example/other"}),
    "webhook_urls_method": Sample("GET", {"webhook_urls": {"call.hangup": "https://app.example/other"}}),
    "webhook_retries_policies": Sample({"call.hangup": {"retries_ms": [100, 200]}}),
    "billing_group_id": Sample("f5586561-8ff0-4291-a0ac-84fe544797bd"),
    "sound_modifications": Sample({"pitch": 0.8}),
    "deepfake_detection": Sample({"enabled": True}),
    "assistant": Sample({"id": "assistant"}),
    "conversation_relay_config": Sample({"url": SOCKET}),
    # streams
    "stream_url": Sample("wss://app.example/other"),
    "stream_track": Sample("both_tracks", _STREAM),
    "stream_codec": Sample("PCMA", _STREAM),
    "stream_bidirectional_mode": Sample("rtp", _STREAM),
    "stream_bidirectional_codec": Sample("L16", _APP_SPEAKS),
    "stream_bidirectional_sampling_rate": Sample(16000, {**_APP_SPEAKS, "stream_bidirectional_codec": "L16"}),
    "stream_bidirectional_target_legs": Sample("both", _APP_SPEAKS),
    "stream_auth_token": Sample("token", _STREAM),
    "custom_parameters": Sample([{"name": "tenant", "value": "1"}], _STREAM),
    "enable_reconnect": Sample(False, _STREAM),
    "enable_dialogflow": Sample(True),
    "dialogflow_config": Sample({"analyze_sentiment": True}, _AGENT),
    "stream_id": Sample("32de0dea-53cb-4b21-89a4-9e1819c043bc"),
    # forks
    "rx": Sample("udp:192.0.2.2:9000"),
    "tx": Sample("udp:192.0.2.2:9002"),
    "target": Sample("udp:192.0.2.2:9000", without=("rx", "tx")),
    "stream_type": Sample("raw"),
    # transcription
    "transcription": Sample(True),
    "transcription_config": Sample({"transcription_tracks": "both"}, {"transcription": True}),
    "transcription_engine": Sample("Deepgram"),
    "transcription_engine_config": Sample({"transcription_engine": "Google", "language": "de"}),
    "transcription_tracks": Sample("outbound"),
    "language": Sample("de"),
    "interim_results": Sample(True),
    # recordings
    "format": Sample("mp3"),
    "channels": Sample("single"),
    "recording_track": Sample("inbound"),
    "play_beep": Sample(True),
    "max_length": Sample(60),
    "trim": Sample("trim-silence"),
    "custom_file_name": Sample("mine"),
    "recording_id": Sample("32de0dea-53cb-4b21-89a4-9e1819c043bc"),
    "transcription_language": Sample("de-DE"),
    "transcription_profanity_filter": Sample(True),
    "transcription_speaker_diarization": Sample(True),
    "transcription_min_speaker_count": Sample(3),
    "transcription_max_speaker_count": Sample(4),
    "record": Sample("record-from-answer"),
    "record_channels": Sample("single", _RECORD),
    "record_format": Sample("wav", _RECORD),
    "record_max_length": Sample(60, _RECORD),
    "record_timeout_secs": Sample(5, _RECORD),
    "record_track": Sample("inbound", _RECORD),
    "record_trim": Sample("trim-silence", _RECORD),
    "record_custom_file_name": Sample("mine", _RECORD),
    # sounds and keys
    "audio_url": Sample("https://app.example/other.wav"),
    "media_name": Sample("mine", without=("audio_url",)),
    "playback_content": Sample(WAV, without=("audio_url",)),
    "audio_type": Sample("wav"),
    "loop": Sample(3),
    "overlay": Sample(True),
    "stop": Sample("current"),
    "target_legs": Sample("both"),
    "cache_audio": Sample(False),
    "digits": Sample("9"),
    "duration_millis": Sample(300),
    "minimum_digits": Sample(2),
    "maximum_digits": Sample(4),
    "terminating_digit": Sample("*"),
    "valid_digits": Sample("123"),
    "timeout_millis": Sample(9000),
    "inter_digit_timeout_millis": Sample(1000),
    "initial_timeout_millis": Sample(2000),
    "gather_id": Sample("pin"),
    "maximum_tries": Sample(2),
    "invalid_audio_url": Sample("https://app.example/wrong.wav"),
    "invalid_media_name": Sample("wrong"),
    "invalid_payload": Sample("Once more."),
    # signals
    "content_type": Sample("text/plain"),
    "body": Sample("hello"),
    "sip_address": Sample("sip:sales@pbx.example"),
    # texts
    "payload": Sample("Goodbye."),
    "payload_type": Sample("ssml", {"payload": "<speak>Hello.</speak>"}),
    "voice": Sample("AWS.Polly.Joanna"),
    "voice_settings": Sample({"type": "telnyx", "voice_speed": 1.5}),
    "service_level": Sample("basic"),
    # calls
    "cause": Sample("NOT_FOUND"),
    "reason": Sample("done"),
    "connection_id": Sample("1000000000000000002"),
    "to": Sample("sip:alice@pbx.example"),
    "from": Sample("+15550100009"),
    "from_display_name": Sample("Alice"),
    "timeout_secs": Sample(10),
    "retry_on_timeout": Sample(False),
    "time_limit_secs": Sample(60),
    "link_to": Sample("v3:other"),
    "bridge_intent": Sample(True, {"link_to": "v3:other"}),
    "bridge_on_answer": Sample(True, {"link_to": "v3:other"}),
    "prevent_double_bridge": Sample(True, {"link_to": "v3:other", "bridge_on_answer": True}),
    "call_control_id": Sample("v3:third"),
    "queue": Sample("support"),
    "video_room_id": Sample("f5586561-8ff0-4291-a0ac-84fe544797bd"),
    "video_room_context": Sample("Alice"),
    "hold_after_unbridge": Sample(True),
    "mute_dtmf": Sample("self"),
    "play_ringtone": Sample(True),
    "ringtone": Sample("uk", {"play_ringtone": True}),
    "early_media": Sample(False),
    "target_leg_client_state": Sample("Yg=="),
    "park_after_unbridge": Sample("self", {"link_to": "v3:other"}),
    "media_encryption": Sample("DTLS"),
    "sip_auth_username": Sample("alice"),
    "sip_auth_password": Sample("secret", {"sip_auth_username": "alice"}),
    "sip_transport_protocol": Sample("TCP"),
    "sip_region": Sample("Europe"),
    "privacy": Sample("id"),
    "route_to_mobile": Sample(True),
    "diversion": Sample("+15550100003"),
    "send_digits_on_answer": Sample("12#"),
    "stream_establish_before_call_originate": Sample(True, _STREAM),
    "supervise_call_control_id": Sample("v3:other"),
    "supervisor_role": Sample("whisper"),
    "conference_config": Sample({"conference_name": "x"}),
    "answering_machine_detection": Sample("detect"),
    "answering_machine_detection_config": Sample({"total_analysis_time_millis": 5000}),
}
_OF_ONE_COMMAND: dict[tuple[str, str], Sample] = {
    ("record_start", "transcription_engine"): Sample("B"),
    ("speak", "language"): Sample("de-DE"),
}
"""Where a parameter means something else than in the other commands."""

REFUSED_VALUES: dict[tuple[str, str], Any] = {
    ("gather_using_speak", "voice_settings"): {"type": "elevenlabs", "api_key_ref": "mine"},
    ("transfer", "media_encryption"): "DTLS",
    ("transfer", "sip_transport_protocol"): "TLS",
    ("speak", "voice_settings"): {"type": "elevenlabs", "api_key_ref": "mine"},
    (DIAL, "media_encryption"): "DTLS",
    (DIAL, "sip_transport_protocol"): "TLS",
}
"""A value of each parameter that is done in part, which this server does not do."""


def sample_of(command: str, parameter: str) -> Sample | None:
    """Return a telling value of a parameter, or None where nobody has written one."""
    return _OF_ONE_COMMAND.get((command, parameter)) or _SAMPLES.get(parameter)


def request_with(command: str, parameter: str, value: Any, sample: Sample) -> tuple[Members, Members]:
    """Return two requests that differ by nothing but one parameter: without it (as the least), and with."""
    without = {name: held for name, held in LEAST[command].items() if name not in sample.without}
    without = {**without, **sample.beside}
    return without, {**without, parameter: value}
