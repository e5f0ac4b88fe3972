"""The demo's comparisons over generated audio and packets: exact copies pass, any fault does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.app.demo.compare import compare_audio, compare_packets, read_packets

pytestmark = pytest.mark.property

pcm = st.binary(min_size=2, max_size=2_000).map(lambda raw: raw[: len(raw) & ~1])
packets = st.tuples(st.integers(0, 65_535), st.lists(st.binary(max_size=40), min_size=3, max_size=60)).map(
    lambda made: [
        b"\x80\x00" + ((made[0] + number) & 0xFFFF).to_bytes(2, "big") + bytes(8) + payload
        for number, payload in enumerate(made[1])
    ]
)


@given(played=pcm, before=pcm, after=pcm)
def test_audio_within_audio_is_always_found(played: bytes, before: bytes, after: bytes) -> None:
    found = compare_audio(played, before + played + after)
    assert found.identical
    assert found.offset_samples is not None
    assert found.offset_samples <= len(before) // 2


@given(played=pcm, data=st.data())
def test_one_changed_sample_is_never_identical(played: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(played) - 1))
    bit = data.draw(st.integers(0, 7))
    heard = played[:at] + bytes([played[at] ^ (1 << bit)]) + played[at + 1 :]
    found = compare_audio(played, heard)
    assert not found.identical
    assert found.differing >= 1


@given(played=pcm, lost=st.integers(1, 100))
def test_audio_that_lost_samples_is_never_identical(played: bytes, lost: int) -> None:
    assert not compare_audio(played, played[: max(len(played) - 2 * lost, 0)]).identical


@given(played=pcm, heard=st.binary(max_size=500))
def test_the_count_of_differences_is_within_bounds(played: bytes, heard: bytes) -> None:
    found = compare_audio(played, heard)
    assert 0 <= found.differing <= found.samples == len(played) // 2
    assert found.identical == (found.differing == 0 and found.offset_samples is not None)


@given(sent=packets, data=st.data())
def test_any_unbroken_run_of_copies_is_identical(sent: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(sent) - 1))
    last = data.draw(st.integers(first, len(sent) - 1))
    assert compare_packets(sent[first : last + 1], sent).identical


@given(sent=packets, data=st.data())
def test_no_fault_of_a_copy_goes_unseen(sent: list[bytes], data: st.DataObject) -> None:
    copies = list(sent)
    at = data.draw(st.integers(1, len(copies) - 2))
    fault = data.draw(st.sampled_from(["drop", "repeat", "swap", "flip", "cut", "grow", "stranger"]))
    match fault:
        case "drop":
            del copies[at]
        case "repeat":
            copies.insert(at, copies[at])
        case "swap":
            copies[at], copies[at + 1] = copies[at + 1], copies[at]
        case "flip":
            place = data.draw(st.integers(4, len(copies[at]) - 1))
            copies[at] = copies[at][:place] + bytes([copies[at][place] ^ 1]) + copies[at][place + 1 :]
        case "cut":
            copies[at] = copies[at][:-1]
        case "grow":
            copies[at] += b"\0"
        case _:
            number = (int.from_bytes(sent[-1][2:4], "big") + 1) & 0xFFFF
            copies.append(b"\x80\x00" + number.to_bytes(2, "big") + sent[0][4:12])
    assert not compare_packets(copies, sent).identical


@given(sent=st.lists(st.binary(max_size=300), max_size=20), torn=st.binary(max_size=5))
def test_a_recording_reads_back(sent: list[bytes], torn: bytes) -> None:
    recorded = b"".join(len(packet).to_bytes(2, "big") + packet for packet in sent)
    assert read_packets(recorded) == sent
    assert read_packets(recorded + torn)[: len(sent)] == sent
