"""One request for each command, as the OpenAPI description shows it."""

from typing import Any

from offhook.edge.http.commands import DIAL

REQUESTS: dict[str, dict[str, Any]] = {
    "answer": {"client_state": "aGVsbG8=", "command_id": "891510ac-f3e4-11e8-af5b-de00688a4901"},
    "reject": {"cause": "USER_BUSY"},
    "hangup": {"command_id": "891510ac-f3e4-11e8-af5b-de00688a4901"},
    "streaming_start": {
        "stream_url": "wss://app.example/media",
        "stream_track": "both_tracks",
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": "L16",
        "stream_bidirectional_sampling_rate": 16000,
    },
    "streaming_stop": {"stream_id": "32de0dea-53cb-4b21-89a4-9e1819c043bc"},
    "fork_start": {"rx": "udp:192.0.2.7:9000", "tx": "udp:192.0.2.7:9002"},
    "fork_stop": {"stream_type": "decrypted"},
    "transcription_start": {"transcription_engine": "Telnyx", "transcription_tracks": "both"},
    "transcription_stop": {},
    "playback_start": {"audio_url": "https://app.example/hello.wav", "loop": 2},
    "playback_stop": {"stop": "all"},
    "speak": {"payload": "Thank you for calling.", "voice": "female"},
    "send_dtmf": {"digits": "1www2WABCDw9", "duration_millis": 250},
    "send_sip_info": {"content_type": "application/json", "body": '{"queue": 3}'},
    "bridge": {"call_control_id": "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg"},
    "transfer": {"to": "sip:desk@pbx.example", "timeout_secs": 20, "park_after_unbridge": "self"},
    "refer": {"sip_address": "sip:desk@pbx.example"},
    "gather": {"gather_id": "pin", "minimum_digits": 4, "maximum_digits": 4, "terminating_digit": "#"},
    "gather_using_audio": {"audio_url": "https://app.example/pin.wav", "maximum_digits": 4},
    "gather_using_speak": {"payload": "Your PIN, please.", "voice": "female", "maximum_digits": 4},
    "gather_stop": {},
    "record_start": {"format": "mp3", "channels": "dual", "play_beep": True, "max_length": 3600},
    "record_stop": {},
    "record_pause": {},
    "record_resume": {},
    "client_state_update": {"client_state": "aGVsbG8="},
    DIAL: {
        "connection_id": "1000000000000000001",
        "to": "sip:alice@pbx.example;transport=tcp",
        "from": "+15550100000",
        "timeout_secs": 20,
    },
}
"""By the name of the command."""
