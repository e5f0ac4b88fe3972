"""The WebSocket frame grammar of media streams (contract 4.3, 4.5): every frame, built and parsed.

On a call the media core writes and reads frames itself; this room renders the ones that a leg
composes once (`connected`), and it is the grammar for the kit, and a second opinion in tests. It
knows no sockets, no calls and no codecs: a payload is bytes.

From the server: `ConnectedFrame`, `StartFrame`, `MediaFrame`, `DtmfFrame`, `MarkFrame`,
`ErrorFrame`, `StopFrame`. From the app: `AppMedia`, `AppMark`, `AppClear`.
"""

from offhook.proto.stream.frames import (
    AUTH_TOKEN_KEY,
    AppClear,
    AppFrame,
    AppMark,
    AppMedia,
    ConnectedFrame,
    DtmfFrame,
    ErrorFrame,
    MarkFrame,
    MediaFormat,
    MediaFrame,
    ServerFrame,
    StartFrame,
    StopFrame,
    StreamTrack,
    format_app_frame,
    format_server_frame,
)
from offhook.proto.stream.parse import (
    INVALID_MEDIA,
    MALFORMED_FRAME,
    RATE_LIMIT_REACHED,
    UNKNOWN_ERROR,
    FrameError,
    parse_app_frame,
    parse_server_frame,
)

__all__ = [
    "AUTH_TOKEN_KEY",
    "INVALID_MEDIA",
    "MALFORMED_FRAME",
    "RATE_LIMIT_REACHED",
    "UNKNOWN_ERROR",
    "AppClear",
    "AppFrame",
    "AppMark",
    "AppMedia",
    "ConnectedFrame",
    "DtmfFrame",
    "ErrorFrame",
    "FrameError",
    "MarkFrame",
    "MediaFormat",
    "MediaFrame",
    "ServerFrame",
    "StartFrame",
    "StopFrame",
    "StreamTrack",
    "format_app_frame",
    "format_server_frame",
    "parse_app_frame",
    "parse_server_frame",
]
