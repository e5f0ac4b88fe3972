"""The audio of a text, as often as it is to be heard, made as it is asked for."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from offhook.call.commands import SpeakOptions
from offhook.edge.voice.service import VoiceService

PIECES_AHEAD = 2
"""Pieces of a text that the core holds: one is heard and the next follows it without a gap."""


async def spoken_pieces(voice: VoiceService, options: SpeakOptions) -> AsyncGenerator[bytes, None]:
    """Yield the audio of the text (s16le, mono, at the voice's rate) a sentence or a pause at a time.

    A text without words ends at once, whatever its loop.

    Raises:
        VoiceError: the voice cannot say it, or could not go on.
        LimitReached: too many texts are being said.
    """
    times = 0
    while options.loop is None or times < options.loop:
        times += 1
        silent = True
        async with aclosing(voice.speak(options.script, options.voice)) as pieces:
            async for pcm in pieces:
                silent = False
                yield pcm
        if silent:
            return
