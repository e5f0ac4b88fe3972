"""From an SSML document to a script.

What a voice can do is done: `break`, `p`, `s`, `sub`, `say-as`, and the rate and volume of `prosody`.
Every other element of SSML 1.1, and those of vendors (`amazon:effect`), only loses its effect: its
content is spoken. An element that is no SSML is refused by its name, for it is a slip of the pen.
"""

from dataclasses import dataclass, replace
from xml.parsers import expat

from offhook.proto.ssml.script import Pause, Script, Words
from offhook.proto.ssml.values import (
    PAUSE_MS_MAX,
    SsmlError,
    clamped_gain_db,
    clamped_rate,
    pause_ms,
    rate_of,
    said_as,
    volume_db,
)

DEPTH_MAX = 32
PARAGRAPH_PAUSE_MS = 400
_SILENT = frozenset({"metadata", "meta", "lexicon", "desc", "mark"})
"""Elements whose content is not for the ear."""
_SPOKEN = frozenset(
    {"audio", "emphasis", "lang", "lookup", "p", "phoneme", "prosody", "s", "say-as", "speak", "sub", "token"}
    | {"voice", "w", "sentence", "paragraph"}
)
_SENTENCE = frozenset({"s", "p", "sentence", "paragraph"})
_XML_LANG = "xml:lang"


def parse_ssml(document: str, *, rate: float = 1.0) -> Script:
    """Return what `document` asks a voice to say; `rate` is how fast where it does not say.

    Raises:
        SsmlError: it is not well-formed, its root is not `speak`, it has a document type, an element
            that is no SSML, an attribute that cannot be understood, or is not in English.
    """
    reader = _Reader(rate)
    # Without namespaces, because the prefixes of vendors are hardly ever declared.
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.buffer_text = True
    try:
        parser.Parse(document.strip().encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        raise SsmlError(
            f"the markup is not well-formed ({why}, line {error.lineno}, column {error.offset + 1})"
        ) from None
    return tuple(reader.script)


def _refuse_doctype(*_: object) -> None:
    raise SsmlError("a document type is not taken")


@dataclass(slots=True)
class _Element:
    """One open element and what holds for the text in it."""

    name: str
    rate: float = 1.0
    gain_db: float = 0.0
    silent: bool = False
    say_as: str | None = None
    collected: str = ""


class _Reader:
    """Takes expat's events; neighbouring words of the same manner become one text."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.script: list[Words | Pause] = []
        self._open: list[_Element] = []
        self._joins = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open and name != "speak":
            raise SsmlError(f"the root must be `speak`, not `{_shown(name)}`")
        if len(self._open) >= DEPTH_MAX:
            raise SsmlError(f"elements are nested more than {DEPTH_MAX} deep")
        if name not in _SPOKEN and name not in _SILENT and name != "break" and ":" not in name:
            raise SsmlError(f"`{_shown(name)}` is no element of SSML")
        _check_language(name, attributes)
        above = self._open[-1] if self._open else _Element("", self._rate)
        element = replace(above, name=name, collected="")
        self._open.append(element)
        element.silent |= name in _SILENT
        if name in _SENTENCE:
            self._end_sentence()
        match name:
            case "break":
                if not element.silent:
                    self._pause(pause_ms(attributes.get("time"), attributes.get("strength")))
            case "prosody":
                self._prosody(element, attributes)
            case "sub":
                self._say(element, _required("sub", "alias", attributes))
                element.silent = True
            case "say-as" if element.say_as is None:
                element.say_as = _required("say-as", "interpret-as", attributes)
            case _:
                pass

    def end(self, name: str) -> None:
        element = self._open.pop()
        if name in _SENTENCE:
            self._end_sentence()
        if name in ("p", "paragraph") and not element.silent:
            self._pause(PARAGRAPH_PAUSE_MS)
        if element.say_as is not None:
            outer = self._open[-1]
            if outer.say_as is not None:
                outer.collected += element.collected
                return
            words = said_as(element.say_as, element.collected)
            # Commas keep what is spelt apart from the words around it.
            self._say(replace(element, say_as=None), words)

    def text(self, text: str) -> None:
        self._say(self._open[-1], text)

    def _prosody(self, element: _Element, attributes: dict[str, str]) -> None:
        if "rate" in attributes:
            element.rate = clamped_rate(element.rate * rate_of(attributes["rate"]))
        if "volume" in attributes:
            gain_db = volume_db(attributes["volume"])
            element.silent |= gain_db is None
            element.gain_db = clamped_gain_db(element.gain_db + (gain_db or 0.0))

    def _say(self, element: _Element, text: str) -> None:
        if element.silent:
            return
        if element.say_as is not None:
            element.collected += text
            return
        words = Words(text, element.rate, element.gain_db)
        last = self.script[-1] if self.script and self._joins else None
        if isinstance(last, Words) and (last.rate, last.gain_db) == (words.rate, words.gain_db):
            self.script[-1] = replace(last, text=last.text + text)
        elif text.strip():
            self.script.append(words)
            self._joins = True

    def _pause(self, duration_ms: int) -> None:
        self._joins = False
        last = self.script[-1] if self.script else None
        if isinstance(last, Pause):
            self.script[-1] = Pause(min(last.duration_ms + duration_ms, PAUSE_MS_MAX))
        elif duration_ms:
            self.script.append(Pause(duration_ms))

    def _end_sentence(self) -> None:
        self._joins = False


def _required(element: str, name: str, attributes: dict[str, str]) -> str:
    if name not in attributes:
        raise SsmlError(f"`{element}` needs the attribute `{name}`")
    return attributes[name]


def _check_language(name: str, attributes: dict[str, str]) -> None:
    language = attributes.get(_XML_LANG)
    if language is not None and language.replace("_", "-").partition("-")[0].lower() != "en":
        raise SsmlError(f"`{_shown(name)}` asks for another language than English")


def _shown(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"
