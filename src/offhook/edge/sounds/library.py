"""Where sounds come from: fetched by URL or given whole, decoded, and held within bounds."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from offhook.base import limits
from offhook.base.clock import Clock
from offhook.edge.egress import Egress, EgressRefused, EgressUnresolved
from offhook.edge.sounds.sound import Sound, SoundError

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]*", re.ASCII)
_ENDINGS = ("", ".wav", ".mp3")
_INLINE_BYTES_MAX = 64 * 1024
"""Larger wav files, and all mp3 files, are decoded in a thread, so that the event loop does not wait for them."""
_NOT_THERE = (404, 410)
_TOO_LARGE = f"the file is larger than {limits.SOUND_BYTES_MAX} bytes"


class SoundLibrary:
    """Gets sounds, remembers those that came by URL for some minutes, and counts what is in use.

    Args:
        egress: the gate for URLs.
        clock: says how old a remembered sound is.
        decode: makes a file s16le mono and its rate, or raises `SoundError`; it may be called in a thread.
        folder: where the files are that are asked for by name.
    """

    def __init__(
        self,
        egress: Egress,
        clock: Clock,
        decode: Callable[[bytes], tuple[bytes, int]],
        *,
        folder: Path | None = None,
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._decode = decode
        self._folder = folder
        self._session: aiohttp.ClientSession | None = None
        self._fetching = asyncio.Semaphore(limits.SOUND_FETCHES_MAX)
        self._decoding = asyncio.Semaphore(limits.SOUNDS_DECODED_AT_ONCE_MAX)
        self._cache: OrderedDict[str, tuple[float, Sound]] = OrderedDict()
        self._cached_bytes = 0
        self.in_use_bytes = 0

    async def close(self) -> None:
        """Close the connections and forget every sound."""
        self._cache.clear()
        self._cached_bytes = 0
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def sound(
        self,
        *,
        url: str | None = None,
        name: str | None = None,
        content: bytes | None = None,
        cache: bool = True,
    ) -> AsyncIterator[Sound]:
        """Give a sound, which counts as in use until the block is left.

        Args:
            url: where its file is.
            name: its name in the folder, with or without ending, when there is no URL.
            content: the file itself, when there is neither.
            cache: take what has a URL from memory if it is there, and keep it.

        Raises:
            SoundError: it cannot be had.
        """
        sound = await self._by_url(url, cache=cache) if url is not None else await self._here(name, content)
        size = len(sound.pcm)
        if self.in_use_bytes + size > limits.SOUNDS_IN_USE_BYTES_MAX:
            raise SoundError("too many sounds are being played on this server")
        self.in_use_bytes += size
        try:
            yield sound
        finally:
            self.in_use_bytes -= size

    async def _here(self, name: str | None, content: bytes | None) -> Sound:
        if name is not None:
            content = await asyncio.to_thread(self._read, name)
        return await self._decoded(content or b"")

    async def _by_url(self, url: str, *, cache: bool) -> Sound:
        known = self._recall(url) if cache else None
        if known is not None:
            return known
        sound = await self._decoded(await self._fetch(url))
        if cache:
            self._keep(url, sound)
        return sound

    def _read(self, name: str) -> bytes:
        if self._folder is None or not _NAME.fullmatch(name):
            raise SoundError("there is no such file", "file_not_found")
        for ending in _ENDINGS:
            try:
                with (self._folder / (name + ending)).open("rb") as file:
                    data = file.read(limits.SOUND_BYTES_MAX + 1)
            except (FileNotFoundError, IsADirectoryError):
                continue
            except OSError as error:
                raise SoundError(f"the file cannot be read: {type(error).__name__}") from None
            if len(data) > limits.SOUND_BYTES_MAX:
                raise SoundError(_TOO_LARGE)
            return data
        raise SoundError("there is no such file", "file_not_found")

    async def _decoded(self, data: bytes) -> Sound:
        if data.startswith(b"RIFF") and len(data) <= _INLINE_BYTES_MAX:
            return Sound(*self._decode(data))
        async with self._decoding:
            pcm, rate_hz = await asyncio.to_thread(self._decode, data)
        return Sound(pcm, rate_hz)

    async def _fetch(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(limits.SOUND_FETCH_TIMEOUT_S), self._fetching:
                return await self._download(url)
        except TimeoutError:
            raise SoundError("the file did not come in time") from None
        except EgressRefused:
            raise SoundError("this server may not connect to that address") from None
        except EgressUnresolved:
            raise SoundError("the host has no address", "file_not_found") from None
        except aiohttp.TooManyRedirects:
            raise SoundError("too many redirects") from None
        except aiohttp.ClientSSLError:
            raise SoundError("the certificate or the TLS handshake is not acceptable") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SoundError(f"the file could not be fetched: {type(error).__name__}") from None

    async def _download(self, url: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._egress.connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        async with self._session.get(url, max_redirects=limits.SOUND_REDIRECTS_MAX) as answer:
            if answer.status in _NOT_THERE:
                raise SoundError(f"HTTP {answer.status}", "file_not_found")
            if answer.status != 200:
                raise SoundError(f"HTTP {answer.status}")
            data = bytearray()
            async for piece in answer.content.iter_any():
                data += piece
                if len(data) > limits.SOUND_BYTES_MAX:
                    raise SoundError(_TOO_LARGE)
            return bytes(data)

    def _recall(self, url: str) -> Sound | None:
        known = self._cache.get(url)
        if known is None:
            return None
        kept_at, sound = known
        if kept_at + limits.SOUNDS_CACHED_S <= self._clock.now():
            self._forget(url)
            return None
        self._cache.move_to_end(url)
        return sound

    def _keep(self, url: str, sound: Sound) -> None:
        if len(sound.pcm) > limits.SOUNDS_CACHED_BYTES_MAX:
            return
        self._forget(url)
        self._cache[url] = (self._clock.now(), sound)
        self._cached_bytes += len(sound.pcm)
        while self._cached_bytes > limits.SOUNDS_CACHED_BYTES_MAX:
            self._forget(next(iter(self._cache)))

    def _forget(self, url: str) -> None:
        known = self._cache.pop(url, None)
        if known is not None:
            self._cached_bytes -= len(known[1].pcm)
