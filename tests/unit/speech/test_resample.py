"""The rate is doubled the same whether the signal comes at once or in pieces."""

import pytest

from offhook.edge.speech.resample import RateDoubler, double_rate, from_pcm, to_model_rate

np = pytest.importorskip("numpy", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.unit, pytest.mark.speech]


@pytest.mark.parametrize("size", [1, 7, 23, 24, 25, 160, 1000])
def test_pieces_give_what_the_whole_gives(size: int) -> None:
    signal = np.random.default_rng(1).normal(0, 0.2, 1003).astype(np.float32)
    doubler = RateDoubler()
    pieces = [doubler.push(signal[at : at + size]) for at in range(0, len(signal), size)]
    joined = np.concatenate([*pieces, doubler.end()])
    assert len(joined) == 2 * len(signal)
    assert np.allclose(joined, double_rate(signal), atol=1e-6)
    assert (joined[0::2] == signal).all()


def test_samples_of_the_model_s_rate_stay_as_they_are() -> None:
    pcm = np.array([0, 16384, -32768], "<i2").tobytes()
    assert list(to_model_rate(pcm, 16_000)) == [0.0, 0.5, -1.0]
    assert len(to_model_rate(pcm, 8_000)) == 6
    assert list(from_pcm(b"")) == []
