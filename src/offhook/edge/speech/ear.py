"""How the utterances of one session reach the model: whole, or as they are spoken where the model can. Pure."""

from dataclasses import dataclass

from offhook.edge.speech.protocol import (
    Heard,
    IncrementalRecognizer,
    SegmentConfig,
    SegmentDecoder,
    SegmentRecognizer,
)
from offhook.edge.speech.track import Utterance


@dataclass(slots=True)
class _Going:
    """A decoder, and how much of which utterance it was given."""

    utterance_id: int
    decoder: SegmentDecoder
    fed_bytes: int = 0


class Ear:
    """Gives a model with decoders of its own each sample of an utterance once, any other model all of it.

    An utterance that turns out to be shorter than what was heard already, because it was cut, is
    heard anew. After a failure too.
    """

    def __init__(self, recognizer: SegmentRecognizer, sample_rate_hz: int, config: SegmentConfig) -> None:
        self._recognizer = recognizer
        self._sample_rate_hz = sample_rate_hz
        self._config = config
        self._going: _Going | None = None
        self.incremental = isinstance(recognizer, IncrementalRecognizer)
        """True when hearing more of an utterance costs only what is new."""

    def so_far(self, utterance: Utterance) -> Heard:
        """Return the words of an utterance that goes on. Raises whatever the model raises."""
        return self._hear(utterance, whole=False)

    def whole(self, utterance: Utterance) -> Heard:
        """Return the words of a finished utterance. Raises whatever the model raises."""
        return self._hear(utterance, whole=True)

    def _hear(self, utterance: Utterance, *, whole: bool) -> Heard:
        if not isinstance(self._recognizer, IncrementalRecognizer):
            return self._recognizer.transcribe(utterance.pcm, self._sample_rate_hz, self._config)
        going, self._going = self._going, None
        if (
            going is None
            or going.utterance_id != utterance.utterance_id
            or going.fed_bytes > len(utterance.pcm)
        ):
            going = _Going(utterance.utterance_id, self._recognizer.begin(self._sample_rate_hz, self._config))
        new, going.fed_bytes = utterance.pcm[going.fed_bytes :], len(utterance.pcm)
        heard = going.decoder.hear(new)
        if whole:
            return going.decoder.end()
        self._going = going
        return heard
