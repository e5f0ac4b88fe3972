"""A server that cannot start says so in one sentence, what to do included, and ends with status 2."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

WITHOUT_EXTRA = """
import sys
from importlib.machinery import PathFinder

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("onnxruntime", "numpy", "moonshine_voice", "hibari"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
from offhook.app.cli import main
sys.argv = ["offhook", "serve"]
sys.exit(main())
"""


async def refuse_to_serve(directory: Path, **env: str) -> str:
    """Start a server that must not start; return its only line."""
    settings = {
        "OFFHOOK_HTTP_LISTEN": "127.0.0.1:0",
        "OFFHOOK_SIP_LISTEN": "udp:127.0.0.1:0",
        "OFFHOOK_DATA_DIR": str(directory / "data"),
        "OFFHOOK_RTP_PORTS": "24000-24099",
        "OFFHOOK_WEBHOOK_URL": "http://127.0.0.1:9/",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "offhook", "serve"),
        cwd=directory,
        env={**os.environ, **settings, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = err.decode()
    assert process.returncode == 2, text
    assert out == b"", "no ready line"
    lines = text.strip().splitlines()
    told = [line for line in lines if line.startswith("offhook: ")]
    assert len(told) == 1, text
    others = [line for line in lines if line not in told and "The API key of this server" not in line]
    assert others == [], "nothing but the sentence"
    return told[0]


@pytest.fixture
def taken() -> Iterator[tuple[int, int]]:
    """Hold a TCP port and a UDP port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        yield tcp.getsockname()[1], udp.getsockname()[1]


async def test_a_port_in_use_is_named_with_the_setting_that_moves_it(
    tmp_path: Path, taken: tuple[int, int]
) -> None:
    tcp, udp = taken
    http, sip_udp, sip_tcp = await asyncio.gather(
        refuse_to_serve(_place(tmp_path, "a"), OFFHOOK_HTTP_LISTEN=f"127.0.0.1:{tcp}"),
        refuse_to_serve(_place(tmp_path, "b"), OFFHOOK_SIP_LISTEN=f"udp:127.0.0.1:{udp}"),
        refuse_to_serve(_place(tmp_path, "c"), OFFHOOK_SIP_LISTEN=f"tcp:127.0.0.1:{tcp}"),
    )
    for told, port, setting in (
        (http, tcp, "OFFHOOK_HTTP_LISTEN"),
        (sip_udp, udp, "OFFHOOK_SIP_LISTEN"),
        (sip_tcp, tcp, "OFFHOOK_SIP_LISTEN"),
    ):
        assert f":{port}" in told
        assert "in use" in told
        assert setting in told


async def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    junk = _place(tmp_path, "junk") / "data"
    junk.mkdir()
    (junk / "api_keys").write_bytes(b"\xff\xfe\n")
    a_file, keys = await asyncio.gather(
        refuse_to_serve(tmp_path, OFFHOOK_DATA_DIR=str(tmp_path / "file")),
        refuse_to_serve(tmp_path / "junk"),
    )
    assert "OFFHOOK_DATA_DIR" in a_file
    assert "api_keys cannot be read" in keys


async def test_a_data_directory_of_a_running_server_is_left_alone(tmp_path: Path) -> None:
    server = await start_offhook(tmp_path)
    try:
        told = await refuse_to_serve(tmp_path)
        assert "another Offhook uses the data directory" in told
        assert "OFFHOOK_DATA_DIR" in told
    finally:
        assert await stop_offhook(server) == 0


@pytest.mark.parametrize(
    ("toml", "part"),
    [
        ('[speech]\nmodel_dir = "empty"', "model_dir"),
        ('[speech]\ndefault_engine = "nonesuch"', "there are assemblyai, "),
        ('[speech.engines]\nGogle = "local"', "speech.engines"),
        ('[speech]\ndefault_engine = "scripted"\nscript = "none.json"', "script_file"),
        ('[stream]\nca_file = "none.pem"', "none.pem"),
        ('[sip]\nlisten = ","', "sip.listen"),
    ],
)
async def test_a_setting_that_cannot_work_is_found_at_the_start(tmp_path: Path, toml: str, part: str) -> None:
    (tmp_path / "offhook.toml").write_text(toml + "\n")
    env = {"OFFHOOK_SIP_LISTEN": ""} if "[sip]" in toml else {}
    assert part in await refuse_to_serve(tmp_path, **env)


async def test_without_the_extra_calls_work_and_transcription_is_refused_at_once(tmp_path: Path) -> None:
    async def on_event(app: App, event: dict[str, object]) -> None:
        data = event["data"]
        assert isinstance(data, dict)
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer", transcription=True)
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            await app.act(call, "transcription_start", transcription_engine="Google")
            await app.act(call, "hangup")

    async with running_app(on_event) as app:
        server = await start_offhook(tmp_path, command=("-c", WITHOUT_EXTRA), OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            assert "pip install 'offhook[speech]'" in server.log()
            async with Phone() as phone:
                result = await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", duration_s=10))
            assert (result.outcome, result.ended_by) == ("answered", "remote")
        finally:
            assert await stop_offhook(server) == 0
    assert [(action, status) for action, status, _ in app.refused] == [
        ("answer", 422),
        ("transcription_start", 422),
    ]
    for _, _, told in app.refused:
        assert told["errors"][0]["code"] == "10038"
        assert "pip install" in told["errors"][0]["detail"]


def _place(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
