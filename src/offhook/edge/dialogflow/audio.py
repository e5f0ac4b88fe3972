"""Reply audio as Google sends it: WAV or bare samples, linear or G.711, to s16le."""

import struct

from offhook.base.g711 import alaw_decode, mulaw_decode
from offhook.edge.dialogflow.protocol import DialogflowError

RATES_HZ = (8_000, 16_000)
"""What a call leg plays."""

_WAVE_LINEAR, _WAVE_ALAW, _WAVE_MULAW = 1, 6, 7
_ENCODINGS = {_WAVE_LINEAR: "LINEAR16", _WAVE_ALAW: "ALAW", _WAVE_MULAW: "MULAW"}

_BARE = {"LINEAR_16": "LINEAR16", "UNSPECIFIED": "LINEAR16"}


def encoding_of(member: object) -> str:
    """Return the short name of an `OutputAudioEncoding`, which ES and CX write alike; "" for an unknown one."""
    name: str = getattr(member, "name", "").removeprefix("OUTPUT_AUDIO_ENCODING_")
    return _BARE.get(name, name)


def decode_reply(data: bytes, *, encoding: str, sample_rate_hz: int) -> tuple[bytes, int]:
    """Return (s16le, rate) of reply audio; `encoding` and rate count where no WAV header says better.

    Raises:
        DialogflowError: the audio is in a format that was not asked for, or damaged.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        encoding, sample_rate_hz, data = _read_wav(data)
    match encoding:
        case "LINEAR16":
            pcm = data[: len(data) & ~1]
        case "MULAW":
            pcm = mulaw_decode(data)
        case "ALAW":
            pcm = alaw_decode(data)
        case _:
            raise DialogflowError("the agent's audio is in a format that cannot be played")
    if sample_rate_hz not in RATES_HZ:
        raise DialogflowError("the agent's audio has a sample rate that cannot be played")
    return pcm, sample_rate_hz


def _read_wav(data: bytes) -> tuple[str, int, bytes]:
    encoding, rate_hz, at = "", 0, 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]  # a stream's header may claim more than there is
        if name == b"fmt ":
            if len(body) < 16:
                break
            kind, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if channels != 1 or bits != (16 if kind == _WAVE_LINEAR else 8):
                break
            encoding = _ENCODINGS.get(kind, "")
        elif name == b"data":
            return encoding, rate_hz, body
        at += 8 + size + (size & 1)
    raise DialogflowError("the agent's audio is damaged")
