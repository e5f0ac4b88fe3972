"""The door of the room, with the scripted engine behind it."""

import subprocess
import sys
from pathlib import Path

import pytest

from offhook.edge.speech.engine_map import API_NAMES, EngineRejected
from offhook.edge.speech.protocol import (
    Closed,
    Final,
    LanguageUnsupported,
    SpeechConfig,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.service import SpeechService, engine_names
from tests.fakes.speech_engine import silence

pytestmark = pytest.mark.unit

SCRIPT = {"script": [{"at_ms": 100, "text": "good morning"}]}


def scripted() -> SpeechService:
    return SpeechService(default_engine="scripted", options={"scripted": SCRIPT})


async def test_a_session_goes_from_open_to_closed_and_leaves_nothing() -> None:
    service = scripted()
    events: list[SpeechEvent] = []
    handle = await service.open("tap-1", SpeechConfig(), "Deepgram", events.append)
    assert handle.engine == "scripted"
    assert service.counters()["sessions_open"] == 1
    handle.push(silence(200), 0)
    await handle.close()
    await handle.close()
    assert [type(event) for event in events][-2:] == [Final, Closed]
    assert service.counters() == {
        "sessions": 1,
        "sessions_open": 0,
        "finals": 1,
        "audio_ms": 200,
        "dropped_ms": 0,
    }
    await service.close()


async def test_closing_the_service_closes_what_is_open() -> None:
    service = scripted()
    events: list[SpeechEvent] = []
    await service.open("a", SpeechConfig(), "Google", events.append)
    await service.open("b", SpeechConfig(), "Google", events.append)
    await service.close()
    assert [type(event) for event in events] == [Closed, Closed]
    with pytest.raises(SpeechUnavailable):
        await service.open("c", SpeechConfig(), "Google", events.append)


async def test_settings_of_the_server_win_over_options_of_a_call() -> None:
    service = scripted()
    events: list[SpeechEvent] = []
    config = SpeechConfig(options={"script": None, "script_file": "/etc/passwd"})
    handle = await service.open("a", config, "Google", events.append)
    handle.push(silence(200), 0)
    assert isinstance(events[-1], Final)


def test_the_check_tells_what_open_would_raise() -> None:
    with pytest.raises(EngineRejected):
        SpeechService(routes={"Azure": "reject"}).check("Azure", SpeechConfig())
    with pytest.raises(LanguageUnsupported):
        SpeechService().check("Google", SpeechConfig(language="fr"))
    with pytest.raises(SpeechUnavailable, match=r"local, .*scripted"):
        SpeechService(default_engine="nonesuch").check("Google", SpeechConfig())
    SpeechService().check("Google", SpeechConfig(language="en-GB"))


async def test_a_missing_model_is_known_before_anything_is_started(tmp_path: Path) -> None:
    service = SpeechService(options={"local": {"model_dir": str(tmp_path)}})
    service.check("Google", SpeechConfig())
    found = await service.inspect()
    assert list(found) == ["local"]
    with pytest.raises(SpeechUnavailable, match=r"cannot be read|needs onnxruntime"):
        service.check("Google", SpeechConfig())
    with pytest.raises(SpeechUnavailable, match=r"cannot be read|needs onnxruntime"):
        await service.open("k", SpeechConfig(), "Google", lambda event: None)
    await service.warm_up()
    assert service.pids() == []
    assert service.counters()["sessions_open"] == 0


async def test_a_working_engine_passes_the_inspection() -> None:
    assert await scripted().inspect() == {}


async def test_an_inspection_looks_only_at_engines_that_are_offered(tmp_path: Path) -> None:
    routes = {name: "reject" for name in API_NAMES if name != "Google"} | {"Google": "scripted"}
    options = {
        "local": {"model_dir": str(tmp_path)},
        "scripted": {"script_file": str(tmp_path / "none.json")},
    }
    found = await SpeechService(routes=routes, options=options).inspect()
    assert list(found) == ["scripted"]
    assert "script_file" in str(found["scripted"])


def test_both_engines_are_shipped() -> None:
    assert {"local", "scripted"} <= set(engine_names())


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        (
            "offhook.edge.speech.worker",
            {"asyncio", "fastapi", "uvicorn", "aiohttp", "structlog", "offhook.app", "offhook.call", "numpy"},
        ),
        ("offhook.edge.speech.service", {"numpy", "onnxruntime", "moonshine_voice", "offhook.app"}),
    ],
)
def test_importing_stays_light(module: str, strangers: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert strangers & set(run.stdout.split()) == set()
