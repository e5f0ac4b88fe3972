"""SSML becomes words and pauses: what is honoured, what is only spoken, what is refused."""

import pytest

from offhook.proto.ssml import Pause, Script, SsmlError, Words, parse_ssml, script_of_text

pytestmark = pytest.mark.unit


def words(script: Script) -> str:
    return " | ".join(
        f"({item.duration_ms})" if isinstance(item, Pause) else " ".join(item.text.split()) for item in script
    )


def spoken(inside: str) -> str:
    return words(parse_ssml(f"<speak>{inside}</speak>"))


def test_text_is_spoken_as_it_stands_markup_included() -> None:
    assert script_of_text("1 < 2 <b>") == (Words("1 < 2 <b>"),)
    assert script_of_text(" \n") == ()


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("Hello", "Hello"),
        ("&lt;&amp;&#233;", "<&é"),
        ("<![CDATA[a < b]]>", "a < b"),
        ("one <!-- not this --> two", "one two"),
        ('one<break time="500ms"/>two', "one | (500) | two"),
        ('one<break time="1.5s"/>two', "one | (1500) | two"),
        ('one<break time=".25s"/>two', "one | (250) | two"),
        ('one<break time="90s"/>two', "one | (10000) | two"),
        ('<break time="9s"/><break time="9s"/>', "(10000)"),
        ('<break strength="none"/>', ""),
        ('<break strength="x-strong"/>', "(1200)"),
        ("<break/>", "(400)"),
        ('<break strength="weak" time="5ms"/>', "(5)"),
        ("<s>One.</s><s>Two.</s>", "One. | Two."),
        ("<p>One.</p> <p>Two.</p>", "One. | (400) | Two. | (400)"),
        ('The <sub alias="World Wide Web Consortium">W3C</sub> says', "The World Wide Web Consortium says"),
        ('<say-as interpret-as="characters">a1.b</say-as>', "ay, 1, dot, B"),
        ('<say-as interpret-as="spell-out">ok</say-as>', "O, K"),
        ('<say-as interpret-as="digits">12-34</say-as>', "1 2 3 4"),
        ('<say-as interpret-as="telephone">+1 555-0100</say-as>', "plus, 1, 5 5 5, 0 1 0 0"),
        ('<say-as interpret-as="ordinal">3</say-as>', "3rd"),
        ('<say-as interpret-as="ordinal">112</say-as>', "112th"),
        ('<say-as interpret-as="ordinal">third</say-as>', "third"),
        ('<say-as interpret-as="expletive">damn</say-as> it', "it"),
        ('<say-as interpret-as="cardinal">12345</say-as>', "12345"),
        ('<say-as interpret-as="date" format="mdy">1/2/2026</say-as>', "1/2/2026"),
        ('<say-as interpret-as="digits">1<emphasis>2</emphasis>3</say-as>', "1 2 3"),
        ('<prosody volume="silent">no</prosody>yes', "yes"),
        ('<prosody volume="silent">no<sub alias="nor this">x</sub><break/></prosody>yes', "yes"),
        ('<emphasis level="strong">really</emphasis> <w role="x">so</w>', "really so"),
        ('<phoneme alphabet="ipa" ph="təˈmɑːtoʊ">tomato</phoneme>', "tomato"),
        ('<voice name="Mike">hi</voice><mark name="here"/> there', "hi there"),
        ('<audio src="https://a.example/b.wav">ding<desc>a bell</desc></audio>', "ding"),
        ("<metadata>made by me</metadata>Hi", "Hi"),
        ('<amazon:effect name="whispered">psst</amazon:effect>', "psst"),
        ('<lang xml:lang="en-GB">colour</lang>', "colour"),
    ],
)
def test_what_a_voice_can_do_is_done_and_of_the_rest_the_content_is_spoken(
    inside: str, expected: str
) -> None:
    assert spoken(inside) == expected


@pytest.mark.parametrize(
    ("rate", "factor"),
    [
        ("slow", 0.75),
        ("x-fast", 1.7),
        ("80%", 0.8),
        ("+20%", 1.2),
        ("-25%", 0.75),
        ("1.5", 1.5),
        ("900%", 2.0),
    ],
)
def test_a_rate_is_a_name_a_percentage_or_a_factor_within_bounds(rate: str, factor: float) -> None:
    (said,) = parse_ssml(f'<speak><prosody rate="{rate}">now</prosody></speak>')
    assert isinstance(said, Words)
    assert said.rate == pytest.approx(factor)


def test_manners_add_up_and_end_with_their_element() -> None:
    script = parse_ssml(
        '<speak>a<prosody rate="80%" volume="-6dB">b<prosody rate="50%" volume="soft">c</prosody>d</prosody>e</speak>'
    )
    assert script == (
        Words("a"),
        Words("b", 0.8, -6.0),
        Words("c", 0.5, -12.0),
        Words("d", 0.8, -6.0),
        Words("e"),
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("Hello", "not well-formed"),
        ("", "not well-formed"),
        ("<speak>Hello", "not well-formed"),
        ("<speak>&nbsp;</speak>", "not well-formed"),
        ("<speak>a</speak><speak>b</speak>", "not well-formed"),
        ("<p>Hello</p>", "the root must be `speak`, not `p`"),
        ("<speak><blink>Hi</blink></speak>", "`blink` is no element of SSML"),
        ("<speak><Break/></speak>", "`Break` is no element"),
        ('<speak><break time="soon"/></speak>', "the time of `break`"),
        ('<speak><break time="-1s"/></speak>', "the time of `break`"),
        ('<speak><break strength="big"/></speak>', "the strength of `break`"),
        ('<speak><prosody rate="quick">x</prosody></speak>', "the rate of `prosody`"),
        ('<speak><prosody volume="11">x</prosody></speak>', "the volume of `prosody`"),
        ("<speak><say-as>x</say-as></speak>", "`say-as` needs the attribute `interpret-as`"),
        ("<speak><sub>x</sub></speak>", "`sub` needs the attribute `alias`"),
        ('<speak xml:lang="de-DE">Hallo</speak>', "another language than English"),
        ('<speak><lang xml:lang="fr">oui</lang></speak>', "another language than English"),
        ("<speak>" + "<s>" * 40 + "</s>" * 40 + "</speak>", "nested more than 32 deep"),
        ('<!DOCTYPE speak [<!ENTITY a "b">]><speak>&a;</speak>', "a document type is not taken"),
        ('<!DOCTYPE speak SYSTEM "file:///etc/passwd"><speak/>', "a document type is not taken"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(document: str, reason: str) -> None:
    with pytest.raises(SsmlError) as refused:
        parse_ssml(document)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_bomb_of_entities_is_refused_before_it_grows() -> None:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    with pytest.raises(SsmlError, match="document type"):
        parse_ssml(f'<!DOCTYPE speak [<!ENTITY l0 "lol">{lol}]><speak>&l9;</speak>')


def test_an_encoding_that_the_document_claims_does_not_matter() -> None:
    document = '<?xml version="1.0" encoding="utf-16"?>\n<speak>Grüße \ud800</speak>'
    assert words(parse_ssml(document)) == "Grüße ?"
