"""The documentation is held to the code: links, options, settings, parameters, codes, metrics."""

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from offhook.app.cli import app
from offhook.app.settings import ENVIRONMENT, Settings
from offhook.app.speech_metrics import speech_metrics
from offhook.call.errors import TITLES
from offhook.edge.http.commands import ACTIONS
from offhook.edge.http.not_yet import ACTIONS_NOT_YET
from offhook.edge.http.schemas import Dial
from offhook.edge.http.transcription_query import PARAMETERS
from offhook.edge.speech.service import SpeechService
from offhook.edge.webhook.counters import WebhookCounters

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
GONE_FROM_TELNYX = {"target", "language", "interim_results"}
"""Parameters of an older published schema that today's prose still names."""
NEW_AT_TELNYX = {"diversion", "voice_settings"}
"""Parameters that the newest SDK has and the published schema has not yet."""
OTHER_ENVIRONMENT = {"OFFHOOK_CONFIG"}
"""Read by the command line, not a setting."""

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"offhook ((?:-h|--help|--version)|[a-z]+)((?:[^\n|`]|\\\n)*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_CODE_NAMES = re.compile(r"`([a-z_]+)`")
_PROGRAM_BEFORE = re.compile(r"(?:\$ |# |^|`|bin/|\| |then )$")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def first_column(table: str) -> list[str]:
    return [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def command_options() -> dict[str, set[str]]:
    """Return the options of each command, those of its sub-commands included."""
    root: Any = typer.main.get_command(app)
    return {name: _options(command) for name, command in root.commands.items()}


def _options(command: Any) -> set[str]:
    options = {"--help"} | {
        option for parameter in command.params for option in parameter.opts if option.startswith("--")
    }
    return options.union(*(_options(each) for each in getattr(command, "commands", {}).values()))


@cache
def source() -> str:
    files = [*(ROOT / "src/offhook").rglob("*.py"), *(ROOT / "crates").glob("*/src/**/*.rs")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_named_exists(page: Path) -> None:
    rooms = "src|tests|crates|docs|examples|bench|base|call|proto|edge|kit|app"
    for path in re.findall(rf"`((?:{rooms})/[\w./-]+)`", page.read_text(encoding="utf-8")):
        assert any((root / path).exists() for root in (ROOT, ROOT / "src/offhook")), path


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=named)
def test_every_page_is_reached_from_the_index(page: Path) -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link).resolve() for link in _LINK.findall(index.read_text(encoding="utf-8"))}
    assert page == index or page in linked


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_and_option_named_exists(page: Path) -> None:
    known = command_options()
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        for found in _COMMAND.finditer(line):
            before = line[: found.start()]
            if not _PROGRAM_BEFORE.search(before):
                continue  # prose: "offhook ready" and the like
            name, rest = found.groups()
            if name.startswith("-") or (name == "ready" and not before):
                continue  # the ready line is shown as the server prints it
            assert name in known, line
            wrong = set(_OPTION.findall(rest)) - known[name]
            assert not wrong, f"{line}: {wrong}"


def test_the_command_page_has_every_option_and_no_other() -> None:
    page = text_of("docs/reference/cli.md")
    for name, options in command_options().items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `offhook {name}` "))
        documented = set(_OPTION.findall(row)) | {"--help"}
        if name == "check":
            documented |= command_options()["serve"]
        assert documented == options, name


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_environment_name_exists(page: Path) -> None:
    found = set(re.findall(r"OFFHOOK_[A-Z_]+", page.read_text(encoding="utf-8")))
    assert found <= set(ENVIRONMENT) | OTHER_ENVIRONMENT


def test_the_settings_page_has_every_environment_name_at_its_place() -> None:
    page = text_of("docs/reference/settings.md")
    for name, place in ENVIRONMENT.items():
        assert f"| `{name}` | `{'.'.join(place)}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_setting_named_exists(page: Path) -> None:
    sections_known = {
        name: set(type(value).model_fields)
        for name, value in Settings()
        if hasattr(type(value), "model_fields")
    }
    sections_named = "|".join(sections_known)
    for section, name in re.findall(
        rf"`({sections_named})\.([a-z_]+)(?: = [^`]+)?`", page.read_text(encoding="utf-8")
    ):
        # Events are written alike ("call.hangup"), modules too; neither begins with a section's name.
        assert name in sections_known[section], f"{section}.{name}"


def test_every_parameter_of_a_command_is_documented_and_no_other() -> None:
    page = sections(text_of("docs/reference/commands.md"))
    for title, body in [*((action.name, action.body) for action in ACTIONS), ("dial", Dial)]:
        documented = [name for cell in first_column(page[title]) for name in _CODE_NAMES.findall(cell)]
        assert len(documented) == len(set(documented)), title
        assert set(documented) == {field.alias or name for name, field in body.model_fields.items()}, title


def test_what_is_said_of_a_parameter_is_said_in_the_words_of_the_page_and_is_true_of_telnyx() -> None:
    text = text_of("docs/reference/commands.md")
    words = set(re.findall(r"^\| ([a-z ]+) \| (?!---|meaning)", text.partition("\n## ")[0], re.MULTILINE))
    assert {"same", "addition"} < words
    published = json.loads(text_of("tests/data/telnyx/request_params.json"))
    page = sections(text)
    operations = {
        action.name: f"{action.method} /calls/{{call_control_id}}/actions/{action.name}" for action in ACTIONS
    }
    for title, operation in {**operations, "dial": "POST /calls"}.items():
        theirs = set(published[operation]["properties"])
        for row in (row for row in page[title].splitlines() if row.startswith("| `")):
            _, names, word, *_ = (cell.strip() for cell in row.split("|"))
            assert word in words | {"as below"}, row
            for name in _CODE_NAMES.findall(names):
                if word == "addition":
                    assert name not in theirs, f"{title}: {name} is Telnyx's own"
                elif word in ("same", "partial", "as below"):
                    known = theirs | GONE_FROM_TELNYX | NEW_AT_TELNYX
                    assert name in known, f"{title}: {name} is ours alone"


def test_what_is_not_done_yet_is_listed_whole() -> None:
    listed = sections(text_of("docs/reference/commands.md"))["Not yet"].partition("10038:")[2]
    assert set(_CODE_NAMES.findall(listed)) == set(ACTIONS_NOT_YET)


def test_the_error_page_has_every_code_in_use_and_no_other() -> None:
    documented = set(
        re.findall(r"^\| \d{3} \| (\d{5}) \|", text_of("docs/reference/errors.md"), re.MULTILINE)
    )
    rooms = [ROOT / "src/offhook/call", ROOT / "src/offhook/app", ROOT / "src/offhook/edge/http"]
    files = [file for room in rooms for file in room.rglob("*.py") if file.name != "errors.py"]
    used = {code for file in files for code in re.findall(r'"(\d{5})"', file.read_text(encoding="utf-8"))}
    assert documented == used & set(TITLES)


def test_the_socket_page_has_every_parameter_and_code_of_the_socket() -> None:
    page = sections(text_of("docs/reference/transcription-socket.md"))
    documented = {name for cell in first_column(page["Query"]) for name in _CODE_NAMES.findall(cell)}
    assert documented == PARAMETERS
    codes = re.findall(r"^\| ([\d, ]+) \|", page["Errors"].partition("| close code |")[0], re.MULTILINE)
    told = {code for cell in codes for code in cell.split(", ")}
    files = "transcription_query.py", "transcription.py"
    used = {c for name in files for c in re.findall(r'"(\d{5})"', text_of("src/offhook/edge/http", name))}
    assert told == used | {"10007"}


def test_the_webhook_page_has_every_event_that_is_told() -> None:
    table = sections(text_of("docs/reference/webhooks.md"))["Events"]
    documented = {name for cell in first_column(table) for name in re.findall(r"`([a-z.]+)`", cell)}
    leg = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src/offhook/call").glob("*.py"))
    told = set(re.findall(r'(?:_notify|Tell)\(\s*"([a-z.]+)"', leg))
    told |= set(re.findall(r'_tell\(running, "([a-z.]+)"', text_of("src/offhook/app/recordings.py")))
    assert documented == told


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_metric_named_exists(page: Path) -> None:
    known = source()
    rooms = "calls|http|transcription|sip|media|webhook|speech|voice|dialogflow|legs|egress"
    for room, name in re.findall(rf"\boffhook_({rooms})_([a-z_]+)", page.read_text(encoding="utf-8")):
        if room in ("calls", "http", "transcription"):
            wanted = f"offhook_{room}_{name}".removesuffix("_total")
            found = f'"{wanted}"' in known or f'"offhook_{room}"' in known
        elif room == "speech":
            found = name.removesuffix("_total") in speech_metric_names()
        elif name.startswith("malformed_"):  # one for each kind of syntax error
            found = '"malformed_" +' in known
        elif re.fullmatch(r"answered_", name):  # one for each status
            found = "answered_{" in known
        else:
            found = re.search(rf"\b{name}\b", known) is not None
        assert found, f"offhook_{room}_{name}"


def speech_metric_names() -> set[str]:
    return {metric.name.removeprefix("offhook_speech_") for metric in speech_metrics(SpeechService())}


def test_the_metrics_page_has_every_metric_of_speech() -> None:
    page = sections(text_of("docs/reference/metrics.md"))["Speech"]
    documented = set(re.findall(r"`offhook_speech_([a-z_]+)`", page))
    assert {name.removesuffix("_total") for name in documented} == speech_metric_names()


def test_the_metrics_page_has_every_counter_of_media_and_webhooks() -> None:
    page = text_of("docs/reference/metrics.md")
    counters = (
        text_of("crates/offhook-io/src/counters.rs").partition("\nprocess_counters! {")[2].partition("\n}")[0]
    )
    media = re.findall(r"^    ([a-z_]+),$", counters, re.MULTILINE)
    assert len(media) > 5
    names = [f"media_{name}" for name in media] + [f"webhook_{name}" for name in WebhookCounters.__slots__]
    assert [name for name in names if f"`offhook_{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_example_can_be_parsed(page: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for language, text in blocks:
        if language == "python":
            # A shown `return` belongs to a function that is not shown.
            ast.parse("async def shown():\n" + "".join(f"    {line}\n" for line in text.splitlines()))
        elif language == "toml":
            tomllib.loads(text)
        elif language == "json":
            for frame in re.split(r"\n(?=\{)", text.strip()):
                json.loads(frame)
