"""The installation's signing key: made once, kept in the data directory."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from offhook.base.errors import ConfigError
from offhook.proto.webhook import public_key_text

PRIVATE_KEY_NAME = "webhook_private_key.pem"
PUBLIC_KEY_NAME = "webhook_public_key.b64"


def load_signing_key(data_dir: Path) -> Ed25519PrivateKey:
    """Return the key that signs webhooks, made at the first call; the public half is written beside it.

    Raises:
        ConfigError: a key file cannot be read or written, or holds no Ed25519 key.
    """
    path = data_dir / PRIVATE_KEY_NAME
    try:
        if path.exists():
            key = _read(path)
        else:
            key = Ed25519PrivateKey.generate()
            _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
        published = (public_key_text(key) + "\n").encode()
        public_path = data_dir / PUBLIC_KEY_NAME
        if not public_path.exists() or public_path.read_bytes() != published:
            _write(public_path, published, mode=0o644)
    except OSError as err:
        raise ConfigError(
            f"the webhook key in {data_dir} cannot be read or written ({err.strerror}); check its permissions"
        ) from None
    return key


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 private key; restore it, or remove it to make a new one")
    return key


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Write all or nothing: a crash must not leave half a key behind."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
