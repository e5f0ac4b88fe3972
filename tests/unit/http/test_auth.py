"""Keys: accepted exactly, never kept."""

import pytest

from offhook.edge.http.auth import ApiKeys

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("presented", ["KEY1", "KEY2"])
def test_each_configured_key_is_accepted(presented: str) -> None:
    assert ApiKeys(["KEY1", "KEY2"]).accepts(presented)


@pytest.mark.parametrize("presented", ["", "key1", "KEY", "KEY11", " KEY1", "KEY1\0", "\u20ac"])
def test_anything_else_is_refused(presented: str) -> None:
    assert not ApiKeys(["KEY1"]).accepts(presented)


def test_without_keys_nobody_gets_in_and_an_empty_key_is_no_key() -> None:
    assert not ApiKeys([]).accepts("")
    assert not ApiKeys([""]).accepts("")


def test_a_key_beyond_ascii_matches_the_bytes_on_the_wire() -> None:
    assert ApiKeys(["schlüssel"]).accepts("schlüssel".encode().decode("latin-1"))


def test_no_key_can_be_read_from_the_object() -> None:
    assert "KEY1" not in repr(vars(ApiKeys(["KEY1"])))
