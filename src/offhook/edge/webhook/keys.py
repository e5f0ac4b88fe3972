"""The installation's signing key, kept in the data directory, and how another takes its place.

A rotation has two steps, so that apps can learn the new public key before anything is signed with
it: `prepare_next_key` makes it, `switch_key` signs with it from then on. The old public key stays
published until the next rotation.
"""

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
NEXT_KEY_NAME = "webhook_next_private_key.pem"
PREVIOUS_PUBLIC_KEY_NAME = "webhook_previous_public_key.b64"


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
        raise _unusable(data_dir, err) from None
    return key


def prepare_next_key(data_dir: Path) -> Ed25519PrivateKey:
    """Return the key that will sign after `switch_key`, made at the first call since the last one.

    Raises:
        ConfigError: a key file cannot be read or written, or holds no Ed25519 key.
    """
    path = data_dir / NEXT_KEY_NAME
    try:
        if path.exists():
            return _read(path)
        key = Ed25519PrivateKey.generate()
        _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
        (data_dir / PREVIOUS_PUBLIC_KEY_NAME).unlink(missing_ok=True)
    except OSError as err:
        raise _unusable(data_dir, err) from None
    return key


def switch_key(data_dir: Path) -> Ed25519PrivateKey:
    """Let the prepared key sign from now on and return it; a running server follows within seconds.

    Raises:
        ConfigError: there is no prepared key, or a key file cannot be read or written.
    """
    path = data_dir / NEXT_KEY_NAME
    try:
        if not path.exists():
            raise ConfigError(
                "There is no next webhook key to switch to: make one with `offhook keys rotate`."
            )
        key, old = _read(path), load_signing_key(data_dir)
        # In this order a crash in between leaves the old key signing and nothing lost.
        _write(data_dir / PREVIOUS_PUBLIC_KEY_NAME, (public_key_text(old) + "\n").encode(), mode=0o644)
        path.replace(data_dir / PRIVATE_KEY_NAME)
    except OSError as err:
        raise _unusable(data_dir, err) from None
    load_signing_key(data_dir)  # writes the public half
    return key


class SigningKeys:
    """The key that signs and the public keys around it, as the files say; `refresh` looks again.

    Raises:
        ConfigError: as for `load_signing_key`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._seen: tuple[object, ...] = ()
        self._published: dict[str, str] = {}
        self.current = load_signing_key(data_dir)
        self.refresh()

    def refresh(self) -> bool:
        """Read the files if they have changed; return whether another key signs now.

        Raises:
            ConfigError: a file cannot be used; the keys stay as they were.
        """
        seen = tuple(
            _stamp(self._data_dir / name)
            for name in (PRIVATE_KEY_NAME, NEXT_KEY_NAME, PREVIOUS_PUBLIC_KEY_NAME)
        )
        if seen == self._seen:
            return False
        before = public_key_text(self.current)
        current = load_signing_key(self._data_dir)
        self._published = _published(self._data_dir, public_key_text(current))
        self.current, self._seen = current, seen
        return public_key_text(current) != before

    def published(self) -> dict[str, str]:
        """Return `public_key`, which signs, and `next_public_key` and `previous_public_key` where they exist."""
        return dict(self._published)


def _published(data_dir: Path, current: str) -> dict[str, str]:
    keys = {"public_key": current}
    following, before = data_dir / NEXT_KEY_NAME, data_dir / PREVIOUS_PUBLIC_KEY_NAME
    try:
        if following.exists():
            keys["next_public_key"] = public_key_text(_read(following))
        if before.exists():
            previous = before.read_text(encoding="ascii").strip()
            if previous != current:
                keys["previous_public_key"] = previous
    except UnicodeDecodeError:
        raise ConfigError(f"{before} holds no public key; remove it") from None
    except OSError as err:
        raise _unusable(data_dir, err) from None
    return keys


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _unusable(data_dir: Path, err: OSError) -> ConfigError:
    return ConfigError(
        f"the webhook key in {data_dir} cannot be read or written ({err.strerror}); check its permissions"
    )


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
