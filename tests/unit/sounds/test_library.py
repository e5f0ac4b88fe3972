"""Where sounds come from, through the gate, within bounds, and what is said when they do not come."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from offhook.base import limits
from offhook.edge.egress import Egress
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake_player import decode_file
from offhook.edge.sounds import SoundError, SoundLibrary
from tests.fakes.runners import HandClock
from tests.fakes.sounds import pcm_wav

pytestmark = pytest.mark.unit

PCM = bytes(range(200)) * 40
MP3 = (Path(__file__).parents[2] / "data/mp3/tone-24000-mono.mp3").read_bytes()


def decode(data: bytes) -> tuple[bytes, int]:
    try:
        return decode_file(data)
    except MediaError as error:
        raise SoundError(str(error)) from None


class Shop:
    """A server of files."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/hello.wav":
                return web.Response(body=pcm_wav(PCM))
            case "/mp3":
                return web.Response(body=MP3)
            case "/page":
                return web.Response(text="<!doctype html>", content_type="audio/mpeg")
            case "/gone":
                raise web.HTTPGone
            case "/moved":
                raise web.HTTPFound("/hello.wav")
            case "/inwards":
                raise web.HTTPFound("http://169.254.169.254/latest")
            case "/circle":
                raise web.HTTPFound("/circle")
            case "/broken":
                raise web.HTTPInternalServerError
            case "/large":
                return web.Response(body=b"RIFF" + bytes(limits.SOUND_BYTES_MAX))
            case _:
                raise web.HTTPNotFound


@asynccontextmanager
async def library(
    clock: HandClock | None = None, *, private: bool = True, folder: Path | None = None
) -> AsyncIterator[tuple[SoundLibrary, Shop]]:
    shop = Shop()
    application = web.Application()
    application.router.add_get("/{path:.*}", shop.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    sounds = SoundLibrary(Egress(allow_private=private), clock or HandClock(), decode, folder=folder)
    try:
        yield sounds, shop
    finally:
        await sounds.close()
        await runner.cleanup()


async def status_of(sounds: SoundLibrary, **source: Any) -> str:
    with pytest.raises(SoundError) as error:
        async with sounds.sound(**source):
            pass
    return error.value.status


async def test_a_sound_is_fetched_and_kept_for_some_minutes() -> None:
    clock = HandClock()
    async with library(clock) as (sounds, shop):
        for _ in range(3):
            async with sounds.sound(url=shop.url + "/hello.wav") as sound:
                assert (sound.pcm, sound.sample_rate_hz) == (PCM, 8_000)
                assert sounds.in_use_bytes == len(PCM)
            assert sounds.in_use_bytes == 0
        assert len(shop.asked) == 1
        clock.at_s += limits.SOUNDS_CACHED_S
        async with sounds.sound(url=shop.url + "/hello.wav"):
            assert len(shop.asked) == 2
        async with sounds.sound(url=shop.url + "/hello.wav", cache=False):
            assert len(shop.asked) == 3


async def test_a_redirect_is_followed_and_checked_again() -> None:
    async with library() as (sounds, shop):
        async with sounds.sound(url=shop.url + "/moved") as sound:
            assert sound.pcm == PCM
        assert await status_of(sounds, url=shop.url + "/inwards") == "failed"
        assert await status_of(sounds, url=shop.url + "/circle") == "failed"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nope", "file_not_found"),
        ("/gone", "file_not_found"),
        ("/broken", "failed"),
        ("/page", "failed"),
        ("/large", "failed"),
    ],
)
async def test_what_is_no_sound_is_told_apart(path: str, status: str) -> None:
    async with library() as (sounds, shop):
        assert await status_of(sounds, url=shop.url + path) == status
        assert sounds.in_use_bytes == 0


async def test_the_gate_is_asked_and_nothing_reaches_a_private_server() -> None:
    async with library(private=False) as (sounds, shop):
        assert await status_of(sounds, url=shop.url + "/hello.wav") == "failed"
        assert shop.asked == []


async def test_a_server_that_hangs_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOUND_FETCH_TIMEOUT_S", 0.0)
    async with library() as (sounds, shop):
        assert await status_of(sounds, url=shop.url + "/hello.wav") == "failed"


async def test_what_calls_hold_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOUNDS_IN_USE_BYTES_MAX", 2 * len(PCM))
    monkeypatch.setattr(limits, "SOUNDS_CACHED_BYTES_MAX", len(PCM))
    async with library() as (sounds, _):
        content = pcm_wav(PCM)
        async with sounds.sound(content=content), sounds.sound(content=content):
            assert await status_of(sounds, content=content) == "failed"
        async with sounds.sound(content=content):
            pass


async def test_an_mp3_file_is_decoded_beside_the_loop() -> None:
    async with library() as (sounds, shop), sounds.sound(url=shop.url + "/mp3") as sound:
        assert 0.9 < sound.duration_s < 1.2


async def test_a_file_of_the_server_is_found_by_its_name_with_or_without_ending(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    (folder / "music").mkdir(parents=True)
    (folder / "hello.wav").write_bytes(pcm_wav(PCM))
    (folder / "bye.mp3").write_bytes(MP3)
    (folder / "large.wav").write_bytes(pcm_wav(bytes(limits.SOUND_BYTES_MAX)))
    (tmp_path / "secret.wav").write_bytes(pcm_wav(PCM))
    async with library(folder=folder) as (sounds, _):
        for name in ("hello.wav", "hello"):
            async with sounds.sound(name=name) as sound:
                assert sound.pcm == PCM
        async with sounds.sound(name="bye"):
            pass
        for name in ("../secret.wav", "/etc/passwd", "music", ".hello.wav", "hello.wav\0", "ten"):
            assert await status_of(sounds, name=name) == "file_not_found"
        assert await status_of(sounds, name="large") == "failed"
    async with library() as (sounds, _):
        assert await status_of(sounds, name="hello") == "file_not_found"
