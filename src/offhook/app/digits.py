"""The keys that one leg presses: one after the other, at their pace, with the pauses asked for."""

import asyncio
from collections import deque

import structlog

from offhook.app.services import Services
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call.dialpad import BETWEEN_KEYS_S, PAUSES_S
from offhook.edge.media.engine import MediaError
from offhook.edge.media.tones import TONE_RATE_HZ, key_tone

log = structlog.get_logger(__name__)

GAP_MS = 50
"""What the core keeps free after a key at least; the rest of `BETWEEN_KEYS_S` makes up for whole packets."""


class LegDigits:
    """Sends the keys of one media leg. What waits is bounded by `DIGITS_WAITING_S_MAX`, which the leg keeps."""

    def __init__(self, services: Services, media_leg_id: int) -> None:
        self._services = services
        self._media_leg_id = media_leg_id
        self._tasks = TaskSet()
        self._waiting: deque[do.SendDigits] = deque()
        self._sender: asyncio.Task[None] | None = None

    def send(self, effect: do.SendDigits) -> None:
        """Send these keys after those that wait."""
        self._waiting.append(effect)
        if self._sender is None or self._sender.done():
            self._sender = self._tasks.start(self._run(), name="send digits")

    async def close(self) -> None:
        """Send no more."""
        self._waiting.clear()
        await self._tasks.close()

    async def _run(self) -> None:
        while self._waiting:
            effect = self._waiting.popleft()
            for key in effect.digits:
                if key in PAUSES_S:
                    await asyncio.sleep(PAUSES_S[key])
                    continue
                self._press(key, effect)
                await asyncio.sleep(effect.duration_ms / 1000 + BETWEEN_KEYS_S)

    def _press(self, key: str, effect: do.SendDigits) -> None:
        media, leg_id, duration_ms = self._services.media, self._media_leg_id, effect.duration_ms
        try:
            if effect.in_band:
                # Over what is played, as the key of a phone is.
                self._services.plays.start(
                    leg_id,
                    lambda event: None,
                    pcm=key_tone(key, duration_ms),
                    sample_rate_hz=TONE_RATE_HZ,
                    overlay=True,
                )
            else:
                media.send_digits(leg_id, digits=key, duration_ms=duration_ms, gap_ms=GAP_MS)
        except MediaError as error:  # the call was put on hold for long, changed its codec, or is going
            self._services.counters["digits_dropped_total"] += 1
            log.warning("a key could not be sent", detail=str(error))
