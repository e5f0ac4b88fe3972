"""How long an mp3 file lasts, for the fake engine: it reads the headers of the frames and no sound."""

__all__ = ["mp3_duration_ms"]

_RATES_HZ = (44_100, 48_000, 32_000)
_DIVISORS = {3: 1, 2: 2, 0: 4}
_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def mp3_duration_ms(file: bytes) -> float:
    """Return how long the frames of a file last, one that tells about the others aside; 0 for no mp3 file."""
    at = _tag_bytes(file)
    lasts_ms = 0.0
    while (frame := _frame(file[at : at + 4])) is not None and at + frame[0] <= len(file):
        size, frame_ms = frame
        if b"Xing" not in file[at : at + 44] and b"Info" not in file[at : at + 44]:
            lasts_ms += frame_ms
        at += size
    return lasts_ms


def _frame(header: bytes) -> tuple[int, float] | None:
    """Return bytes and milliseconds of the frame with this header, of layer III and with a bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate, bits = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return None
    rate_hz = _RATES_HZ[rate] // _DIVISORS[version]
    samples = 1152 if version == 3 else 576
    size = samples // 8 * _KILOBITS[version == 3][bits] * 1000 // rate_hz + (header[2] >> 1 & 1)
    return size, samples * 1000 / rate_hz


def _tag_bytes(file: bytes) -> int:
    if file[:3] != b"ID3" or len(file) < 10:
        return 0
    size = 0
    for byte in file[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10
