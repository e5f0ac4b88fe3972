"""What an installation keeps secret, in files of the data directory (mode 0600).

| file | content |
|---|---|
| `signing_key.pem` | Ed25519 key that signs webhooks (PKCS 8) |
| `webhook_public_key.b64` | its public key, as `TELNYX_PUBLIC_KEY` wants it |
| `api_keys` | accepted bearer keys, one a line |
| `installation.json` | secret behind call_control_ids, node id, account id |
"""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from offhook.base.errors import ConfigError
from offhook.base.ids import CallControlIds, system_random, uuid4

API_KEY_PREFIX = "KEY"


@dataclass(frozen=True, slots=True)
class InstallationKeys:
    """Everything an installation must remember over a restart to stay itself.

    Attributes:
        new_api_key: set when this start made the first API key, so that it can be shown once.
    """

    signing_key: Ed25519PrivateKey
    api_keys: tuple[str, ...]
    call_control_ids: CallControlIds
    user_id: str
    new_api_key: str | None = None

    @property
    def public_key(self) -> str:
        """Return the webhook public key: standard base64 of its 32 bytes (contract 3.1)."""
        raw = self.signing_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()


def load_or_create_keys(data_dir: Path, *, api_keys: tuple[str, ...] = ()) -> InstallationKeys:
    """Read the keys of `data_dir`, making what is missing.

    Args:
        api_keys: keys from the settings; when given, the file is neither read nor written.

    Raises:
        ConfigError: the directory cannot be used, or a file in it is damaged.
    """
    prepare_data_dir(data_dir)
    signing_key = _signing_key(data_dir)
    ids, user_id = _installation(data_dir)
    new_key = None
    if not api_keys:
        api_keys = _read_api_keys(data_dir)
        if not api_keys:
            new_key = add_api_key(data_dir)
            api_keys = (new_key,)
    keys = InstallationKeys(signing_key, api_keys, ids, user_id, new_key)
    _write(data_dir / "webhook_public_key.b64", keys.public_key + "\n")
    return keys


def prepare_data_dir(data_dir: Path) -> None:
    """Make sure `data_dir` exists, is ours alone and can be written, or raise `ConfigError`."""
    probe = data_dir / f".probe-{os.getpid()}"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(probe, "")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be written ({error.strerror}): "
            "choose another with --data-dir or OFFHOOK_DATA_DIR, or change its owner."
        ) from None


def add_api_key(data_dir: Path) -> str:
    """Make a new API key, remember it in `data_dir` and return it; servers see it at their next start."""
    key = API_KEY_PREFIX + secrets.token_hex(16)
    _write(data_dir / "api_keys", "".join(f"{k}\n" for k in (*_read_api_keys(data_dir), key)))
    return key


def _read_api_keys(data_dir: Path) -> tuple[str, ...]:
    path = data_dir / "api_keys"
    if not path.exists():
        return ()
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _signing_key(data_dir: Path) -> Ed25519PrivateKey:
    path = data_dir / "signing_key.pem"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        _write(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
        return made
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key: restore it, or delete it to have a new one made.")
    return key


def _installation(data_dir: Path) -> tuple[CallControlIds, str]:
    path = data_dir / "installation.json"
    if not path.exists():
        made = {
            "secret": system_random(32).hex(),
            "node_id": system_random(8).hex(),
            "user_id": uuid4(system_random),
        }
        _write(path, json.dumps(made, indent=2) + "\n")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        secret, node_id = bytes.fromhex(read["secret"]), bytes.fromhex(read["node_id"])
        if len(secret) < 16 or len(node_id) != 8:
            raise ValueError
        return CallControlIds(node_id, secret), str(read["user_id"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is damaged: restore it, or delete it to have a new one made.") from None


def _write(path: Path, text: str) -> None:
    """Write so that nobody else can read it and a crash leaves the old or the new content."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
