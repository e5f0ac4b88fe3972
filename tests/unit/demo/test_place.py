"""What the demo reads and prepares around its call."""

from pathlib import Path

import pytest

import offhook
from offhook.app.demo.place import (
    ReadyLine,
    app_environment,
    find_example,
    read_ready_line,
    rtp_ports,
    sentence,
    server_environment,
)
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/call_streaming/app.py"


def test_the_ready_line_is_read() -> None:
    line = "offhook ready api=http://127.0.0.1:8080/v2 sip=udp:127.0.0.1:5060,tcp:127.0.0.1:5060 public_key=a+b/c="
    assert read_ready_line(line) == ReadyLine("http://127.0.0.1:8080/v2", "udp:127.0.0.1:5060", "a+b/c=")


@pytest.mark.parametrize(
    "line", ["", "offhook", "offhook ready", "offhook ready api=x", "other ready api=x sip=y public_key=z"]
)
def test_other_lines_are_not(line: str) -> None:
    assert read_ready_line(line) is None


def test_settings_of_the_surroundings_do_not_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFHOOK_PUBLIC_ADDRESS", "192.0.2.1")
    monkeypatch.setenv("TELNYX_BASE_URL", "https://api.telnyx.com/v2")
    server = server_environment(
        data_dir=Path("d"), api_key="KEYx", webhook_url="http://127.0.0.1:1/w", ports=(24000, 24099)
    )
    assert "OFFHOOK_PUBLIC_ADDRESS" not in server
    assert server["OFFHOOK_API_KEYS"] == "KEYx"
    assert server["OFFHOOK_RTP_PORTS"] == "24000-24099"
    app = app_environment(ReadyLine("http://127.0.0.1:1/v2", "udp:127.0.0.1:2", "k"), api_key="KEYx")
    assert app["TELNYX_BASE_URL"] == "http://127.0.0.1:1/v2"


def test_the_sentence_is_whole_packets_of_speech_with_its_words() -> None:
    sound, text = sentence()
    assert sound.sample_rate_hz == 8_000
    assert len(sound.pcm) % 320 == 0
    assert 4_000 <= sound.duration_ms <= 8_000
    assert len(text.split()) > 5


def test_the_example_is_found_in_a_checkout_and_asked_for_elsewhere(tmp_path: Path) -> None:
    if EXAMPLE.is_relative_to(Path(offhook.__file__).resolve().parents[2]):
        assert find_example(None) == EXAMPLE
    else:
        with pytest.raises(ConfigError, match="--app FILE"):
            find_example(None)
    assert find_example(EXAMPLE) == EXAMPLE
    with pytest.raises(ConfigError, match="There is no application"):
        find_example(tmp_path / "none.py")


def test_server_and_phone_get_ports_of_their_own() -> None:
    for _ in range(100):
        (first, last), (phone_first, phone_last) = rtp_ports()
        assert 24_000 <= first < last < phone_first < phone_last <= 31_999
        assert first % 2 == phone_first % 2 == 0
