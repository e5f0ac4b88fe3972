"""G.711 against the values and the promises of the Recommendation."""

import pytest

from offhook.base.g711 import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode, to_samples

pytestmark = pytest.mark.unit

EVERY_SAMPLE = b"".join(n.to_bytes(2, "little", signed=True) for n in range(-32_768, 32_768))
EVERY_BYTE = bytes(range(256))


def test_every_pcmu_byte_survives_a_round_trip_but_for_the_second_zero() -> None:
    again = mulaw_encode(mulaw_decode(EVERY_BYTE))
    assert [byte for byte in EVERY_BYTE if again[byte] != byte] == [0x7F]
    assert again[0x7F] == 0xFF


def test_every_pcma_byte_survives_a_round_trip() -> None:
    assert alaw_encode(alaw_decode(EVERY_BYTE)) == EVERY_BYTE


@pytest.mark.parametrize(
    ("byte", "sample"), [(0xFF, 0), (0x7F, 0), (0x80, 32_124), (0x00, -32_124), (0xFE, 8), (0xEF, 132)]
)
def test_pcmu_has_the_values_of_the_recommendation(byte: int, sample: int) -> None:
    assert list(to_samples(mulaw_decode(bytes([byte])))) == [sample]


@pytest.mark.parametrize(("byte", "sample"), [(0xD5, 8), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256)])
def test_pcma_has_the_values_of_the_recommendation(byte: int, sample: int) -> None:
    assert list(to_samples(alaw_decode(bytes([byte])))) == [sample]


def test_quantisation_is_monotone_and_close() -> None:
    for encode, expand in ((mulaw_encode, mulaw_decode), (alaw_encode, alaw_decode)):
        out = to_samples(expand(encode(EVERY_SAMPLE)))
        assert list(out) == sorted(out)
        for sample, got in zip(range(-32_768, 32_768), out, strict=True):
            assert abs(sample - got) <= abs(sample) / 32 + 12 or abs(sample) > 32_124


def test_half_a_sample_is_left_out() -> None:
    assert mulaw_encode(b"\0\0\0") == b"\xff"
    assert alaw_encode(b"\0") == b""
