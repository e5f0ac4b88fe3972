import base64
import hashlib
import hmac
import time

import pytest
import telnyx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from offhook.proto.webhook import Event, WebhookSigner, body_of, encode_event, public_key_text, sign

pytestmark = pytest.mark.unit

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BODY = body_of(
    encode_event(Event("call.answered", "e1", "2026-11-23T08:00:00.000000Z", {"call_control_id": "v3:x"})),
    attempt=2,
    delivered_to="http://127.0.0.1/hook",
)


def test_the_signature_covers_timestamp_bar_and_raw_body() -> None:
    headers = sign(BODY, KEY, unix_time=1_700_000_000)
    assert headers["telnyx-timestamp"] == "1700000000"
    signature = base64.b64decode(headers["telnyx-signature-ed25519"], validate=True)
    KEY.public_key().verify(signature, b"1700000000|" + BODY)
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(signature, b"1700000001|" + BODY)


def test_lengths_and_headers_are_those_that_apps_expect() -> None:
    signer = WebhookSigner(KEY)
    headers = signer.headers(BODY, event_id="e1", unix_time=1_700_000_000)
    assert len(headers["telnyx-signature-ed25519"]) == 88
    assert len(signer.public_key) == 44
    assert headers["User-Agent"] == "telnyx-webhooks"
    assert headers["Content-Type"] == "application/json"
    assert not [name for name in headers if name.startswith("webhook-")]


def test_the_official_sdk_accepts_what_we_sign() -> None:
    client = telnyx.Telnyx(api_key="k", public_key=public_key_text(KEY))
    headers = WebhookSigner(KEY).headers(BODY, event_id="e1", unix_time=int(time.time()))
    event = client.webhooks.unwrap(BODY.decode(), headers=headers)
    assert event.data.event_type == "call.answered"
    assert event.data.payload.call_control_id == "v3:x"


@pytest.mark.parametrize("spoil", ["body", "timestamp", "signature", "age"])
def test_the_official_sdk_refuses_what_was_tampered_with(spoil: str) -> None:
    client = telnyx.Telnyx(api_key="k", public_key=public_key_text(KEY))
    now = int(time.time())
    headers = WebhookSigner(KEY).headers(BODY, event_id="e1", unix_time=now - 400 if spoil == "age" else now)
    body = BODY.decode()
    if spoil == "body":
        body = body.replace("v3:x", "v3:y")
    elif spoil == "timestamp":
        headers["telnyx-timestamp"] = str(now + 1)
    elif spoil == "signature":
        headers["telnyx-signature-ed25519"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(Exception, match=r"(?i)timestamp|signature|webhook"):
        client.webhooks.unwrap(body, headers=headers)


def test_standard_webhooks_headers_are_there_when_asked_for() -> None:
    signer = WebhookSigner(KEY, standard_webhooks=True)
    headers = signer.headers(BODY, event_id="e1", unix_time=1_700_000_000)
    assert headers["webhook-id"] == "msg_e1"
    assert headers["webhook-timestamp"] == headers["telnyx-timestamp"]
    mac = hmac.digest(base64.b64decode(signer.public_key), b"msg_e1.1700000000." + BODY, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
