"""Keys pressed towards the far end, with the pauses that stand between them."""

import asyncio
import re

from offhook.edge.media.engine import MediaEngine, MediaError

DIGIT_MS = 250
"""How long a key is pressed when the app does not say (contract 2.4)."""
DIGIT_GAP_MS = 80
PAUSES_S = {"w": 0.5, "W": 1.0}
_PARTS = re.compile("([wW])")


async def press_keys(engine: MediaEngine, leg_id: int, digits: str, *, duration_ms: int = DIGIT_MS) -> None:
    """Press keys one after the other; returns when the last one is over or the leg is gone."""
    for part in _PARTS.split(digits):
        if part in PAUSES_S:
            await asyncio.sleep(PAUSES_S[part])
        elif part:
            try:
                engine.send_digits(leg_id, digits=part.upper(), duration_ms=duration_ms, gap_ms=DIGIT_GAP_MS)
            except MediaError:
                return
            await asyncio.sleep(len(part) * (duration_ms + DIGIT_GAP_MS) / 1_000)
