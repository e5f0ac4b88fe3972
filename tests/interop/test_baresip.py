"""baresip as an independent phone: its own SDP, its own codecs, and a tone that must come back.

The tone goes from baresip through the server to an app as L16, from there back again, and what baresip
has decoded is looked at: so both directions of each codec are read by somebody else's implementation.
"""

import asyncio
import shutil
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fakes.server import App, free_port, serving
from tests.fakes.tones import pure_ms
from tests.interop.test_cli_tools import tool

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("baresip") is None, reason="baresip is not installed"),
]

TONE_HZ = 440
AMPLITUDE = 8000
RATE_HZ = 16_000
CALL_S = 4
MODULES = Path("/usr/lib/baresip/modules")
CONFIG = """\
sip_listen 127.0.0.1:{port}
audio_player aubridge,nowhere
audio_source aufile,{folder}/tone.wav
audio_alert aubridge,nowhere
audio_buffer 20-160
rtp_ports 27000-27999
opus_bitrate 32000
snd_path {folder}
module_path {modules}
module {module}.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
"""


@asynccontextmanager
async def offhook(folder: Path, stream: dict[str, Any]) -> AsyncIterator[tuple[App, int]]:
    """Run a server whose app answers every call with a stream."""

    async def on_event(app: App, event: dict[str, Any]) -> None:
        if event["data"]["event_type"] == "call.initiated":
            await app.act(event["data"]["payload"]["call_control_id"], "answer", **stream)

    async with serving(folder, on_event) as (app, server):
        yield app, server.sip_port
        assert app.refused == []


async def call_by_baresip(
    folder: Path, *, codec: str, module: str, sip_port: int
) -> tuple[NDArray[np.int16], int]:
    """Let baresip call, speak a tone for a while and hang up; return what it has heard, and its rate."""
    folder.mkdir()
    _, rate, channels = codec.split("/")
    write_tone(folder / "tone.wav", int(rate), int(channels))
    settings = {"port": free_port(), "folder": folder, "modules": MODULES, "module": module}
    folder.joinpath("config").write_text(CONFIG.format(**settings), encoding="ascii")
    account = f"<sip:tester@127.0.0.1>;regint=0;audio_codecs={codec};ptime=20\n"
    folder.joinpath("accounts").write_text(account, encoding="ascii")
    program = await asyncio.create_subprocess_exec(
        "baresip", "-f", str(folder), "-e", f"d sip:app@127.0.0.1:{sip_port}", "-t", str(CALL_S),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(CALL_S + 30):
            said, _ = await program.communicate()
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    (heard,) = folder.glob("dump-*-dec.wav")
    assert b"Call established" in said, said.decode(errors="replace")
    with wave.open(str(heard)) as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples[:: file.getnchannels()], file.getframerate()


@pytest.mark.parametrize(
    ("codec", "module", "told"),
    [
        ("opus/48000/2", "opus", ("OPUS", 48_000)),
        ("G722/16000/1", "g722", ("G722", 8000)),
        ("L16/16000/1", "l16", ("L16", 16_000)),
        ("AMR-WB/16000/1", "amr", ("AMR-WB", 16_000)),
        ("PCMA/8000/1", "g711", ("PCMA", 8000)),
    ],
    ids=["opus", "g722", "l16", "amr-wb", "pcma"],
)
async def test_baresip_hears_its_own_tone_from_an_app_that_echoes(
    tmp_path: Path, codec: str, module: str, told: tuple[str, int]
) -> None:
    async with tool("listen", "--port", "0", "--echo") as listen:
        url = (await listen.next(event="listening"))["url"]
        stream = {
            "stream_url": url,
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": "L16",
            "stream_bidirectional_sampling_rate": RATE_HZ,
        }
        async with offhook(tmp_path, stream) as (app, sip_port):
            heard = await call_by_baresip(tmp_path / "baresip", codec=codec, module=module, sip_port=sip_port)
            await app.wait_for(lambda app: "call.hangup" in app.types())
    answered = next(
        event["data"]["payload"] for event in app.events if event["data"]["event_type"] == "call.answered"
    )
    assert (answered["codec"], answered["sampling_rate"]) == told
    assert tone_ms(*heard) >= 1_000, "a second of the tone, and nothing else beside it"


def write_tone(path: Path, rate_hz: int, channels: int) -> None:
    """Write more of the tone than a call takes."""
    at = np.arange(rate_hz * 2 * CALL_S) / rate_hz
    samples = np.round(AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * at)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.repeat(samples, channels).tobytes())


def tone_ms(samples: NDArray[np.int16], rate_hz: int) -> int:
    """Return how long the tone is heard as it was spoken."""
    spoken_dbfs = 20 * np.log10(AMPLITUDE / np.sqrt(2) / 32_768)
    return pure_ms(samples.tobytes(), TONE_HZ, rate_hz, least_db=20, dbfs=spoken_dbfs)


async def test_two_baresips_in_different_codecs_hear_each_other_over_a_bridge(tmp_path: Path) -> None:
    answered: list[str] = []

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif event["data"]["event_type"] == "call.answered":
            answered.append(call)
            if len(answered) == 2:
                await app.act(call, "bridge", call_control_id=answered[0])

    async with serving(tmp_path, on_event) as (app, server):
        opus, pcma = await asyncio.gather(
            call_by_baresip(tmp_path / "a", codec="opus/48000/2", module="opus", sip_port=server.sip_port),
            call_by_baresip(tmp_path / "b", codec="PCMA/8000/1", module="g711", sip_port=server.sip_port),
        )
    codecs = {
        event["data"]["payload"]["codec"]
        for event in app.events
        if event["data"]["event_type"] == "call.answered"
    }
    assert codecs == {"OPUS", "PCMA"}
    for heard in (opus, pcma):
        assert tone_ms(*heard) >= 700, "the other side's tone, and nothing else"
