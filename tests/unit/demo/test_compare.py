"""The demo's comparisons tell equal from almost equal."""

import random
from collections.abc import Sequence

import pytest

from offhook.app.demo.compare import compare_audio, compare_packets, read_packets

pytestmark = pytest.mark.unit


def noise(samples: int, seed: int = 1) -> bytes:
    source = random.Random(seed)
    return b"".join(
        source.randrange(-20_000, 20_000).to_bytes(2, "little", signed=True) for _ in range(samples)
    )


def packet(number: int, payload: bytes = b"") -> bytes:
    return (
        b"\x80\x00"
        + (number & 0xFFFF).to_bytes(2, "big")
        + bytes(8)
        + (payload or bytes([number & 0xFF]) * 160)
    )


def packets(numbers: Sequence[int]) -> list[bytes]:
    return [packet(number) for number in numbers]


@pytest.mark.parametrize("lead", [0, 1, 159, 160, 4_321])
def test_audio_is_found_at_any_offset(lead: int) -> None:
    played = noise(3_200)
    found = compare_audio(played, bytes(2 * lead) + played + bytes(700))
    assert found.identical
    assert found.offset_samples == lead


def test_audio_shifted_by_one_byte_is_not_the_same_audio() -> None:
    played = noise(1_600)
    assert not compare_audio(played, b"\x00" + played + b"\x00").identical


def test_one_wrong_sample_is_told_with_the_right_offset() -> None:
    played = noise(3_200)
    wrong = bytearray(bytes(1_000) + played)
    wrong[1_000 + 2 * 1_234] ^= 1
    found = compare_audio(played, bytes(wrong))
    assert (found.offset_samples, found.differing) == (500, 1)
    assert not found.identical


def test_audio_with_a_hole_differs() -> None:
    played = noise(3_200)
    heard = played[:3_200] + bytes(320) + played[3_520:]
    found = compare_audio(played, heard)
    assert found.offset_samples == 0
    assert 150 <= found.differing <= 160


def test_audio_cut_short_differs_by_what_is_missing() -> None:
    played = noise(3_200)
    found = compare_audio(played, played[: 2 * 3_000])
    assert (found.offset_samples, found.differing) == (0, 200)


def test_audio_that_was_lengthened_in_the_middle_differs() -> None:
    played = noise(3_200)
    found = compare_audio(played, played[:3_200] + bytes(2) + played[3_200:])
    assert found.differing > 1_000


@pytest.mark.parametrize("heard", [b"", bytes(8_000), noise(3_000, seed=2)])
def test_other_audio_is_not_found(heard: bytes) -> None:
    found = compare_audio(noise(1_600), heard)
    assert found.offset_samples is None
    assert found.differing == 1_600


def test_nothing_played_is_no_success() -> None:
    assert not compare_audio(b"", noise(100)).identical


def test_packets_forked_from_the_middle_of_a_call_are_identical() -> None:
    assert compare_packets(packets(range(110, 150)), packets(range(100, 200))).identical


def test_sequence_numbers_may_wrap() -> None:
    assert compare_packets(packets(range(65_530, 65_560)), packets(range(65_500, 65_600))).identical


def test_copies_that_begin_before_the_capture_are_unknown() -> None:
    found = compare_packets(packets(range(95, 120)), packets(range(100, 120)))
    assert (found.unknown, found.differing, found.missing) == (5, 0, 0)
    assert not found.identical


def test_a_changed_bit_is_a_difference() -> None:
    copies = packets(range(110, 120))
    copies[3] = copies[3][:-1] + bytes([copies[3][-1] ^ 1])
    found = compare_packets(copies, packets(range(100, 130)))
    assert (found.differing, found.missing) == (1, 0)
    assert not found.identical


def test_a_missing_packet_is_told() -> None:
    found = compare_packets(packets([110, 111, 113]), packets(range(100, 130)))
    assert found.missing == 1
    assert not found.identical


def test_a_repeated_packet_is_told() -> None:
    found = compare_packets(packets([110, 111, 111, 112]), packets(range(100, 130)))
    assert found.repeated == 1
    assert not found.identical


def test_reordered_packets_are_told() -> None:
    found = compare_packets(packets([110, 112, 111, 113]), packets(range(100, 130)))
    assert (found.reordered, found.missing) == (1, 0)
    assert not found.identical


def test_no_copies_are_no_success() -> None:
    assert not compare_packets([], packets(range(10))).identical
    assert not compare_packets(packets(range(10)), []).identical


def test_what_another_sender_sends_to_the_port_is_told_and_not_compared() -> None:
    stray = b"\x80\x00\x00\x07" + b"\x55" * 8
    found = compare_packets([stray, *packets(range(110, 120)), b"", stray], packets(range(100, 130)))
    assert found.identical
    assert (found.copies, found.foreign) == (10, 3)
    assert not compare_packets([stray], packets(range(100, 130))).identical


def test_a_recording_of_packets_is_read_back_without_its_torn_end() -> None:
    recorded = b"".join(len(p).to_bytes(2, "big") + p for p in packets(range(3)))
    assert read_packets(recorded) == packets(range(3))
    assert read_packets(recorded[:-1]) == packets(range(2))
    assert read_packets(recorded + b"\x00") == packets(range(3))
