"""Promises of `offhook.app.keys`."""

import stat
from pathlib import Path

import pytest

from offhook.app.keys import add_api_key, load_or_create_keys
from offhook.base.errors import ConfigError

pytestmark = pytest.mark.unit


def test_the_first_start_makes_keys_and_the_second_keeps_them(tmp_path: Path) -> None:
    first = load_or_create_keys(tmp_path / "data")
    second = load_or_create_keys(tmp_path / "data")
    assert first.new_api_key in first.api_keys
    assert second.new_api_key is None
    assert second.api_keys == first.api_keys
    assert second.public_key == first.public_key


def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path / "data")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for name in ("webhook_private_key.pem", "api_keys"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600, name


def test_keys_of_the_settings_are_used_alone(tmp_path: Path) -> None:
    keys = load_or_create_keys(tmp_path, api_keys=("one", "two"))
    assert keys.api_keys == ("one", "two")
    assert keys.new_api_key is None


def test_an_added_key_is_accepted_at_the_next_start(tmp_path: Path) -> None:
    first = load_or_create_keys(tmp_path)
    added = add_api_key(tmp_path)
    assert load_or_create_keys(tmp_path).api_keys == (*first.api_keys, added)


def test_a_data_directory_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="OFFHOOK_DATA_DIR"):
        load_or_create_keys(tmp_path / "file")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path)
    (tmp_path / "webhook_private_key.pem").write_text("garbage")
    with pytest.raises(ConfigError, match="webhook_private_key"):
        load_or_create_keys(tmp_path)
