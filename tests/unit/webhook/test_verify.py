import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from offhook.kit.webhook import WebhookInvalid, verify, verify_query
from offhook.proto.webhook import Event, body_of, encode_event, public_key_text, sign

pytestmark = pytest.mark.unit

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = public_key_text(KEY)
NOW = 1_700_000_000
BODY = body_of(encode_event(Event("call.hangup", "e1", "t", {"a": 1})), attempt=3, delivered_to="http://a/")
HEADERS = sign(BODY, KEY, unix_time=NOW)


def test_a_right_webhook_is_returned_whole() -> None:
    event = verify(BODY, HEADERS, PUBLIC, NOW + 299.0)
    assert (event.event_type, event.id, event.payload, event.attempt) == ("call.hangup", "e1", {"a": 1}, 3)


def test_header_names_may_come_in_any_case_and_the_body_as_text() -> None:
    upper = {name.upper(): value for name, value in HEADERS.items()}
    assert verify(BODY.decode(), upper, PUBLIC, NOW).id == "e1"


@pytest.mark.parametrize(
    ("changes", "now", "reason"),
    [
        ({"telnyx-timestamp": None}, NOW, "timestamp is missing"),
        ({"telnyx-signature-ed25519": None}, NOW, "ed25519 is missing"),
        ({"telnyx-timestamp": "1700000001"}, NOW, "does not match"),
        ({"telnyx-timestamp": "-1"}, NOW, "not a number"),
        ({"telnyx-timestamp": "१२"}, NOW, "not a number"),
        ({"telnyx-signature-ed25519": "é" * 88}, NOW, "not base64"),
        ({"telnyx-signature-ed25519": "AAAA"}, NOW, "64 bytes"),
        ({}, NOW + 301.0, "too far"),
        ({}, NOW - 301.0, "too far"),
    ],
)
def test_whatever_is_wrong_is_refused_by_its_name(
    changes: dict[str, str | None], now: float, reason: str
) -> None:
    headers = {name: value for name, value in (HEADERS | changes).items() if value is not None}
    with pytest.raises(WebhookInvalid, match=reason):
        verify(BODY, headers, PUBLIC, now)


def test_another_key_is_refused() -> None:
    other = public_key_text(Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    with pytest.raises(WebhookInvalid, match="does not match"):
        verify(BODY, HEADERS, other, NOW)
    with pytest.raises(WebhookInvalid, match="public key"):
        verify(BODY, HEADERS, "nonsense!", NOW)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data":{}}', b"null", b"[" * 100_000, b'{"data":[],"meta":[]}']
)
def test_a_signed_body_that_is_no_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookInvalid, match="envelope"):
        verify(body, sign(body, KEY, unix_time=NOW), PUBLIC, NOW)


def test_one_of_several_keys_must_fit() -> None:
    other = public_key_text(Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    assert verify(BODY, HEADERS, [other, PUBLIC], NOW).id == "e1"
    for keys in ([other], []):
        with pytest.raises(WebhookInvalid, match="does not match"):
            verify(BODY, HEADERS, keys, NOW)


def test_a_query_is_returned_by_name_once_it_is_verified() -> None:
    query = "event_type=call.hangup&id=e1&occurred_at=t&a%5Bb%5D=%C3%A4&empty="
    members = verify_query(query, sign(query.encode(), KEY, unix_time=NOW), PUBLIC, NOW)
    assert (members["a[b]"], members["empty"], members["id"]) == ("ä", "", "e1")
    with pytest.raises(WebhookInvalid, match="does not match"):
        verify_query(query + "&x=1", sign(query.encode(), KEY, unix_time=NOW), PUBLIC, NOW)
    with pytest.raises(WebhookInvalid, match="not a webhook"):
        verify_query("a=1", sign(b"a=1", KEY, unix_time=NOW), PUBLIC, NOW)
