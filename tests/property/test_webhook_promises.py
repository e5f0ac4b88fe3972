import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from offhook.kit.webhook import WebhookInvalid, verify
from offhook.proto.webhook import (
    Again,
    Delivered,
    Event,
    GivenUp,
    Progress,
    RetrySchedule,
    Verdict,
    after_attempt,
    body_of,
    encode_event,
    public_key_text,
    read_retry_after,
    sign,
)

pytestmark = pytest.mark.property

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = public_key_text(KEY)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
waits = st.floats(0, 5_000, allow_nan=False)
schedules = st.builds(
    RetrySchedule,
    fast_waits_s=st.lists(waits, max_size=4).map(tuple),
    slow_waits_s=st.lists(st.floats(1, 5_000), max_size=5).map(tuple),
    give_up_after_s=st.just(86_400.0),
)


@given(st.dictionaries(texts, values, max_size=6), texts, st.integers(1, 10**6))
def test_what_is_sent_is_what_is_read(payload: dict[str, object], url: str, attempt: int) -> None:
    body = body_of(encode_event(Event("t", "i", "o", payload)), attempt=attempt, delivered_to=url)
    event = verify(body, sign(body, KEY, unix_time=5), PUBLIC, 5.0)
    assert (event.payload, event.attempt, event.delivered_to) == (payload, attempt, url)
    assert list(event.payload) == sorted(payload)


@given(st.dictionaries(texts, values, max_size=3), st.data())
def test_no_single_changed_byte_passes(payload: dict[str, object], data: st.DataObject) -> None:
    body = body_of(encode_event(Event("t", "i", "o", payload)), attempt=1, delivered_to="u")
    headers = sign(body, KEY, unix_time=5)
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    with pytest.raises(WebhookInvalid):
        verify(changed, headers, PUBLIC, 5.0)


@given(
    st.binary(max_size=200),
    st.dictionaries(st.text(max_size=30), st.text(max_size=100), max_size=4),
    st.text(),
)
def test_garbage_is_refused_and_never_breaks_the_verifier(
    body: bytes, headers: dict[str, str], key: str
) -> None:
    for public in (PUBLIC, key):
        with pytest.raises(WebhookInvalid):
            verify(body, headers, public, 5.0)


@given(st.text(max_size=60))
def test_no_retry_after_header_breaks_the_reader(value: str) -> None:
    wait_s = read_retry_after(value, unix_time=1_700_000_000)
    assert wait_s is None or wait_s >= 0


@given(
    schedules,
    st.integers(1, 2),
    st.lists(
        st.tuples(st.sampled_from(Verdict), st.floats(0, 30), st.none() | st.floats(0, 10_000)), min_size=1
    ),
)
def test_no_history_of_answers_breaks_the_promises_of_the_schedule(
    schedule: RetrySchedule, urls: int, answers: list[tuple[Verdict, float, float | None]]
) -> None:
    now, progress, refused = 0.0, Progress(), set[int]()
    for count, (verdict, takes_s, retry_after_s) in enumerate(answers, start=1):
        assert progress.url_index not in refused, "a URL that refused is not asked again"
        now += takes_s
        step = after_attempt(
            schedule,
            progress,
            verdict,
            urls=urls,
            now=now,
            expires_at=schedule.give_up_after_s,
            retry_after_s=retry_after_s,
        )
        assert step.progress.attempts == count
        assert isinstance(step, Delivered) == (verdict is Verdict.DELIVERED)
        if verdict is Verdict.REFUSED:
            refused.add(progress.url_index)
        if isinstance(step, Again):
            assert now <= step.at <= schedule.give_up_after_s
            assert 0 <= step.progress.url_index < urls
        elif isinstance(step, GivenUp):
            assert step.reason != "refused" or len(refused) == urls
        if not isinstance(step, Again):
            return
        assert Progress(
            **json.loads(json.dumps({s: getattr(step.progress, s) for s in Progress.__slots__}))
        ) == (step.progress), "progress survives a database row"
        now, progress = step.at, step.progress
