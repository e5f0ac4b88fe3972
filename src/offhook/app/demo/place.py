"""What the demo needs from this machine: its example, the extras, free ports, clean environments."""

import importlib.util
import os
import socket
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import offhook
from offhook.base.errors import ConfigError
from offhook.base.ids import system_random
from offhook.kit.audio import Sound, read_wav

NEEDED = {"telnyx": "telnyx", "nacl": "PyNaCl", "websockets": "websockets", "onnxruntime": "onnxruntime"}
RTP_PORTS_FIRST, RTP_PORTS_LAST, RTP_PORTS_EACH = 24_000, 31_999, 100


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """What `offhook serve` says when it can take calls."""

    api: str
    sip: str
    """The first listener, as `udp:127.0.0.1:5060`."""
    public_key: str


def read_ready_line(line: str) -> ReadyLine | None:
    """Return the parts of the ready line, or None when `line` is another one."""
    words = line.split()
    if words[:2] != ["offhook", "ready"]:
        return None
    parts = dict(word.split("=", 1) for word in words[2:] if "=" in word)
    try:
        return ReadyLine(parts["api"], parts["sip"].split(",")[0], parts["public_key"])
    except KeyError:
        return None


def require_extras() -> None:
    """Raise a `ConfigError` that says what to install, unless everything optional is there."""
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(f"The demo needs {' and '.join(missing)}: pip install 'offhook[demo]'.")


def find_example(chosen: Path | None) -> Path:
    """Return the example application: the chosen file, else the one of this checkout."""
    if chosen is not None:
        if not chosen.is_file():
            raise ConfigError(f"There is no application {chosen}.")
        return chosen.absolute()
    path = Path(offhook.__file__).resolve().parents[2] / "examples/call_streaming/app.py"
    if path.is_file():
        return path
    raise ConfigError(
        "The example application is not part of this installation: name it with --app FILE "
        "(examples/call_streaming/app.py in the source)."
    )


def sentence() -> tuple[Sound, str]:
    """Return the recorded sentence and what is said in it."""
    data = resources.files("offhook") / "data"
    with resources.as_file(data / "sentence.wav") as path:
        sound = read_wav(path)
    return sound, (data / "sentence.txt").read_text(encoding="utf-8").strip()


def free_tcp_port() -> int:
    """Return a port that nothing listens at now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rtp_ports() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return two ranges of RTP ports, for server and phone, at a random place.

    The core skips ports in use; the random place keeps two demos on one machine out of each other's
    way, whose late packets would otherwise meet the next call.
    """
    places = (RTP_PORTS_LAST + 1 - RTP_PORTS_FIRST) // (2 * RTP_PORTS_EACH)
    first = RTP_PORTS_FIRST + int.from_bytes(system_random(4), "big") % places * 2 * RTP_PORTS_EACH
    middle = first + RTP_PORTS_EACH
    return (first, middle - 1), (middle, middle + RTP_PORTS_EACH - 1)


def new_api_key() -> str:
    """Return a key for this one run."""
    return "KEY" + system_random(16).hex()


def clean_environment() -> dict[str, str]:
    """Return our environment without settings that would steer the demo's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OFFHOOK_", "TELNYX_"))}


def server_command() -> list[str]:
    """Return the command that runs the server of this very installation."""
    return [sys.executable, "-m", "offhook", "serve"]


def server_environment(
    *, data_dir: Path, api_key: str, webhook_url: str, ports: tuple[int, int]
) -> dict[str, str]:
    """Return the settings of a server that is reachable from this machine alone, at free ports."""
    return clean_environment() | {
        "OFFHOOK_HTTP_LISTEN": "127.0.0.1:0",
        "OFFHOOK_SIP_LISTEN": "udp:127.0.0.1:0",
        "OFFHOOK_RTP_PORTS": f"{ports[0]}-{ports[1]}",
        "OFFHOOK_DATA_DIR": str(data_dir),
        "OFFHOOK_API_KEYS": api_key,
        "OFFHOOK_WEBHOOK_URL": webhook_url,
        "OFFHOOK_LOG_FORMAT": "text",
    }


def app_environment(ready: ReadyLine, *, api_key: str) -> dict[str, str]:
    """Return what the official SDK reads."""
    return clean_environment() | {
        "TELNYX_BASE_URL": ready.api,
        "TELNYX_API_KEY": api_key,
        "TELNYX_PUBLIC_KEY": ready.public_key,
    }
