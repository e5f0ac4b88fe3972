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
WORKER_EXIT_TIMEOUT_S = 2.0
"""A worker process that has not ended so long after its input did is killed."""
SPEECH_CLOSE_TIMEOUT_S = 2.0
"""How long the end of a session waits for its last final."""
SPEECH_FALLBACK_TIMEOUT_S = 10.0
"""How long the fallback engine may take to open a session; the audio of that time waits."""
SPEECH_PHRASES_CHARS_MAX = 4_000
"""What an engine on this machine is told of the phrases an app expects; models take fewer."""
SPEECH_SCRIPT_LINES_MAX = 10_000
SPEECH_AHEAD_MS = 8_000
"""Audio that comes faster than real time waits at its source while so much of it waits for the engine."""
SPEECH_STUCK_S = 90.0
"""An engine that takes no audio for so long is given up: longer than a worker may need to start again."""

# Speech services of vendors
VENDOR_SESSIONS_MAX = 100
"""Tracks at a time on one vendor's account, where the setting does not say."""
VENDOR_OPEN_TIMEOUT_S = 10.0
"""Name look-up, TCP, TLS, the handshake, and until the service says that it is ready."""
VENDOR_WRITE_TIMEOUT_S = 5.0
"""How long a service may take no audio."""
VENDOR_SILENT_S = 30.0
"""Loud audio that a service may hear without a message, where it always says something."""
VENDOR_RETRY_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Pauses after losses in a row without a word in between; then the session has failed."""
VENDOR_RETRY_AFTER_S_MAX = 15.0
"""The longest pause that a service may ask for; beyond it the caller's words would be lost anyway."""
VENDOR_HEALTHY_S = 60.0
"""A connection that lived for so long, and owed nothing, ends a row of losses."""
VENDOR_IDLE_FLUSH_S = 1.0
"""Audio that stops in mid-utterance, as on hold, ends it after so long."""
VENDOR_REPLAY_SPEED = 2.0
"""How many times faster than spoken audio is heard again, where the service minds."""
VENDOR_ROTATION_WAIT_S = 5.0
"""How long a new connection waits for the end of an utterance to take over from the old one."""
VENDOR_ROTATION_RETRY_S = 5.0
VENDOR_PING_S = 60.0
VENDOR_MESSAGE_BYTES_MAX = 1 << 20
VENDOR_MESSAGES_QUEUED_MAX = 64
"""Messages of one service that wait to be read; then its socket is not read any more."""
VENDOR_MESSAGES_PER_S_MAX = 500
"""Far above what speech gives; a service that says more is left."""
VENDOR_REFUSAL_BYTES_MAX = 4 * 1024
"""Of the body that comes with a refusal."""
VENDOR_WORDS_MAX = 1_000
"""Words, or other parts, of one message of a speech service; the rest of them is left out."""
VENDOR_TEXT_CHARACTERS_MAX = 20_000
"""Of one utterance."""
VENDOR_ITEMS_MAX = 64
"""Utterances that a speech service may speak of at a time."""
VENDOR_ITEMS_WAITING_MAX = 8
"""Utterances that were complete and have no words yet, before something is wrong."""
VENDOR_TIME_MS_MAX = 7 * 24 * 3_600_000
"""The latest time that a speech service may speak of."""
AZURE_PHRASES_MAX = 500
AZURE_PHRASE_CHARACTERS_MAX = 100
"""Expected words that Azure takes with one request."""
GOOGLE_PHRASES_MAX = 5_000
GOOGLE_PHRASE_CHARACTERS_MAX = 100
GOOGLE_PHRASES_CHARACTERS_MAX = 100_000
"""Expected words that Google takes with one request, and their characters in all."""

# Dialogflow
DIALOGFLOW_SESSIONS_MAX = 1_000
DIALOGFLOW_CONNECT_TIMEOUT_S = 8.0
"""Name look-up, TCP, TLS and what must be asked before the first turn."""
DIALOGFLOW_TURN_AUDIO_MS = 55_000
"""Audio of one turn; Google refuses more than a minute."""
DIALOGFLOW_TURN_MAX_S = 75.0
DIALOGFLOW_LIMIT_AFTER_MS = 1_000
"""A turn that Google ended by its own limits after so much audio is no failure."""
DIALOGFLOW_LIMIT_LOST_AFTER_MS = 10_000
"""The same for a turn that broke without saying why."""
DIALOGFLOW_ANSWER_TIMEOUT_S = 20.0
"""How long an agent, and what stands behind it, may think."""
DIALOGFLOW_TAIL_TIMEOUT_S = 3.0
"""How long the stream may stay open after the answer; its audio may come last."""
DIALOGFLOW_RETRY_S = (0.25, 0.5, 1.0, 2.0)
"""Pauses after failed turns in a row; then the session has failed."""
DIALOGFLOW_QUEUED_MS = 10_000
"""Audio that waits for the next turn; beyond it the oldest is dropped and counted."""
DIALOGFLOW_PREROLL_MS = 400
"""Kept of what is said while a reply plays that must not be interrupted."""
DIALOGFLOW_REPLY_GRACE_S = 2.0
DIALOGFLOW_REPLY_MS_MAX = 55_000
"""Reply audio played at once; the media core's queue holds a minute."""
DIALOGFLOW_ANSWERS_PER_TURN_MAX = 20
"""Parts of an answer; Google's agents give up to five."""
DIALOGFLOW_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
DIALOGFLOW_KEEPALIVE_S = 60.0
DIALOGFLOW_SERVICE_ACCOUNT_BYTES_MAX = 32 * 1024

# SIP
SIP_MESSAGE_BYTES_MAX = 64 * 1024
SIP_HEADERS_MAX = 256
SIP_LINE_CHARACTERS_MAX = 8 * 1024
SDP_LINES_MAX = 1_000
SDP_MEDIA_MAX = 32
SIP_TRANSACTIONS_MAX = 100_000
"""Transactions alive at once, most of them finished and waiting for retransmissions (32 s each)."""
INFOS_WAITING_MAX = 32
"""INFOs of ours that wait for the one before to be answered, of one call."""
INFOS_RECEIVED_PER_S_MAX = 25
"""INFOs of one call that are taken in a second; a person presses 10 keys."""
INFO_BODY_BYTES_MAX = 8 * 1024
SIP_RING_TIMEOUT_S = 660.0
"""How long a call may ring, whichever side answers; longer than any `timeout_secs` (contract 2.3)."""
SIP_RECEIVE_BUFFER_BYTES = 1024 * 1024
"""Asked of the kernel for each UDP socket, so that a burst waits there and is not lost."""
SIP_CONNECTIONS_MAX = 1_000
SIP_CONNECTION_IDLE_S = 600.0
SIP_CONNECT_TIMEOUT_S = 5.0
SIP_CONNECTION_WRITE_BYTES_MAX = 1024 * 1024
SIP_ROUTES_CACHED_MAX = 4_096

# Webhooks and their store (contract 3.3)
WEBHOOK_TIMEOUT_S = 2.0
"""How long a receiver may take to answer when its application does not say."""
WEBHOOK_TIMEOUT_MAX_S = 30.0
WEBHOOK_STORED_TIMEOUT_S = 1.0
"""How long an event waits to be on the disk before it is sent anyway; less than `EVENT_STORED_TIMEOUT_S`."""
WEBHOOK_ATTEMPTS_IN_FLIGHT_MAX = 512
WEBHOOK_ATTEMPTS_PER_ORIGIN_MAX = 128
"""Attempts at once to one scheme, host and port, so that a hanging receiver cannot stop the others."""
WEBHOOKS_IN_MEMORY_MAX = 8_192
"""Undelivered webhooks held in memory; further ones wait in the database."""
WEBHOOKS_IN_MEMORY_PER_ORIGIN_MAX = 2_048
WEBHOOKS_LOADED_MAX = 256
"""Webhooks brought back from the database at once, so that a backlog cannot crowd out new events."""
KEYS_LOOKED_AT_EVERY_S = 2.0
"""How soon a running server follows a rotation of its webhook keys."""
WEBHOOK_RETRY_WAITS_MAX = 20
WEBHOOK_REDIRECTS_MAX = 3
WEBHOOK_ANSWER_BYTES_MAX = 16 * 1024
"""How much of an answer is read to keep its connection usable."""
WEBHOOK_ATTEMPTS_LOGGED_MAX = 50
"""Attempts kept in the log of one delivery."""
WEBHOOK_EXCHANGE_LOGGED_BYTES_MAX = 10_000
"""How much of a refusing answer's headers, and of its body, the log of attempts keeps (contract 3.3)."""
WEBHOOK_ACCEPTED_LOGGED_BYTES_MAX = 500
"""The same for an answer that accepted the event: there are many, and they say little."""
WEBHOOK_SEARCH_CHARACTERS_MAX = 200
"""The longest text that the log of deliveries is searched for."""
WEBHOOK_SEARCH_EVENT_TYPES_MAX = 50
WEBHOOKS_ENDED_KEPT_MAX = 100_000
STORE_JOBS_QUEUED_MAX = 10_000
STORE_JOBS_PER_COMMIT_MAX = 500
STORE_READERS_MAX = 2
"""Searches at once; they run beside the writer."""
STORE_READS_WAITING_MAX = 32
STORE_READ_TIMEOUT_S = 5.0
"""How long a search may take."""

# Outgoing addresses
DNS_TIMEOUT_S = 3.0
DNS_LOOKUPS_MAX = 32
"""Lookups at once, hung ones included; the next is refused."""
DNS_ANSWERS_MAX = 16

# HTTP API
HTTP_CONNECTIONS_MAX = 1_000
"""Connections open at once; further ones get 503."""
HTTP_HEAD_TIMEOUT_S = 10
"""How long a client may take to send a request line and its headers."""
HTTP_BODY_TIMEOUT_S = 10.0
HTTP_KEEP_ALIVE_S = 65
"""Longer than the SDKs' pools keep a connection, so that they never write into a closing one."""
HTTP_CLOSE_GRACE_S = 5
WEBSOCKET_MESSAGE_BYTES_MAX = 1 << 20
"""Of one message from a client; a longer one ends its connection."""
WEBSOCKET_PING_S = 20.0
TRANSCRIPTION_SOCKETS_MAX = 200
"""Transcription sockets open at once; engines have limits of their own."""
TRANSCRIPTION_SOCKET_IDLE_S = 60.0
"""A socket that brings neither audio nor a KeepAlive for so long is closed."""
TRANSCRIPTION_SOCKET_FINISH_S = 15.0
"""How long the end of a socket waits for the words of the audio that came before it."""
TRANSCRIPTION_SOCKET_FRAMES_MAX = 256
"""Results that wait for a slow client; interim ones are dropped first, then the socket is closed."""
TRANSCRIPTION_SOCKET_SEND_S = 10.0
"""How long a client may take nothing, before its socket is cut off."""
TRANSCRIPTION_SOCKET_PHRASES_MAX = 100
TRANSCRIPTION_SOCKET_PHRASE_CHARACTERS_MAX = 100
PROBLEMS_PER_ANSWER_MAX = 20
APPLICATIONS_MAX = 1_000
"""Call Control applications that one installation keeps."""
ROUTES_MAX = 1_000
ROUTE_PATTERNS_MAX = 10_000
"""Numbers, users or networks of one `[[routes]]` block."""
APPLICATION_NAME_CHARACTERS_MAX = 255
APPLICATION_FIRST_COMMAND_S_MAX = 600
CHANNEL_LIMIT_MAX = 100_000
PAGE_SIZE = 20
PAGE_SIZE_MAX = 250
RETRIED_COMMANDS_KEPT_S = 60.0
"""How long an accepted command is remembered for the SDK's own retries (contract 0)."""
RETRIED_COMMANDS_KEPT_MAX = 4_096
TRANSCRIPTION_HINTS_MAX = 5_000
WEBHOOK_CLOSE_GRACE_S = 2.0
"""How long a stopping server lets webhook attempts under way end; the rest waits in the database."""

TRUNK_LOOK_UP_INTERVAL_S = 60.0
"""Between two look-ups of the names of trunks that routes ask about."""
TRUNK_LOOK_UP_TIMEOUT_S = 5.0

# Voice
SPEAK_CHARACTERS_MAX = 3_000
"""Of one `payload`, as the SDK documents it."""
VOICE_SPEAKS_PER_WORKER_MAX = 32
"""Texts that one worker process takes in turns; all of them together use less than half a core."""
VOICE_UTTERANCE_CHARACTERS_MAX = 300
"""What a voice is given at once; a longer sentence is cut at a comma or a space."""
VOICE_UTTERANCE_TIMEOUT_S = 20.0
VOICE_READY_TIMEOUT_S = 60.0
"""How long a worker may take to load its voice."""
VOICE_FRAME_BYTES_MAX = 16 * 1024 * 1024
"""One frame from a worker; 250 phonemes at half speed are 2 MB."""
VOICE_TRIES_MAX = 2
"""How often an utterance is tried when its worker dies of it or keeps silent."""
