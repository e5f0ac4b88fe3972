"""From bytes to an object: what is JSON, what is absent, what is refused with which code."""

from typing import Any

import pytest

from offhook.edge.http.body import parse_object
from offhook.edge.http.problems import Refusal

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"a": null}'])
def test_no_body_and_null_members_mean_no_parameters(body: bytes) -> None:
    assert parse_object(body) == {}


def test_nulls_vanish_at_every_depth_of_objects_but_not_from_lists() -> None:
    assert parse_object(b'{"a": {"b": null, "c": [{"d": null}, null, 1]}}') == {"a": {"c": [{}, None, 1]}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "10023"),
        (b'{"a": NaN}', "10023"),
        (b'{"a": "\\ud800"}', "10023"),
        (b"[" * 100_000, "10023"),
        (b"1" * 5_000, "10023"),
        (b"a=1&b=2", "10023"),
        (b"\xef\xbb\xbf{}", "10023"),
        (b'{"a": "\xff"}', "10028"),
        (b"[]", "10015"),
        (b"null", "10015"),
        (b'"text"', "10015"),
        (b"17", "10015"),
    ],
)
def test_what_is_no_json_object_is_a_bad_request(body: bytes, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_object(body)
    assert refused.value.status == 400
    assert [problem.code for problem in refused.value.problems] == [code]


def test_a_refusal_says_nothing_of_what_was_in_the_body() -> None:
    with pytest.raises(Refusal) as refused:
        parse_object(b'{"stream_auth_token": "s3cret"')
    told: Any = [problem.detail for problem in refused.value.problems]
    assert "s3cret" not in repr(told) + str(refused.value) + repr(refused.value.__cause__)
