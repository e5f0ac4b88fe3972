import stat
from pathlib import Path

import pytest

from offhook.base.errors import ConfigError
from offhook.edge.webhook import SigningKeys, load_signing_key, prepare_next_key, switch_key
from offhook.proto.webhook import public_key_text

pytestmark = pytest.mark.unit


def test_the_key_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    key = load_signing_key(tmp_path)
    assert load_signing_key(tmp_path).private_bytes_raw() == key.private_bytes_raw()
    private = tmp_path / "webhook_private_key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert (tmp_path / "webhook_public_key.b64").read_text() == public_key_text(key) + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "webhook_private_key.pem",
        "webhook_public_key.b64",
    ]


def test_a_crash_while_writing_leaves_no_half_key(tmp_path: Path) -> None:
    (tmp_path / "webhook_private_key.pem.partial").write_bytes(b"half")
    load_signing_key(tmp_path)
    load_signing_key(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_holds_no_key_is_told_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "webhook_private_key.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no Ed25519 private key"):
        load_signing_key(tmp_path)
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be read or written"):
        load_signing_key(Path("/proc/self"))


def test_a_rotation_is_announced_before_anything_is_signed_with_the_new_key(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    old = public_key_text(keys.current)
    assert keys.published() == {"public_key": old}

    new = public_key_text(prepare_next_key(tmp_path))
    assert public_key_text(prepare_next_key(tmp_path)) == new, "asked again it is the same"
    assert not keys.refresh()
    assert keys.published() == {"public_key": old, "next_public_key": new}
    assert stat.S_IMODE((tmp_path / "webhook_next_private_key.pem").stat().st_mode) == 0o600

    assert public_key_text(switch_key(tmp_path)) == new
    assert keys.refresh()
    assert public_key_text(keys.current) == new
    assert keys.published() == {"public_key": new, "previous_public_key": old}
    assert (tmp_path / "webhook_public_key.b64").read_text() == new + "\n"
    assert not keys.refresh(), "nothing has changed since"
    assert SigningKeys(tmp_path).published() == keys.published()

    third = public_key_text(prepare_next_key(tmp_path))
    keys.refresh()
    assert keys.published() == {"public_key": new, "next_public_key": third}


def test_there_is_nothing_to_switch_to_without_a_rotation(tmp_path: Path) -> None:
    load_signing_key(tmp_path)
    with pytest.raises(ConfigError, match="keys rotate"):
        switch_key(tmp_path)


def test_a_crash_in_the_middle_of_a_switch_leaves_the_old_key_signing(tmp_path: Path) -> None:
    old = public_key_text(load_signing_key(tmp_path))
    new = public_key_text(prepare_next_key(tmp_path))
    (tmp_path / "webhook_previous_public_key.b64").write_text(old + "\n")
    assert SigningKeys(tmp_path).published() == {"public_key": old, "next_public_key": new}
    assert public_key_text(switch_key(tmp_path)) == new


def test_a_damaged_key_leaves_the_one_that_signs(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    before = public_key_text(keys.current)
    (tmp_path / "webhook_private_key.pem").write_bytes(b"nonsense")
    for _ in range(2):
        with pytest.raises(ConfigError):
            keys.refresh()
    assert public_key_text(keys.current) == before
