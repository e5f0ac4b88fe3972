"""What our own reference says of parameters, and what Telnyx and its SDK know of them, as sets of names."""

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from offhook.edge.http.commands import ACTIONS, DIAL
from offhook.edge.http.schemas import Dial

ROOT = Path(__file__).parents[2]
_NAMES = re.compile(r"`([a-zA-Z_.]+)`")


@cache
def sections(page: str) -> dict[str, str]:
    """Return the text below each heading of a page of the reference."""
    text = (ROOT / "docs/reference" / page).read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def words_of(section: str) -> dict[str, str]:
    """Return the word that `commands.md` has for each parameter of a section."""
    found: dict[str, str] = {}
    for row in sections("commands.md")[section].splitlines():
        if row.startswith("| `"):
            _, names, word, *_ = (cell.strip() for cell in row.split("|"))
            found |= dict.fromkeys(_NAMES.findall(names), word)
    return found


@cache
def published() -> dict[str, Any]:
    """Return the parameters of every operation that Telnyx publishes."""
    facts: dict[str, Any] = json.loads((ROOT / "tests/data/telnyx/request_params.json").read_text())
    return facts


def operation_of(command: str) -> str:
    """Return the name under which Telnyx's parameters of a command are kept."""
    if command == DIAL:
        return "POST /calls"
    method = next((action.method for action in ACTIONS if action.name == command), "POST")
    return f"{method} /calls/{{call_control_id}}/actions/{command}"


def ours(command: str) -> set[str]:
    """Return the parameters that a command's schema knows."""
    body = Dial if command == DIAL else next(action.body for action in ACTIONS if action.name == command)
    return {field.alias or name for name, field in body.model_fields.items()}


_SDK_NOUNS = {
    "streaming": "streaming",
    "fork": "forking",
    "transcription": "transcription",
    "playback": "playback",
    "record": "recording",
    "gather": "gather",
    "siprec": "siprec",
    "suppression": "noise_suppression",
}
_SDK_RENAMED = {"from": "from_"}
_SDK_BRIDGE = {"call_control_id": "call_control_id_to_bridge_with"}


def sdk_method(command: str) -> str:
    """Return the name that the official SDK has for a command."""
    if command == "client_state_update":
        return "update_client_state"
    noun, _, verb = command.partition("_")
    return f"{verb}_{_SDK_NOUNS[noun]}" if verb in ("start", "stop", "pause", "resume") else command


def sdk_arguments(command: str, members: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request as the SDK names them."""
    renamed = {**_SDK_RENAMED, **(_SDK_BRIDGE if command == "bridge" else {})}
    return {renamed.get(name, name): value for name, value in members.items()}


def sdk_type(command: str, kind: str) -> Any:
    """Return the SDK's model of what is sent with a command ("params") or answered ("response")."""
    words = "call_dial" if command == DIAL else f"action_{sdk_method(command)}"
    module = import_module(f"telnyx.types.{'' if command == DIAL else 'calls.'}{words}_{kind}")
    wanted = f"{words}_{kind}".replace("_", "")
    return next(held for name, held in vars(module).items() if name.lower() == wanted)


def of_sdk(command: str) -> set[str]:
    """Return the parameters that the newest official SDK has for a command."""
    ours = {theirs: name for name, theirs in {**_SDK_RENAMED, **_SDK_BRIDGE}.items()}
    return {ours.get(name, name) for name in get_type_hints(sdk_type(command, "params"))}
