"""Promises of `offhook.app.settings`."""

import tomllib
from pathlib import Path

import pytest

from offhook.app.settings import ENVIRONMENT, Settings, default_toml, load_settings
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def load(
    toml: str = "", tmp_path: Path | None = None, env: dict[str, str] | None = None, **flags: object
) -> Settings:
    config = None
    if tmp_path is not None:
        config = tmp_path / "offhook.toml"
        config.write_text(toml, encoding="utf-8")
    return load_settings(config=config, environment=env or {}, flags=dict(flags))


def test_the_committed_default_file_is_what_the_model_says() -> None:
    assert (ROOT / "offhook.default.toml").read_text(encoding="utf-8") == default_toml()


def test_the_default_file_read_back_changes_nothing(tmp_path: Path) -> None:
    assert load(default_toml(), tmp_path) == load()


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    toml = '[http]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "debug"\n'
    env = {"OFFHOOK_HTTP_LISTEN": "127.0.0.1:2"}
    assert load(toml, tmp_path).http.address.port == 1
    assert load(toml, tmp_path, env).http.address.port == 2
    both = load(toml, tmp_path, env, http={"listen": "127.0.0.1:3"})
    assert both.http.address.port == 3
    assert both.log.level == "debug"
    assert both.media.rtp_ports == "20000-20999"


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_each_environment_name_reaches_a_setting(name: str) -> None:
    node: object = Settings()
    for part in ENVIRONMENT[name]:
        node = getattr(node, part)


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"OFFHOOK_HTTP_LISTEN": "nowhere"}, "OFFHOOK_HTTP_LISTEN"),
        ({"OFFHOOK_SIP_LISTEN": "smoke:1.2.3.4:5060"}, "OFFHOOK_SIP_LISTEN"),
        ({"OFFHOOK_RTP_PORTS": "9000-100"}, "OFFHOOK_RTP_PORTS"),
        ({"OFFHOOK_WORKERS": "many"}, "OFFHOOK_WORKERS"),
        ({"OFFHOOK_WEBHOOK_URL": "not a url"}, "OFFHOOK_WEBHOOK_URL"),
        ({"OFFHOOK_PUBLIC_ADDRESS": "example"}, "OFFHOOK_PUBLIC_ADDRESS"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(env: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(env=env)


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"media\.wrokers"):
        load("[media]\nwrokers = 2\n", tmp_path)


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(config=tmp_path / "none.toml", environment={})
    with pytest.raises(ConfigError, match="not valid TOML"):
        load("= 3", tmp_path)


def test_no_error_repeats_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("[http]\napi_keys = 12345678\n", tmp_path)
    assert "12345678" not in str(caught.value)


def test_private_egress_follows_the_api_unless_set() -> None:
    assert load().allow_private_egress
    assert not load(env={"OFFHOOK_HTTP_LISTEN": "0.0.0.0:8080"}).allow_private_egress
    assert load(
        env={"OFFHOOK_HTTP_LISTEN": "0.0.0.0:8080", "OFFHOOK_ALLOW_PRIVATE_EGRESS": "true"}
    ).allow_private_egress


def test_every_setting_is_explained() -> None:
    toml = default_toml()
    blocks = {"routes", "trunks"}
    assert set(tomllib.loads(toml)) == set(Settings.model_fields) - blocks
    assert all(f"\n#[[{name}]]\n" in toml for name in blocks)
    for line_before, line in zip(toml.splitlines(), toml.splitlines()[1:], strict=False):
        if " = " in line and not line.startswith("#"):
            assert line_before.startswith("# "), line
