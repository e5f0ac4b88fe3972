"""What the fake engine plays: a queue of sounds at 8 kHz, and the files it can read."""

import io
import wave
from collections import deque
from dataclasses import dataclass

from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.events import MediaEvent
from offhook.edge.media.fake_mp3 import mp3_duration_ms

__all__ = ["FakePlayer", "decode_file"]


@dataclass(slots=True)
class _Play:
    play_id: int
    pcm: bytes
    rounds: int | None
    """Rounds after this one, None for ever."""
    at: int = 0
    taken: int = 0
    started: bool = False

    def take(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size and not self.is_over:
            if self.at == len(self.pcm):
                self.at, self.rounds = 0, None if self.rounds is None else self.rounds - 1
            piece = self.pcm[self.at : self.at + size - len(taken)]
            self.at += len(piece)
            taken += piece
        self.taken += len(taken)
        return taken

    @property
    def is_over(self) -> bool:
        return not self.pcm or (self.at == len(self.pcm) and self.rounds == 0)


class FakePlayer:
    """Plays one sound after the other into packets of any size."""

    def __init__(self, leg_id: int) -> None:
        self._leg_id = leg_id
        self._plays: deque[_Play] = deque()

    @property
    def is_playing(self) -> bool:
        """Tell whether the next packet has something of it."""
        return bool(self._plays)

    @property
    def queued_ms(self) -> int:
        """Return what is left; of what is played for ever one round."""
        rest = (len(play.pcm) * (1 + (play.rounds or 0)) - play.at for play in self._plays)
        return sum(rest) // 16

    def push(self, play_id: int, pcm: bytes, loops: int) -> None:
        """Queue 8 kHz audio."""
        self._plays.append(_Play(play_id, pcm, None if loops == 0 else loops - 1))

    def stop(self, play_id: int) -> list[MediaEvent]:
        """End a play, if it is here."""
        for play in self._plays:
            if play.play_id == play_id:
                self._plays.remove(play)
                return [events.PlayEnded(self._leg_id, play_id, play.taken // 16, False)]
        return []

    def stop_all(self) -> list[MediaEvent]:
        """End every play."""
        return [event for play in tuple(self._plays) for event in self.stop(play.play_id)]

    def take(self, size: int) -> tuple[bytes, list[MediaEvent]]:
        """Return the next bytes, with silence behind them, and what began and ended with them."""
        taken, told = b"", list[MediaEvent]()
        while self._plays and len(taken) < size:
            play = self._plays[0]
            taken += play.take(size - len(taken))
            if not play.started:
                play.started = True
                told.append(events.PlayStarted(self._leg_id, play.play_id))
            if play.is_over:
                self._plays.popleft()
                told.append(events.PlayEnded(self._leg_id, play.play_id, play.taken // 16, True))
        return taken.ljust(size, b"\0"), told


def decode_file(data: bytes) -> tuple[bytes, int]:
    """Return the samples and the rate of a wav file of 16 bits, mono, or the silence of an mp3 file.

    Raises:
        MediaError: it is neither.
    """
    if data.startswith(b"RIFF"):
        try:
            with wave.open(io.BytesIO(data)) as file:
                pcm, rate_hz = file.readframes(file.getnframes()), file.getframerate()
        except (wave.Error, EOFError):
            raise MediaError("the wav file is damaged: it has no format or no data") from None
    else:
        pcm, rate_hz = bytes(round(mp3_duration_ms(data) * 16)), 8000
        if not pcm:
            raise MediaError("the file is neither a wav nor an mp3 file")
    if not pcm:
        raise MediaError("the file holds no audio")
    return pcm, rate_hz
