"""Types of single parameters. Each refuses with Telnyx's code as the error type (contract 1.2)."""

import base64
import binascii
import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from offhook.base import limits
from offhook.call.values import UdpTarget
from offhook.edge.http.events import EVENT_TYPES
from offhook.proto.sip import SipSyntaxError, SipUri

_UDP_TARGET = re.compile(
    r"(?:udp:)?(?:\[(?P<v6>[^][]*)\]|(?P<host>[^][:/@\s]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!%*_+`'~.-]+", re.ASCII)  # RFC 3261 25.1
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]*", re.ASCII)
_KEYS = re.compile(r"[0-9A-DwW*#]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# What the SIP stack writes itself; an app that could add these would break or forge the dialog.
_OWN_HEADER_NAMES = """via v from f to t call-id i cseq contact m route record-route max-forwards content-length l
    content-type c content-encoding e supported k require proxy-require allow authorization
    proxy-authorization www-authenticate proxy-authenticate rseq rack session-expires x min-se
    replaces refer-to r"""
_OWN_HEADERS = frozenset(_OWN_HEADER_NAMES.split())


def refuse(code: str, detail: str) -> PydanticCustomError:
    """Return the error of a field; `detail` is complete and never holds the value."""
    return PydanticCustomError(code, detail)


def _client_state(text: str) -> str:
    if len(text) > limits.CLIENT_STATE_CHARACTERS_MAX:
        raise refuse(
            "10025", f"`client_state` is longer than {limits.CLIENT_STATE_CHARACTERS_MAX} characters."
        )
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise refuse("90017", "`client_state` must be base64 text.") from None
    return text


def _web_urls(urls: dict[str, Any]) -> dict[str, str]:
    if any(event not in EVENT_TYPES for event in urls):
        raise refuse("90057", "A key is not an event type.")
    check = _url(("http", "https"))
    for url in urls.values():
        if not isinstance(url, str):
            raise refuse("10026", "Every URL must be a string.")
        check(url)
    return urls


def _url(schemes: tuple[str, ...]) -> Any:
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)

    def check(text: str) -> str:
        if len(text) > limits.URL_CHARACTERS_MAX:
            raise refuse("10003", f"The URL is longer than {limits.URL_CHARACTERS_MAX} characters.")
        if not text.isascii() or _CONTROL.search(text) or " " in text:
            raise refuse("10003", "The URL holds characters that must be percent-encoded.")
        try:
            parts = urlsplit(text)
            usable = bool(parts.hostname) and parts.port != 0  # reading the port checks its range
        except ValueError:
            usable = False
            parts = urlsplit("")
        if not usable or parts.scheme.lower() not in schemes:
            raise refuse("10003", f"The URL must begin with {wanted} and name a host.")
        if parts.fragment:
            raise refuse("10003", "The URL must not have a fragment.")  # RFC 6455 3
        return text

    return check


def _udp_target(text: Any) -> UdpTarget:
    if not isinstance(text, str):
        raise refuse("10026", "The target must be a string.")
    found = _UDP_TARGET.fullmatch(text.removeprefix("UDP:"))
    if found is None:
        raise refuse("10015", "The target must look like udp:<ip>:<port> or udp:[<ipv6>]:<port>.")
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise refuse("10015", "The port of the target must be from 1 to 65535.")
    host = found["v6"] if found["v6"] is not None else found["host"]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if found["v6"] is not None or not _HOST_NAME.fullmatch(host) or host.replace(".", "").isdigit():
            raise refuse("10015", "The address of the target is not an IP address.") from None
        return UdpTarget(host.lower(), port)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise refuse("10015", "The address of the target must not have a zone.")
        address = address.ipv4_mapped or address
    if address.is_unspecified:
        raise refuse("10015", "The address of the target must be that of a host.")
    return UdpTarget(str(address), port)


def is_host_name(target: UdpTarget) -> bool:
    """Tell whether the target still has to be resolved."""
    try:
        ipaddress.ip_address(target.host)
    except ValueError:
        return True
    return False


def _header_name(name: str) -> str:
    if len(name) > limits.HEADER_CHARACTERS_MAX or not _TOKEN.fullmatch(name):
        raise refuse("10015", "The name of a SIP header must be a token (RFC 3261 25.1).")
    if name.lower() in _OWN_HEADERS:
        raise refuse("10015", "This SIP header is written by the server and cannot be set.")
    return name


def _header_value(value: str) -> str:
    if len(value) > limits.HEADER_CHARACTERS_MAX:
        raise refuse("10025", f"The header is longer than {limits.HEADER_CHARACTERS_MAX} characters.")
    if _CONTROL.search(value):
        raise refuse("10015", "The value of a SIP header must not hold control characters.")
    return value


def _auth_token(text: str) -> str:
    if len(text) > limits.AUTH_TOKEN_CHARACTERS_MAX:
        limit = limits.AUTH_TOKEN_CHARACTERS_MAX
        raise refuse("10025", f"`stream_auth_token` is longer than {limit} characters.")
    if not _PRINTABLE_ASCII.fullmatch(text):
        raise refuse("10015", "`stream_auth_token` travels in a header and must be printable ASCII.")
    return text


def _sampling_rate(value: Any) -> int:
    # Numeric strings are seen in the wild (contract 2.1); nothing else is bent into a number.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 6:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse("10026", "`stream_bidirectional_sampling_rate` must be an integer.")
    if value not in SAMPLING_RATES:
        allowed = ", ".join(str(rate) for rate in SAMPLING_RATES)
        raise refuse("10032", f"`stream_bidirectional_sampling_rate` must be one of {allowed}.")
    return value


def _hangup_reason(text: str) -> str:
    # Becomes the quoted text of a Reason header; only a CANCEL of ours would carry it (contract 2.4).
    if len(text) > limits.HEADER_CHARACTERS_MAX:
        raise refuse("10025", f"`reason` is longer than {limits.HEADER_CHARACTERS_MAX} characters.")
    if _CONTROL.search(text) or '"' in text or "\\" in text or any(ord(c) > 0xFFFF for c in text):
        raise refuse("10015", "`reason` must not hold quotes, backslashes, control or non-BMP characters.")
    return text


def _keys(text: str) -> str:
    if len(text) > limits.DIGITS_PER_COMMAND_MAX:
        raise refuse("10025", f"`digits` is longer than {limits.DIGITS_PER_COMMAND_MAX} characters.")
    if not _KEYS.fullmatch(text):
        raise refuse("90014", "`digits` must be some of 0-9, A-D, * and #, with w and W for pauses.")
    return text


def _media_name(text: str) -> str:
    if not 1 <= len(text) <= limits.MEDIA_NAME_CHARACTERS_MAX:
        most = limits.MEDIA_NAME_CHARACTERS_MAX
        raise refuse("10025", f"`media_name` must have 1 to {most} characters.")
    return text


def _digit_ms(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse("10026", "`duration_millis` must be an integer.")
    if not DIGIT_MS_MIN <= value <= DIGIT_MS_MAX:
        raise refuse("90027", f"`duration_millis` must be from {DIGIT_MS_MIN} to {DIGIT_MS_MAX}.")
    return value


def _loop(value: Any) -> int | None:
    """Return how often to play, None for ever."""
    if value == "infinity":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise refuse("10026", "`loop` must be an integer or `infinity`.")
    if isinstance(value, str) or not 1 <= value <= LOOPS_MAX:
        raise refuse("90009", f"`loop` must be from 1 to {LOOPS_MAX}, or `infinity`.")
    return value


def _stop(text: Any) -> str:
    if not isinstance(text, str):
        raise refuse("10026", "`stop` must be a string.")
    if text not in ("all", "current"):
        raise refuse("90016", "`stop` must be `all` or `current`.")
    return text


def _spoken_text(text: Any) -> str:
    if not isinstance(text, str):
        raise refuse("10026", "`payload` must be a string.")
    if len(text) > limits.SPEAK_CHARACTERS_MAX:
        raise refuse("10025", f"`payload` may have at most {limits.SPEAK_CHARACTERS_MAX} characters.")
    if not text.strip():
        raise refuse("90010", "`payload` is empty.")
    return text


def _voice_name(text: Any) -> str:
    if not isinstance(text, str):
        raise refuse("10026", "`voice` must be a string.")
    if not text.strip() or len(text) > VOICE_CHARACTERS_MAX or not text.isprintable():
        raise refuse("90012", "`voice` must name a voice, like `female` or `AWS.Polly.Joanna`.")
    return text


def _language_code(text: Any) -> str:
    if not isinstance(text, str):
        raise refuse("10026", "`language` must be a string.")
    if _LANGUAGE.fullmatch(text) is None:
        raise refuse("10032", "`language` must be a language code, like `en-US`.")
    return text


CODECS = ("G722", "PCMU", "PCMA", "G729", "OPUS", "AMR-WB", "L16", "VP8", "H264")
"""Names that `preferred_codecs` may hold; what a leg cannot do is passed over when it answers."""


def _codec_list(text: str) -> str:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    if not all(name in CODECS for name in names):
        raise refuse("10032", f"`preferred_codecs` must be a comma list of {', '.join(CODECS)}.")
    return ",".join(dict.fromkeys(names))


DIGIT_MS_MIN, DIGIT_MS_MAX = 100, 500
LOOPS_MAX = 100
_E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
VOICE_CHARACTERS_MAX = 255
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}", re.ASCII)
_EXTENSION = re.compile(r"[0-9*#]{1,32}", re.ASCII)
_SIP_USER = re.compile(r"[A-Za-z0-9._~!*'()&=$-]{1,128}", re.ASCII)
_DIGITS = re.compile(r"[0-9A-DwW*#]*", re.ASCII)
_DISPLAY_NAME = re.compile(r"[A-Za-z0-9 _~!.+-]*", re.ASCII)


def _is_sip_uri(text: str) -> bool:
    try:
        uri = SipUri.parse(text)
    except SipSyntaxError:
        return False
    usable = text.isascii() and len(text) <= limits.URL_CHARACTERS_MAX and "?" not in text and ">" not in text
    return usable and uri.scheme == "sip" and bool(uri.host)


def _callee(text: str) -> str:
    # A list of keys may follow a comma; an extension is for a trunk that names it (contract 2.3).
    number, comma, digits = text.partition(",")
    if not (_E164.fullmatch(number) or _EXTENSION.fullmatch(number) or _is_sip_uri(number)):
        raise refuse("10016", "`to` must be a number in +E.164 format or a SIP URI.")
    if len(digits) > limits.DIAL_DIGITS_MAX or not _DIGITS.fullmatch(digits) or (comma and not digits):
        raise refuse("90014", "After the comma of `to` only 0-9, A-D, w, W, * and # can be pressed.")
    return text


def _callees(value: Any) -> tuple[str, ...]:
    callees = [value] if isinstance(value, str) else value
    if not isinstance(callees, list) or not all(isinstance(callee, str) for callee in callees):
        raise refuse("10026", "`to` must be a string or an array of strings.")
    if not 1 <= len(callees) <= limits.DIAL_TARGETS_MAX:
        raise refuse("10033", f"`to` must name 1 to {limits.DIAL_TARGETS_MAX} numbers or SIP URIs.")
    if len(callees) > 1 and any("," in callee for callee in callees):
        raise refuse("90014", "Keys after a comma are for a call to one address.")
    return tuple(dict.fromkeys(_callee(callee) for callee in callees))


def _caller(text: str) -> str:
    if not (_E164.fullmatch(text) or _SIP_USER.fullmatch(text) or _is_sip_uri(text)):
        raise refuse("10016", "`from` must be a number in +E.164 format, a SIP user name or a SIP URI.")
    return text


def _e164(text: str) -> str:
    if not _E164.fullmatch(text):
        raise refuse("10016", "The number must be in +E.164 format.")
    return text


def _display_name(text: str) -> str:
    if len(text) > 128:
        raise refuse("10025", "`from_display_name` is longer than 128 characters.")
    if not _DISPLAY_NAME.fullmatch(text):
        raise refuse("10015", "`from_display_name` may hold letters, digits, spaces and -_~!.+ only.")
    return text


def _digits(text: str) -> str:
    if len(text) > limits.DIAL_DIGITS_MAX or not _DIGITS.fullmatch(text):
        detail = f"`send_digits_on_answer` must be up to {limits.DIAL_DIGITS_MAX} of 0-9, A-D, w, W, * and #."
        raise refuse("90014", detail)
    return text


def _sip_credential(text: str) -> str:
    if not text or len(text) > limits.HEADER_CHARACTERS_MAX:
        raise refuse("10025", f"SIP credentials have 1 to {limits.HEADER_CHARACTERS_MAX} characters.")
    if _CONTROL.search(text):
        raise refuse("10015", "SIP credentials must not hold control characters.")
    return text


SAMPLING_RATES = (8000, 16000, 22050, 24000, 48000)


def _told(**schema: Any) -> Any:
    """Return what the OpenAPI description says of a field that a validator of ours checks."""
    return Field(json_schema_extra=schema)


ClientState = Annotated[
    str,
    AfterValidator(_client_state),
    Field(description="Base64 text.", examples=["aGVsbG8="]),
    _told(
        pattern="^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        maxLength=limits.CLIENT_STATE_CHARACTERS_MAX,
    ),
]
CommandId = Annotated[str, StringConstraints(max_length=limits.COMMAND_ID_CHARACTERS_MAX)]
StreamUrl = Annotated[
    str,
    AfterValidator(_url(("ws", "wss"))),
    Field(examples=["wss://app.example/media"]),
    _told(format="uri", pattern="^wss?://", maxLength=limits.URL_CHARACTERS_MAX),
]
_WEB_URL = _told(format="uri", pattern="^https?://", maxLength=limits.URL_CHARACTERS_MAX)
WebUrl = Annotated[str, AfterValidator(_url(("http", "https"))), _WEB_URL]
MediaName = Annotated[
    str,
    AfterValidator(_media_name),
    Field(examples=["greeting.wav"]),
    _told(minLength=1, maxLength=limits.MEDIA_NAME_CHARACTERS_MAX),
]
WebUrls = Annotated[dict[str, Any], AfterValidator(_web_urls)]
"""URLs by event type."""
WebUrlOrNone = Annotated[str, AfterValidator(lambda text: text and _url(("http", "https"))(text))]
"""A URL, or the empty text for none."""
Target = Annotated[
    UdpTarget,
    PlainValidator(_udp_target, json_schema_input_type=str),
    Field(examples=["udp:192.0.2.7:9000", "udp:[2001:db8::7]:9000"]),
]
HeaderName = Annotated[
    str,
    AfterValidator(_header_name),
    _told(pattern="^[A-Za-z0-9!%*_+`'~.-]+$", maxLength=limits.HEADER_CHARACTERS_MAX),
]
HeaderValue = Annotated[str, AfterValidator(_header_value), _told(maxLength=limits.HEADER_CHARACTERS_MAX)]
AuthToken = Annotated[
    str,
    AfterValidator(_auth_token),
    _told(pattern="^[ -~]*$", maxLength=limits.AUTH_TOKEN_CHARACTERS_MAX),
]
SamplingRate = Annotated[int, BeforeValidator(_sampling_rate), _told(enum=list(SAMPLING_RATES))]
Keys = Annotated[
    str,
    AfterValidator(_keys),
    Field(examples=["1www2WABCDw9"]),
    _told(pattern="^[0-9A-DwW*#]+$", maxLength=limits.DIGITS_PER_COMMAND_MAX),
]
DigitMs = Annotated[int, BeforeValidator(_digit_ms), _told(minimum=DIGIT_MS_MIN, maximum=DIGIT_MS_MAX)]
Loop = Annotated[
    int | None, PlainValidator(_loop, json_schema_input_type=int | str), Field(examples=[3, "infinity"])
]
SpokenText = Annotated[
    str,
    BeforeValidator(_spoken_text),
    Field(examples=["Thank you for calling."]),
    _told(minLength=1, maxLength=limits.SPEAK_CHARACTERS_MAX),
]
VoiceName = Annotated[
    str,
    BeforeValidator(_voice_name),
    Field(examples=["female", "AWS.Polly.Joanna"]),
    _told(minLength=1, maxLength=VOICE_CHARACTERS_MAX),
]
LanguageCode = Annotated[
    str,
    BeforeValidator(_language_code),
    Field(examples=["en-US"]),
    _told(pattern=f"^{_LANGUAGE.pattern}$"),
]
Stop = Annotated[str, BeforeValidator(_stop), _told(enum=["current", "all"])]
Callees = Annotated[
    tuple[str, ...],
    PlainValidator(_callees, json_schema_input_type=str | list[str]),
    Field(examples=["+15550100123", "sip:alice@pbx.example;transport=tcp"]),
]
Caller = Annotated[str, AfterValidator(_caller), Field(examples=["+15550100000"])]
E164 = Annotated[str, AfterValidator(_e164), _told(pattern=r"^\+[1-9][0-9]{1,14}$")]
DisplayName = Annotated[
    str, AfterValidator(_display_name), _told(pattern="^[A-Za-z0-9 _~!.+-]*$", maxLength=128)
]
Digits = Annotated[
    str, AfterValidator(_digits), _told(pattern="^[0-9A-DwW*#]*$", maxLength=limits.DIAL_DIGITS_MAX)
]
SipCredential = Annotated[
    str, AfterValidator(_sip_credential), _told(minLength=1, maxLength=limits.HEADER_CHARACTERS_MAX)
]
HangupReason = Annotated[str, AfterValidator(_hangup_reason), _told(maxLength=limits.HEADER_CHARACTERS_MAX)]
CodecList = Annotated[str, AfterValidator(_codec_list), Field(examples=["G722,PCMU"])]
ParameterText = Annotated[str, StringConstraints(max_length=limits.CUSTOM_PARAMETER_CHARACTERS_MAX)]
