"""Whatever comes as SSML is understood or refused, and never grows."""

from contextlib import suppress
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.voice.utterances import utterances
from offhook.proto.ssml import Pause, SsmlError, Words, parse_ssml

pytestmark = pytest.mark.property

letters = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
plain = letters.map(escape)
names = st.sampled_from(["s", "p", "emphasis", "prosody", "w", "voice", "lang", "x:y"])


def elements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    wrapped = st.builds(lambda name, parts: f"<{name}>{''.join(parts)}</{name}>", names, st.lists(inner))
    said = st.builds(
        lambda kind, inside: f"<say-as interpret-as={quoteattr(kind)}>{inside}</say-as>",
        st.sampled_from(["characters", "digits", "telephone", "ordinal", "cardinal"]),
        inner,
    )
    return wrapped | said


bodies = st.recursive(plain | st.just("<break time='1s'/>"), elements, max_leaves=12)


@given(st.text(max_size=200) | st.text("<>/=\"' speakbrtime&;![]CDAT-?", max_size=200))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    for document in (text, f"<speak>{text}</speak>"):
        with suppress(SsmlError):
            parse_ssml(document)


@given(bodies)
def test_well_formed_markup_is_a_script_whose_neighbours_differ(body: str) -> None:
    script = parse_ssml(f"<speak>{body}</speak>")
    for first, second in pairwise(script):
        assert not (isinstance(first, Pause) and isinstance(second, Pause))
    assert all(item.text.strip() for item in script if isinstance(item, Words))


@given(plain)
def test_what_is_escaped_is_spoken_as_it_was(text: str) -> None:
    script = parse_ssml(f"<speak><s>{text}</s></speak>")
    spoken = "".join(item.text for item in script if isinstance(item, Words))
    assert escape(spoken.strip()) == text.replace("\r\n", "\n").replace("\r", "\n").strip()


@given(st.text(max_size=800), st.integers(10, 300))
def test_utterances_hold_every_word_in_order_and_none_is_too_long(text: str, characters_max: int) -> None:
    found = list(utterances(text, characters_max=characters_max))
    assert all(0 < len(piece) <= characters_max for piece in found)
    said = [each for piece in found for each in piece if each.isalnum()]
    assert said == [each for each in text if each.isalnum()]
