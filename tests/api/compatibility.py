"""Writes docs/reference/compatibility.md from what is: `python -m tests.api.compatibility`.

What this server does with a parameter is in `commands.md`, which a test holds to the code; what
Telnyx has is in tests/data/telnyx and in the official SDK; fields of answers and webhooks are those
of our models and of real payloads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from offhook.edge.http.commands import DIAL
from offhook.edge.http.not_yet import ACTIONS_NOT_YET
from tests.api.endpoints import LISTS, OURS_ALONE, SDK_ANSWERS, Operation, fields_described, operations
from tests.api.reference import ROOT, of_sdk, operation_of, published, words_of
from tests.api.shapes import (
    UNKNOWN_TO_THE_SDK,
    event_models,
    fields_of,
    fields_of_event,
    fields_published,
    fields_told,
    strict_faults,
)
from tests.fakes.command_samples import COMMANDS
from tests.fakes.lives import payloads_told

PAGE = ROOT / "docs/reference/compatibility.md"
VERDICTS = {
    "same": "same",
    "as below": "same",
    "partial": "partial",
    "no effect": "partial",
    "refused": "refused",
    "kinder": "superset",
    "addition": "superset",
}
"""What the words of `commands.md` come to."""
RESOURCES = ("call_control_applications", "dialogflow_connections", "TeXML streams")
"""Sections of `commands.md` about what is no command."""
MORE_VALUES = {
    "call.fork.started": {"stream_type": "superset"},
    "call.fork.stopped": {"stream_type": "superset"},
}
"""Fields with values that the SDK does not have: forks may be raw, as Telnyx's older schema says."""

_HEAD = """# Compatibility

Every parameter and every field of the part of Telnyx Call Control that Offhook is about, compared with Telnyx's
published schema and its official SDK. `make compatibility` writes this page, and a test holds it to the code.

| word | of a parameter | of a field |
|---|---|---|
| same | as documented by Telnyx | there, of the same type |
| partial | some values are done, others refused; or accepted without effect, because it means nothing here | |
| superset | more is accepted than Telnyx documents, or it is ours alone | ours alone, or it has more values |
| refused | 422 with 10038 and its name; ignored under `compat.ignore_unsupported` | never there |

What exactly is done with each parameter is in [commands](commands.md), when each event is told in
[webhooks](webhooks.md).
"""


def rows_of(title: str) -> dict[str, str]:
    """Return what the page as it is kept says below a heading."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n### {title}\n")
    rows = [row.split("|") for row in rest.partition("\n#")[0].splitlines() if row.startswith("| `")]
    return {name.strip(" `"): verdict.strip() for _, name, verdict, _ in rows}


def faults_of(operation: Operation, told: Any) -> list[str]:
    """Return what the SDK's model has against an answer, past what the page about compatibility tells."""
    model, title = SDK_ANSWERS[operation.name], f"{operation.method} {operation.path}"
    if model is None:
        return [] if told is None else ["an answer where there is none"]
    excused = {name for name, verdict in rows_of(title).items() if verdict == "superset"}
    if operation.name in LISTS:
        return [fault for item in told["data"] for fault in strict_faults(model, item, excused)]
    return strict_faults(model, told, excused)


def faults_of_event(data: dict[str, Any]) -> list[str]:
    """Return what the SDK's model has against a webhook, past what the page about compatibility tells."""
    if data["event_type"] in UNKNOWN_TO_THE_SDK:
        return []
    excused = {f"payload.{n}" for n, verdict in rows_of(data["event_type"]).items() if verdict == "superset"}
    return strict_faults(event_models()[data["event_type"]], data, excused)


def page() -> str:
    """Return the text of the page."""
    parts = [_HEAD, "## Commands\n"]
    for command in sorted(COMMANDS):
        rows = {name: VERDICTS[word] for name, word in words_of(command).items()}
        parts.append(_table(command, "parameter", rows))
    parts.append("## Commands that are refused whole\n\n" + _listed(ACTIONS_NOT_YET) + "\n")
    parts.append("## Parameters of resources\n")
    parts += [_table(name, "parameter", resource_rows(name)) for name in RESOURCES]
    parts.append("## Fields of answers\n")
    for operation in operations():
        if operation.name not in OURS_ALONE:
            title = f"{operation.method} {operation.path}"
            parts.append(_table(title, "field", answer_rows(operation)))
    parts.append("## Fields of webhooks\n")
    for event_type, payloads in sorted(payloads_told().items()):
        parts.append(_table(event_type, "field", event_rows(event_type, payloads)))
    return "\n".join(parts)


def resource_rows(section: str) -> dict[str, str]:
    """Return the verdict on each parameter of a resource."""
    return {name: VERDICTS[word] for name, word in words_of(section).items()}


def answer_rows(operation: Operation) -> dict[str, str]:
    """Return the verdict on each field of what an endpoint answers; in a list, of an item."""
    schema, theirs = operation.answer(), SDK_ANSWERS[operation.name]
    if schema is None or theirs is None:
        return {}
    here = fields_described(schema)
    if operation.name in LISTS:
        here = {name.removeprefix("data[].") for name in here if name.startswith("data[].")}
    return _compared(here, fields_of(theirs))


def event_rows(event_type: str, payloads: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the verdict on each field of the payload of an event."""
    told: set[str] = set().union(*(fields_told(payload) for payload in payloads))
    return {**_compared(told, fields_of_event(event_type)), **MORE_VALUES.get(event_type, {})}


def theirs_of(command: str) -> set[str]:
    """Return every parameter that Telnyx publishes or its SDK knows for a command."""
    return set(published()[operation_of(command)].get("properties", ())) | of_sdk(command)


def published_of_resource(operation: str) -> set[str]:
    """Return every parameter that Telnyx publishes for a resource, dotted."""
    return fields_published(published()[operation]["properties"])


def _compared(here: set[str], theirs: set[str]) -> dict[str, str]:
    verdicts = dict.fromkeys(here & theirs, "same")
    verdicts |= dict.fromkeys(here - theirs, "superset")
    return verdicts | dict.fromkeys(theirs - here, "refused")


def _table(title: str, column: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return f"### {title}\n\nNone.\n"
    lines = [f"| `{name}` | {verdict} |" for name, verdict in sorted(rows.items())]
    return "\n".join([f"### {title}\n", f"| {column} | here |", "|---|---|", *lines, ""])


def _listed(names: Iterable[str]) -> str:
    return "\n".join(f"- `{name}`" for name in sorted(names))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {DIAL} and {len(COMMANDS) - 1} actions")
