"""Where sounds come from: fetched by URL or given whole, decoded, and held within bounds."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from offhook.base import limits
from offhook.base.clock import Clock
from offhook.edge.egress import Egress, EgressRefused, EgressUnresolved
from offhook.edge.sounds.sound import Sound, SoundError
from offhook.edge.sounds.wav import decode_wav

_INLINE_BYTES_MAX = 64 * 1024
"""Larger files are decoded in a thread, so that the event loop does not wait for them."""
_NOT_THERE = (404, 410)


class SoundLibrary:
    """Gets sounds, remembers those that came by URL for some minutes, and counts what is in use."""

    def __init__(self, egress: Egress, clock: Clock) -> None:
        self._egress = egress
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._fetching = asyncio.Semaphore(limits.SOUND_FETCHES_MAX)
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
        self, *, url: str | None = None, content: bytes | None = None, cache: bool = True
    ) -> AsyncIterator[Sound]:
        """Give a sound, which counts as in use until the block is left.

        Args:
            url: where its file is.
            content: the file itself, when there is no URL.
            cache: take it from memory if it is there, and keep it.

        Raises:
            SoundError: it cannot be had.
        """
        sound = await self._get(url, content, cache=cache)
        size = len(sound.pcm)
        if self.in_use_bytes + size > limits.SOUNDS_IN_USE_BYTES_MAX:
            raise SoundError("too many sounds are being played on this server")
        self.in_use_bytes += size
        try:
            yield sound
        finally:
            self.in_use_bytes -= size

    async def _get(self, url: str | None, content: bytes | None, *, cache: bool) -> Sound:
        if url is None:
            return await _decoded(content or b"")
        known = self._recall(url) if cache else None
        if known is not None:
            return known
        sound = await _decoded(await self._fetch(url))
        if cache:
            self._keep(url, sound)
        return sound

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
                    raise SoundError(f"the file is larger than {limits.SOUND_BYTES_MAX} bytes")
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


async def _decoded(data: bytes) -> Sound:
    if not data.startswith(b"RIFF"):
        raise SoundError("the file is not a wav file, and others are not played here")
    if len(data) <= _INLINE_BYTES_MAX:
        return decode_wav(data)
    return await asyncio.to_thread(decode_wav, data)
