"""Word errors of the local engine: voice detection, cutting, decoding and gates as in a call, no clock."""

from dataclasses import dataclass

from hearing.conditions import Condition
from hearing.material import Clip
from offhook.edge.speech.gates import accept
from offhook.edge.speech.protocol import SegmentRecognizer
from offhook.edge.speech.segmenter import SegmenterSettings
from offhook.edge.speech.track import Track, Utterance
from offhook.kit.wer import WordErrors, word_errors


@dataclass(frozen=True, slots=True)
class Verdict:
    """One clip as it was heard."""

    clip: Clip
    heard: str
    errors: WordErrors


def judge(recognizer: SegmentRecognizer, clip: Clip, condition: Condition) -> Verdict:
    """Hear one clip and compare."""
    rate_hz = condition.rate_hz
    track = Track(recognizer.detector(rate_hz), SegmenterSettings(), sample_rate_hz=rate_hz)
    told = [*track.push(condition.apply(clip.samples), 0), *track.flush()]
    heard = [
        accept(recognizer.transcribe(item.pcm, rate_hz), final=True, voice=item.voice)
        for item in told
        if isinstance(item, Utterance)
    ]
    text = " ".join(item.text for item in heard if item is not None)
    return Verdict(clip, text, word_errors(clip.said, text))


def together(verdicts: list[Verdict]) -> WordErrors:
    """Return the errors of all clips as of one text."""
    return sum((verdict.errors for verdict in verdicts), WordErrors(0, 0, 0, 0))
