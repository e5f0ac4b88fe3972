"""The keys of an installation, in files of the data directory that only their owner can read.

| file | content |
|---|---|
| `webhook_private_key.pem` | Ed25519 key that signs webhooks |
| `webhook_public_key.b64` | its public half, as `TELNYX_PUBLIC_KEY` wants it |
| `webhook_next_private_key.pem` | the key that is to sign next, while keys rotate |
| `webhook_previous_public_key.b64` | public half of the key that signed before |
| `api_keys` | accepted bearer keys, one a line |
"""

import asyncio
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from offhook.base.errors import ConfigError
from offhook.base.limits import KEYS_LOOKED_AT_EVERY_S
from offhook.edge.webhook import SigningKeys, load_signing_key
from offhook.proto.webhook import public_key_text

log = structlog.get_logger(__name__)

API_KEY_PREFIX = "KEY"


@dataclass(frozen=True, slots=True)
class InstallationKeys:
    """What apps and this server recognise one another by.

    Attributes:
        new_api_key: set when this start made the first API key, so that it can be shown once.
    """

    signing_key: Ed25519PrivateKey
    api_keys: tuple[str, ...]
    new_api_key: str | None = None

    @property
    def public_key(self) -> str:
        """Return the webhook public key: standard base64 of its 32 bytes (contract 3.1)."""
        return public_key_text(self.signing_key)


def load_or_create_keys(data_dir: Path, *, api_keys: tuple[str, ...] = ()) -> InstallationKeys:
    """Read the keys of `data_dir`, making what is missing.

    Args:
        api_keys: keys from the settings; when given, the file is neither read nor written.

    Raises:
        ConfigError: the directory cannot be used, or a file in it is damaged.
    """
    prepare_data_dir(data_dir)
    signing_key = load_signing_key(data_dir)
    new_key = None
    if not api_keys:
        api_keys = read_api_keys(data_dir)
        if not api_keys:
            new_key = add_api_key(data_dir)
            api_keys = (new_key,)
    return InstallationKeys(signing_key, api_keys, new_key)


async def follow_keys(keys: SigningKeys, on_switch: Callable[[], None]) -> None:
    """Look at the files every few seconds, until cancelled, and tell when another key signs."""
    failing = False
    while True:
        await asyncio.sleep(KEYS_LOOKED_AT_EVERY_S)
        try:
            switched = keys.refresh()
        except ConfigError as error:
            if not failing:
                log.error(
                    "the webhook keys have changed and cannot be used; the old one signs", reason=str(error)
                )
            failing = True
            continue
        failing = False
        if switched:
            on_switch()
            log.info("another key signs webhooks", public_key=keys.published()["public_key"])


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
    _write(data_dir / "api_keys", "".join(f"{k}\n" for k in (*read_api_keys(data_dir), key)))
    return key


def read_api_keys(data_dir: Path) -> tuple[str, ...]:
    """Return the API keys kept in `data_dir`; none where there are none yet.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = data_dir / "api_keys"
    if not path.exists():
        return ()
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise ConfigError(
            f"The API keys in {path} cannot be read ({reason}): mend the file, or remove it to make a new key."
        ) from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _write(path: Path, text: str) -> None:
    """Write so that nobody else can read it and a crash leaves the old or the new content."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
