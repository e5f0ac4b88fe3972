"""The command line: exit statuses, sentences, masked secrets."""

import json
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import offhook.app.preflight
from offhook.app.cli import app
from offhook.app.cli.output import mask
from offhook.app.meter import level_text, meter
from offhook.app.settings import Settings
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit

COMMANDS = ["serve", "demo", "call", "phone", "listen", "webhooks", "streams", "speak", "keys", "check"]


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OFFHOOK_CONFIG", "OFFHOOK_API_KEYS", "OFFHOOK_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TELNYX_PUBLIC_KEY", "TELNYX_API_KEY", "TELNYX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OFFHOOK_SIP_LISTEN", "udp:127.0.0.1:0")
    monkeypatch.setenv("OFFHOOK_HTTP_LISTEN", "127.0.0.1:0")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def core_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offhook.app.preflight, "_native_core", lambda: None)
    monkeypatch.setattr(offhook.app.preflight, "_speech", lambda _: None)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output
    for line in run("--help").output.splitlines()[1:]:
        assert not line.endswith("..."), "a summary must fit its line"
    assert command in run("--help").output


def test_version_is_printed() -> None:
    assert run("--version").output.startswith("offhook ")


def test_no_command_shows_the_help() -> None:
    assert "serve" in run().output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve", "--http-listen", "nonsense"), "OFFHOOK_HTTP_LISTEN"),
        (("serve", "--config", "missing.toml"), "missing.toml cannot be read"),
        (("serve", "--rtp-ports", "5-4"), "OFFHOOK_RTP_PORTS"),
        (("check", "--log-level", "loud"), "OFFHOOK_LOG_LEVEL"),
        (("call", "alice"), "not a SIP URI"),
        (("call", "sip:a@127.0.0.1", "--play", "none.wav"), "none.wav cannot be read"),
        (("call", "sip:a@127.0.0.1", "--codec", "SPEEX"), "PCMU, PCMA, G722"),
        (("call", "sip:a@127.0.0.1", "--dtmf", "12z"), "Digits are"),
        (("call", "sip:a@127.0.0.1", "--record", "no/such/a.wav"), "cannot be written"),
        (("webhooks", "--port", "0", "--url", "ftp://x"), "--url must look like"),
        (("webhooks", "--port", "0", "--url", "http://127.0.0.1:9"), "No Offhook answered"),
        (("streams", "--url", "ftp://x", "--api-key", "k"), "--url must look like"),
        (("streams", "--url", "http://127.0.0.1:9", "--api-key", "k"), "No Offhook answered"),
        (("streams", "--data-dir", "nowhere"), "No API key was found"),
        (("keys", "--data-dir", "/dev/null/x"), "cannot be written"),
    ],
)
def test_what_must_be_changed_is_one_sentence_and_status_2(arguments: tuple[str, ...], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("offhook: ")


def test_a_wrong_option_is_status_2() -> None:
    assert run("serve", "--bogus").exit_code == 2
    assert run("bogus").exit_code == 2


def test_serve_passes_flags_over_the_environment_and_returns_the_servers_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    got: list[Settings] = []
    server = types.ModuleType("offhook.app.server")

    def fake_run(settings: Settings) -> int:
        got.append(settings)
        return 7

    server.run = fake_run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "offhook.app.server", server)
    result = run(
        *("serve", "--http-listen", "127.0.0.1:1234", "--data-dir", "d", "--workers", "3"),
        *("--webhook-url", "http://127.0.0.1:9000/w", "--rtp-ports", "30000-30100", "--log-format", "json"),
    )
    assert result.exit_code == 7
    [settings] = got
    assert settings.http.listen == "127.0.0.1:1234"
    assert settings.sip.listen == "udp:127.0.0.1:0"
    assert (settings.data_dir, settings.media.workers) == (Path("d"), 3)
    assert settings.media.port_range == (30_000, 30_100)
    assert str(settings.webhooks.url) == "http://127.0.0.1:9000/w"
    assert settings.log.format == "json"


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    server = types.ModuleType("offhook.app.server")

    def interrupted(_: Settings) -> int:
        raise KeyboardInterrupt

    server.run = interrupted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "offhook.app.server", server)
    assert run("serve").exit_code == 130


def test_keys_are_made_once_and_then_shown_masked() -> None:
    first = json.loads(run("keys", "--json").output)
    assert len(first["public_key"]) == 44
    assert first["new_api_key"].startswith("KEY")
    again = run("keys", "--json")
    second = json.loads(again.output)
    assert second["public_key"] == first["public_key"]
    assert second["new_api_key"] is None
    assert first["new_api_key"] not in again.output
    assert second["api_keys"] == [mask(first["new_api_key"])]


def test_keys_new_makes_a_key_that_counts() -> None:
    run("keys")
    key = json.loads(run("keys", "new", "--json").output)["api_key"]
    assert mask(key) in json.loads(run("keys", "--json").output)["api_keys"]
    assert key in (Path(".offhook") / "api_keys").read_text()


def test_the_webhook_key_is_renewed_in_two_steps() -> None:
    old = json.loads(run("keys", "--json").output)["public_key"]
    new = json.loads(run("keys", "rotate", "--json").output)["next_public_key"]
    assert json.loads(run("keys", "--json").output)["public_key"] == old
    assert new in run("keys").output
    assert new in run("keys", "rotate").output
    assert json.loads(run("keys", "switch", "--json").output) == {"public_key": new}
    shown = json.loads(run("keys", "--json").output)
    assert (shown["public_key"], shown["previous_public_key"]) == (new, old)
    refused = run("keys", "switch")
    assert refused.exit_code != 0


def test_people_see_what_to_export() -> None:
    output = run("keys").output
    assert "TELNYX_PUBLIC_KEY=" in output
    assert "TELNYX_API_KEY=KEY" in output


def test_check_masks_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    core_is_built(monkeypatch)
    monkeypatch.setenv("OFFHOOK_API_KEYS", "KEY0123456789abcdef,short")
    monkeypatch.setenv("OFFHOOK_WEBHOOK_URL", "https://user:hunter2@example.org/hook?token=sesame")
    for arguments in (("check",), ("check", "--json")):
        output = run(*arguments).output
        for secret in ("0123456789abcdef", "short", "hunter2", "sesame"):
            assert secret not in output
        assert "example.org/hook" in output


def test_check_finds_nothing_wrong_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    core_is_built(monkeypatch)
    result = run("check", "--json")
    found: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == 0
    assert found["problems"] == []
    assert found["settings"]["egress"]["allow_private"] is True
    assert list(Path().iterdir()) == []
    assert "every incoming call is refused" in found["warnings"][0]


def test_check_tells_everything_that_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offhook.app.preflight, "_native_core", lambda: "The core is missing.")
    Path("file").write_text("")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        http, sip = tcp.getsockname()[1], udp.getsockname()[1]
        result = run(
            *("check", "--json", "--data-dir", "file/data", "--http-listen", f"127.0.0.1:{http}"),
            *("--sip-listen", f"udp:127.0.0.1:{sip}", "--rtp-ports", f"{sip - 1}-{sip + 1}"),
        )
    assert result.exit_code == 2
    problems = " | ".join(json.loads(result.output)["problems"])
    for part in (
        "core is missing",
        "file is a file",
        f"tcp:127.0.0.1:{http}",
        f"udp:127.0.0.1:{sip}",
        "hold the SIP port",
    ):
        assert part in problems


def test_check_finds_a_missing_speech_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(offhook.app.preflight, "_native_core", lambda: None)
    monkeypatch.setenv("OFFHOOK_SPEECH_MODEL_DIR", str(tmp_path))
    result = run("check", "--json")
    assert result.exit_code == 2
    assert "Transcription will not work" in json.loads(result.output)["problems"][0]


def test_a_rejected_engine_needs_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(offhook.app.preflight, "_native_core", lambda: None)
    monkeypatch.setenv("OFFHOOK_SPEECH_MODEL_DIR", str(tmp_path))
    Path("offhook.toml").write_text('[speech]\ndefault_engine = "reject"\n')
    assert run("check", "--json").exit_code == 0


def test_the_demo_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from offhook.app.demo import place

    monkeypatch.setattr(place, "NEEDED", {"no_such_module": "no-such-package"})
    result = run("demo", "--json")
    assert result.exit_code == 2
    assert result.stderr == "offhook: The demo needs no-such-package: pip install 'offhook[demo]'.\n"


def test_a_config_error_in_a_command_is_never_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    server = types.ModuleType("offhook.app.server")

    def fails(_: Settings) -> int:
        raise ConfigError("The port 5060 is taken.")

    server.run = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "offhook.app.server", server)
    result = run("serve")
    assert (result.exit_code, result.stderr) == (2, "offhook: The port 5060 is taken.\n")


@pytest.mark.parametrize(
    ("level", "bar"),
    [
        (None, "·" * 10),
        (-90.0, "·" * 10),
        (-60.0, "·" * 10),
        (-30.0, "█" * 5 + "·" * 5),
        (0.0, "█" * 10),
        (3.0, "█" * 10),
    ],
)
def test_the_meter_goes_from_60_below_to_full_scale(level: float | None, bar: str) -> None:
    assert meter(level, width=10) == bar
    assert len(level_text(level)) == 7


def test_a_mask_shows_no_short_secret_at_all() -> None:
    assert mask("KEY0123456789abcdef") == "KEY01..."
    assert mask("secret") == "..."


@pytest.mark.parametrize("key", ["abc", "c2hvcnQ=", "not base64 at all"])
def test_a_public_key_that_cannot_be_one_is_refused_at_once(key: str) -> None:
    result = run("webhooks", "--port", "0", "--public-key", key)
    assert result.exit_code == 2
    assert "the public key" in result.stderr


def test_check_shows_no_password_of_a_trunk_and_misses_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    core_is_built(monkeypatch)
    block = '[[trunks]]\nname = "{0}"\naddress = "192.0.2.1"\nusername = "us"\n{1}\n'
    known = block.format("a", 'password = "long and secret"')
    (tmp_path / "offhook.toml").write_text(known + block.format("b", 'password_env = "NONE"'))
    monkeypatch.delenv("NONE", raising=False)
    result = run("check", "--json")
    assert result.exit_code == 2
    assert "long and secret" not in result.output
    assert "The trunk b has no password" in json.loads(result.output)["problems"][0]
