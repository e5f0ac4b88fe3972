"""Every bound of the control plane, by name. A setting may lower or raise some of them."""

# Calls
LEGS_MAX = 2_000
"""Legs alive at once on one node; further INVITEs get 503."""
ENDED_LEGS_KEPT_S = 600.0
"""How long `GET /v2/calls/{id}` answers after the end (contract 2.3)."""
ENDED_LEGS_KEPT_MAX = 20_000
EFFECTS_QUEUED_PER_LEG_MAX = 1_000
STREAMS_PER_LEG_MAX = 8
FORKS_PER_LEG_MAX = 8
FORKS_PER_HOST_PER_S = 100.0
"""Forks aimed at one host in a second; a fork is a hundred packets a second, and the host need not want them."""
FORK_HOSTS_REMEMBERED_MAX = 4_096
TRANSCRIPTIONS_PER_LEG_MAX = 8
"""One runs at a time; the others are stopped ones that still tell their last words."""
COMMAND_IDS_KEPT_S = 60.0
"""How long a `command_id` is remembered (contract 1.4)."""
COMMAND_IDS_PER_LEG_MAX = 1_000
RING_TIMEOUT_S = 180.0
"""How long a call waits for the app before it is refused with 480."""
ACK_TIMEOUT_S = 40.0
"""How long an answered call waits for its ACK; longer than the 32 s after which SIP gives up."""
CALL_TIME_LIMIT_S = 14_400.0
"""How long an answered call may last."""
DIAL_TIMEOUT_S = 30.0
"""How long a call we make may ring when the app does not say (contract 2.3)."""
PREPARING_TIMEOUT_S = 20.0
"""How long a call we make waits for the stream that should be open before it."""
DIAL_TARGETS_MAX = 16
"""Addresses that one call may ring at once."""
DIAL_COMMAND_IDS_MAX = 20_000
"""`command_id`s of calls we made that are remembered, whatever the connection."""
DIAL_DIGITS_MAX = 64
"""Keys of `send_digits_on_answer`."""
ENDING_TIMEOUT_S = 5.0
"""How long a leg that ended waits for its taps to report before it tells `call.hangup` anyway."""
EVENT_STORED_TIMEOUT_S = 2.0
"""How long a leg waits until an event is on the disk; a disk that hangs must not hold up a BYE."""
STREAM_START_HOLD_S = 0.25
"""How long a stream's start frame waits for the first attempt of its `streaming.started`."""

# Commands (contract 2.1)
COMMAND_BODY_BYTES_MAX = 256 * 1024
URL_CHARACTERS_MAX = 2_000
AUTH_TOKEN_CHARACTERS_MAX = 4_000
CUSTOM_PARAMETERS_MAX = 100
CUSTOM_PARAMETER_CHARACTERS_MAX = 4_000
FORM_FIELDS_MAX = 100
CLIENT_STATE_CHARACTERS_MAX = 16 * 1024
COMMAND_ID_CHARACTERS_MAX = 255
DIGITS_PER_COMMAND_MAX = 128
"""Keys and pauses of one `send_dtmf`."""
DIGITS_WAITING_S_MAX = 180.0
"""How long the keys that wait on one leg may take to be sent."""
SIP_INFO_BYTES_MAX = 1_400
"""The body, and the content type, of one `send_sip_info` (contract 2.4)."""
REFERRAL_TIMEOUT_S = 240.0
"""How long a referral may go on before it counts as failed; longer than a phone rings."""
GATHER_DIGITS_MAX = 128
"""Keys of one entry (contract 2.4)."""
GATHER_MS_MAX = 14_400_000
"""How long one may wait for keys: as long as a call lasts."""
GATHER_TRIES_MAX = 128
"""How often one may be asked for an entry."""
GATHER_ID_CHARACTERS_MAX = 40
RECORDINGS_PER_LEG_MAX = 4
"""Recordings of one leg at a time."""
RECORDING_IDS_KEPT = 64
"""Recordings of one leg that have ended and may still be named by a command that came too late."""
PLAYBACKS_PER_LEG_MAX = 32
"""Sounds that are played and wait on one leg."""
HEADERS_PER_COMMAND_MAX = 50
HEADER_CHARACTERS_MAX = 1_024

# Recordings
RECORDING_URL_VALID_S = 600.0
"""How long the URL of a file can be used (contract 3.4)."""
RECORDINGS_FINISHING_MAX = 2
"""Files that are encoded at a time; the others wait."""
RECORDINGS_CLOSE_GRACE_S = 3.0
"""How long a server that stops waits for files being encoded; the next start finishes the others."""
RECORDINGS_KEPT_S = 30 * 86_400.0
RECORDINGS_BYTES_MAX = 20 * 1024**3
"""What all files may take together before no more recordings begin."""
RECORDINGS_FREE_BYTES_MIN = 512 * 1024**2
"""What must be free on the disk for a recording to begin."""
RECORDINGS_SWEEP_S = 3_600.0
"""How often old files are looked for."""
RECORDINGS_PER_SWEEP_MAX = 1_000
RECORDINGS_PER_DELETE_MAX = 100
"""Recordings that one request may delete."""
RECORDING_FILE_NAME_CHARACTERS_MAX = 40

# Streams (contract 4.1)
STREAM_CONNECT_TIMEOUT_S = 5.0
STREAM_CONNECT_RETRY_S = (0.25, 1.0)
STREAM_CONNECT_RETRIES_MAX = 10
STREAM_RECONNECT_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Pauses before the tries that a socket lost in mid-call is worth (contract 4.7)."""
STREAM_RECONNECT_TOTAL_S = 10.0
STREAM_BUFFER_MS = 5_000
STREAM_BUFFER_MS_MAX = 10_000
"""What one stream of 48 kHz L16 may then hold is 1.3 MB of base64."""
STREAM_PING_S = 20.0
ENDED_STREAMS_KEPT_MAX = 200
"""Streams that have ended and are still shown by `GET /v2/offhook/streams`."""
STREAM_FRAME_MS = 20
STREAM_FRAME_CHARACTERS_MAX = 4 * 1024 * 1024
"""30 s of 48 kHz L16 in base64, the longest media frame an app may send, with room around it."""

# Media
MEDIA_KEEPALIVE_S = 5.0
"""A leg that sends nothing else sends one packet of silence this often, to keep NAT bindings open."""

# Sounds to be played
MEDIA_NAME_CHARACTERS_MAX = 255
SOUND_BYTES_MAX = 16 * 1024 * 1024
"""Of one file: a quarter of an hour of 8 kHz PCM."""
SOUND_SAMPLES_MAX = 12 * 1024 * 1024
"""Of one sound, decoded: three quarters of what the media core keeps for a leg, 26 minutes at 8 kHz."""
SOUNDS_DECODED_AT_ONCE_MAX = 2
"""Threads that decode sounds; the next files wait."""
SOUND_FETCH_TIMEOUT_S = 10.0
SOUND_FETCHES_MAX = 64
"""Downloads at once; the next ones wait, within their own timeout."""
SOUND_REDIRECTS_MAX = 3
SOUNDS_CACHED_BYTES_MAX = 64 * 1024 * 1024
SOUNDS_CACHED_S = 300.0
SOUNDS_IN_USE_BYTES_MAX = 512 * 1024 * 1024
"""Decoded sounds that calls hold at once; the next one is refused."""

# Speech
SPEECH_TRACKS_PER_WORKER_MAX = 24
"""Tracks one worker process takes; finals alone cost about 0.03 core each, so finals always keep up."""
SPEECH_QUEUED_MS = 15_000
"""Audio of one session that waits for its worker; beyond it the oldest is dropped and counted."""
SPEECH_REPLAY_MS = 15_000
"""Audio already sent but not yet settled that is kept to be heard again after a crash."""
SPEECH_FRAME_BYTES_MAX = 1 << 20
"""One frame between the server and a speech worker."""
SPEECH_PUSH_BYTES_MAX = 256 * 1024
"""One push of audio into a session."""
SPEECH_FINALS_QUEUED_MAX = 64
"""Segments that wait for decoding in one worker; then it stops reading and its server queues."""
SPEECH_SESSION_CRASHES_MAX = 2
"""A session whose worker ended this often without a final in between is given up."""
SPEECH_START_FAILURES_MAX = 5
SPEECH_READY_TIMEOUT_S = 60.0
"""How long a worker may take to load its model."""
SPEECH_PING_S = 5.0
SPEECH_SILENT_WORKER_S = 30.0
"""A worker that says nothing for so long, though it is asked every `SPEECH_PING_S`, is ended."""
SPEECH_CLOSE_TIMEOUT_S = 2.0
"""How long the end of a session waits for its last final."""
SPEECH_PHRASES_CHARS_MAX = 4_000
"""What an engine on this machine is told of the phrases an app expects; models take fewer."""
SPEECH_SCRIPT_LINES_MAX = 10_000
SPEECH_AHEAD_MS = 8_000
"""Audio that comes faster than real time waits at its source while so much of it waits for the engine."""
SPEECH_STUCK_S = 90.0
"""An engine that takes no audio for so long is given up: longer than a worker may need to start again."""
