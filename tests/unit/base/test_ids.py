"""Promises of `offhook.base.ids`."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.base.ids import CallControlIds, uuid4

pytestmark = pytest.mark.unit

IDS = CallControlIds(b"node-one", b"s" * 32)


@given(st.uuids())
def test_a_minted_id_has_the_shape_of_telnyx_and_reads_back(leg_id: uuid.UUID) -> None:
    text = IDS.mint(leg_id)
    assert re.fullmatch(r"v3:[A-Za-z0-9_-]{54}", text)
    assert IDS.read(text) == (b"node-one", leg_id)


@given(st.uuids(), st.integers(3, 56), st.sampled_from("ABCxyz019-_"))
def test_a_changed_id_is_nobodys(leg_id: uuid.UUID, place: int, letter: str) -> None:
    text = IDS.mint(leg_id)
    changed = text[:place] + letter + text[place + 1 :]
    if changed != text:
        read = IDS.read(changed)
        # The last character carries unused bits: such a spelling still means the same bytes.
        assert read is None or (place == 56 and read == (b"node-one", leg_id))


@given(st.text(max_size=80))
def test_foreign_text_is_nobodys(text: str) -> None:
    assert IDS.read(text) is None


def test_another_installation_does_not_know_our_ids() -> None:
    text = IDS.mint(uuid.UUID(int=7))
    assert CallControlIds(b"node-one", b"t" * 32).read(text) is None


def test_a_uuid_is_version_four_and_follows_its_source() -> None:
    made = uuid4(lambda count: b"\x07" * count)
    assert uuid.UUID(made).version == 4
    assert made == uuid4(lambda count: b"\x07" * count)
