"""What the query of the transcription socket asks for (contract 7b). Pure.

The socket has error codes of its own, 40001 to 40007; what they leave open is refused with the codes
of the commands. The values of a refusal are never repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import QueryParams

from offhook.base import limits
from offhook.base.errors import OffhookError
from offhook.call.commands import TranscriptionOptions
from offhook.call.errors import TITLES as COMMAND_TITLES
from offhook.call.values import Track
from offhook.edge.http.problems import ERROR_URL, Refusal
from offhook.edge.http.transcription import ENGINES, language_of, model_of, vendor_of

TITLES = {
    "40001": "Invalid input_format",
    "40002": "Unsupported input_format",
    "40003": "Missing sample_rate",
    "40004": "Invalid sample_rate",
    "40005": "Unsupported sample_rate for this input_format",
    "40006": "Unsupported input_format for Flux",
    "40007": "Invalid transcription_engine",
}
"""Telnyx publishes the codes; the titles are ours."""

InputFormat = Literal["wav", "mp3", "linear16", "linear32", "mulaw", "alaw"]
INPUT_FORMATS: tuple[InputFormat, ...] = ("linear16", "linear32", "mulaw", "alaw", "wav", "mp3")
INPUT_FORMATS_OF_TELNYX = frozenset(
    {
        *INPUT_FORMATS,
        "webm",
        "ogg",
        "flac",
        "ogg_opus",
        "webm_opus",
        "opus",
        "amr_nb",
        "amr_wb",
        "g729",
        "speex",
    }
)
_FILES = ("wav", "mp3")
_G711 = ("mulaw", "alaw")
_G711_RATES_HZ = (8000, 16_000)
_RATES_HZ = range(8000, 48_001)
_ENDPOINT_MS = (100, 5000)
PARAMETERS = frozenset(
    {
        *("transcription_engine", "model", "input_format", "sample_rate", "language", "interim_results"),
        *("endpointing", "keyterm", "keywords", "redact"),
    }
)


class SocketRefusal(OffhookError):
    """The socket cannot be served as asked; it tells this and closes."""

    def __init__(
        self, code: str, detail: str, parameter: str | None = None, *, close_code: int = 1008
    ) -> None:
        super().__init__(f"{code} {parameter or ''}")
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.close_code = close_code
        """Of RFC 6455; the SDK connects again after 1011 to 1013, and not after 1008."""

    def frame(self) -> dict[str, Any]:
        """Return what the client is told: Telnyx's list of errors, and the frame that its SDK knows."""
        unavailable = self.code == "10007"
        title = "Service unavailable" if unavailable else {**COMMAND_TITLES, **TITLES}[self.code]
        entry: dict[str, Any] = {"code": self.code, "title": title, "detail": self.detail}
        if self.code not in TITLES:
            entry["meta"] = {"url": ERROR_URL + self.code}
        if self.parameter is not None:
            entry["source"] = {"parameter": self.parameter}
        return {"type": "error", "error": self.detail, "errors": [entry]}


@dataclass(frozen=True, slots=True)
class AskedTranscription:
    """A checked query."""

    options: TranscriptionOptions
    input_format: InputFormat
    sample_rate_hz: int
    """0 for files, which tell it themselves."""
    endpoint_ms: int | None
    """Silence that ends an utterance; None: as the engine likes."""


def unknown_parameters(query: QueryParams) -> list[str]:
    """Return the names that mean nothing here."""
    return sorted({name[:64] for name in query if name not in PARAMETERS})[:10]


def read_query(query: QueryParams, *, ignore_unsupported: bool = False) -> AskedTranscription:
    """Return what a query asks for.

    Raises:
        SocketRefusal: a parameter is missing or wrong, or not done here.
    """
    engine = _engine(query)
    model = _refused_as_here(lambda: model_of(engine, query.get("model")), "model")
    language = _refused_as_here(lambda: language_of(engine, model, query.get("language")), "language")
    input_format = _input_format(query, model)
    if query.get("redact") and not ignore_unsupported:
        raise SocketRefusal("10038", "This server does not do `redact` yet.", "redact")
    return AskedTranscription(
        options=TranscriptionOptions(
            engine=engine,
            tracks=(Track.RX,),
            language=language,
            interim_results=_flag(query, "interim_results"),
            model=model,
            options=_phrases(query, model),
        ),
        input_format=input_format,
        sample_rate_hz=_sample_rate_hz(query, input_format),
        endpoint_ms=_endpoint_ms(query),
    )


def _engine(query: QueryParams) -> str:
    asked = query.get("transcription_engine") or vendor_of(query.get("model") or "")
    by_name = {name.lower(): name for name in ENGINES}
    if asked is None or asked.lower() not in by_name:
        what = "is required and" if asked is None else "is wrong: it"
        detail = f"The parameter `transcription_engine` {what} must be one of {', '.join(ENGINES)}."
        raise SocketRefusal("40007", detail, "transcription_engine")
    return by_name[asked.lower()]


def _input_format(query: QueryParams, model: str | None) -> InputFormat:
    asked = (query.get("input_format") or "").lower()
    ours = ", ".join(INPUT_FORMATS)
    found = next((known for known in INPUT_FORMATS if known == asked), None)
    if found is None and asked in INPUT_FORMATS_OF_TELNYX:
        detail = f"This server does not take that `input_format`; it takes {ours}."
        raise SocketRefusal("40002", detail, "input_format")
    if found is None:
        raise SocketRefusal("40001", f"The parameter `input_format` must be one of {ours}.", "input_format")
    if model is not None and model.startswith("deepgram/flux") and found in _FILES:
        detail = (
            "Flux takes no files: the parameter `input_format` must be linear16, linear32, mulaw or alaw."
        )
        raise SocketRefusal("40006", detail, "input_format")
    return found


def _sample_rate_hz(query: QueryParams, input_format: InputFormat) -> int:
    if input_format in _FILES:
        return 0
    asked = query.get("sample_rate")
    if not asked:
        if input_format in _G711:
            return _G711_RATES_HZ[0]
        detail = f"The parameter `sample_rate` is required with {input_format}."
        raise SocketRefusal("40003", detail, "sample_rate")
    rate_hz = _number(asked)
    if rate_hz is None or rate_hz not in _RATES_HZ:
        raise SocketRefusal("40004", "The parameter `sample_rate` must be 8000 to 48000.", "sample_rate")
    if input_format in _G711 and rate_hz not in _G711_RATES_HZ:
        detail = f"With {input_format} the parameter `sample_rate` must be 8000 or 16000."
        raise SocketRefusal("40005", detail, "sample_rate")
    return rate_hz


def _endpoint_ms(query: QueryParams) -> int | None:
    asked = (query.get("endpointing") or "").lower()
    least, most = _ENDPOINT_MS
    if asked in ("", "true"):
        return None
    if asked == "false":
        return most
    wanted_ms = _number(asked)
    if wanted_ms is None:
        raise SocketRefusal(
            "10026", "The parameter `endpointing` must be milliseconds or false.", "endpointing"
        )
    return min(max(wanted_ms, least), most)


def _phrases(query: QueryParams, model: str | None) -> dict[str, Any]:
    keywords = [word for text in query.getlist("keywords") for word in text.split(",")]
    phrases = [text for asked in (*query.getlist("keyterm"), *keywords) if (text := asked.strip())]
    parameter = "keyterm" if query.getlist("keyterm") else "keywords"
    most, longest = limits.TRANSCRIPTION_SOCKET_PHRASES_MAX, limits.TRANSCRIPTION_SOCKET_PHRASE_CHARACTERS_MAX
    if len(phrases) > most:
        raise SocketRefusal("10033", f"At most {most} terms can be given.", parameter)
    if any(len(phrase) > longest for phrase in phrases):
        raise SocketRefusal("10025", f"A term has at most {longest} characters.", parameter)
    if not phrases:
        return {}
    of_deepgram = model is not None and model.startswith(("deepgram/nova-3", "deepgram/flux"))
    return {"keyterms" if of_deepgram else "hints": phrases}


def _flag(query: QueryParams, name: str) -> bool:
    asked = (query.get(name) or "false").lower()
    if asked in ("true", "1"):
        return True
    if asked in ("false", "0"):
        return False
    raise SocketRefusal("10026", f"The parameter `{name}` must be true or false.", name)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _refused_as_here(read: Any, parameter: str) -> str | None:
    try:
        value: str | None = read()
    except Refusal as refusal:
        problems: Sequence[Any] = refusal.problems
        raise SocketRefusal(problems[0].code, problems[0].detail, parameter) from None
    return value
