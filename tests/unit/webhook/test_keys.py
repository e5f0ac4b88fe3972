import stat
from pathlib import Path

import pytest

from offhook.base.errors import ConfigError
from offhook.edge.webhook import load_signing_key
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
