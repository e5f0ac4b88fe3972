"""Codecs that are not ours: ffmpeg's, and for AMR-WB the system's libraries.

A payload is what an RTP packet or a media frame carries; PCM is s16le mono at the codec's rate.
"""

import ctypes
import ctypes.util
import struct
import subprocess
from collections.abc import Iterator

RATES_HZ = {"PCMU": 8_000, "PCMA": 8_000, "G722": 16_000, "OPUS": 48_000, "AMR-WB": 16_000}
"""Sample rate at which each codec is decoded here; L16 has its own."""
_RAW = {"PCMU": "mulaw", "PCMA": "alaw", "G722": "g722"}
_AMR_WB_FRAME_BYTES = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5)
"""Of the frame types 0 to 9 (RFC 4867 table 1a, rounded up to bytes)."""
_AMR_WB_MODE = 8


def decode(codec: str, payloads: list[bytes], *, octet_align: bool = True) -> bytes:
    """Return the PCM of payloads; L16 is taken for little-endian."""
    match codec:
        case "L16":
            return b"".join(payloads)
        case "PCMU" | "PCMA":
            return _ffmpeg(f"-f {_RAW[codec]} -ar 8000 -i - -f s16le -", b"".join(payloads))
        case "G722":
            return _ffmpeg("-f g722 -i - -ac 1 -f s16le -", b"".join(payloads))
        case "OPUS":
            return _ffmpeg("-c:a libopus -f ogg -i - -ar 48000 -ac 1 -f s16le -", _to_ogg(payloads))
        case _:
            return _decode_amr_wb(
                [frame for payload in payloads for frame in _amr_frames(payload, octet_align)]
            )


def encode(codec: str, pcm: bytes, rate_hz: int) -> list[bytes]:
    """Return payloads of 20 ms of PCM at `rate_hz`, for L16 in the same rate."""
    source = f"-f s16le -ar {rate_hz} -ac 1 -i -"
    match codec:
        case "L16":
            return _pieces(pcm, rate_hz // 50 * 2)
        case "PCMU" | "PCMA":
            return _pieces(_ffmpeg(f"{source} -ar 8000 -f {_RAW[codec]} -", pcm), 160)
        case "G722":
            return _pieces(_ffmpeg(f"{source} -ar 16000 -f g722 -", pcm), 160)
        case "OPUS":
            options = "-c:a libopus -b:a 32k -frame_duration 20 -f ogg"
            return list(_from_ogg(_ffmpeg(f"{source} -ar 48000 {options} -", pcm)))[2:]
        case _:
            return _encode_amr_wb(_ffmpeg(f"{source} -ar 16000 -f s16le -", pcm))


def mp3(pcm: bytes, rate_hz: int) -> bytes:
    """Return an MP3 file of 16 kHz, as an application would make it."""
    return _ffmpeg(f"-f s16le -ar {rate_hz} -ac 1 -i - -ar 16000 -b:a 64k -f mp3 -", pcm)


def has_amr_wb() -> bool:
    """Return whether this system has the libraries for AMR-WB."""
    return ctypes.util.find_library("vo-amrwbenc") is not None and (
        ctypes.util.find_library("opencore-amrwb") is not None
    )


def _ffmpeg(arguments: str, data: bytes) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", *arguments.split()]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _encode_amr_wb(pcm: bytes) -> list[bytes]:
    library = ctypes.CDLL(ctypes.util.find_library("vo-amrwbenc"))
    library.E_IF_init.restype = ctypes.c_void_p
    state = ctypes.c_void_p(library.E_IF_init())
    payloads = []
    try:
        for frame in _pieces(pcm, 640):
            out = ctypes.create_string_buffer(64)
            speech = ctypes.create_string_buffer(frame.ljust(640, b"\0"))
            size = library.E_IF_encode(state, _AMR_WB_MODE, speech, out, 0)
            # No mode is asked for (15), then the table of contents and the frame (RFC 4867 4.4).
            payloads.append(b"\xf0" + out.raw[:size])
    finally:
        library.E_IF_exit(state)
    return payloads


def _decode_amr_wb(frames: list[bytes]) -> bytes:
    # ffmpeg's own decoder of AMR-WB gives a lone tone back up to 5 dB too low; the reference's does not.
    library = ctypes.CDLL(ctypes.util.find_library("opencore-amrwb"))
    library.D_IF_init.restype = ctypes.c_void_p
    state = ctypes.c_void_p(library.D_IF_init())
    pcm = b""
    try:
        for frame in frames:
            speech = ctypes.create_string_buffer(640)
            library.D_IF_decode(state, frame.ljust(64, b"\0"), speech, 0)
            pcm += speech.raw
    finally:
        library.D_IF_exit(state)
    return pcm


def _amr_frames(payload: bytes, octet_align: bool) -> Iterator[bytes]:
    """Yield frames as a file has them: a byte of type and quality, then the bits (RFC 4867 5.3)."""
    if octet_align:
        end = 1
        while payload[end] & 0x80:
            end += 1
        at = end + 1
        for entry in payload[1 : end + 1]:
            kind = entry >> 3 & 15
            size = _AMR_WB_FRAME_BYTES[kind] if kind < 10 else 0
            yield bytes([entry & 0x7C]) + payload[at : at + size]
            at += size
        return
    bits = int.from_bytes(payload)
    left = len(payload) * 8 - 4
    entries = []
    more = True
    while more:
        left -= 6
        entry = bits >> left & 63
        more = bool(entry & 32)
        entries.append(entry)
    for entry in entries:
        kind = entry >> 1 & 15
        count = (132, 177, 253, 285, 317, 365, 397, 461, 477, 40)[kind] if kind < 10 else 0
        left -= count
        frame = bits >> left & ((1 << count) - 1)
        size = (count + 7) // 8
        yield bytes([kind << 3 | (entry & 1) << 2]) + (frame << (size * 8 - count)).to_bytes(size)


def _to_ogg(packets: list[bytes]) -> bytes:
    """Return an Ogg Opus file of one packet a page (RFC 7845)."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)
    pages = [_page(head, 0, 0, 2), _page(tags, 0, 1, 0)]
    for number, packet in enumerate(packets, 1):
        pages.append(_page(packet, number * 960, number + 1, 4 if number == len(packets) else 0))
    return b"".join(pages)


def _page(packet: bytes, position: int, number: int, flags: int) -> bytes:
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, position, 1, number, 0, len(lacing))
    page += lacing + packet
    return page[:22] + struct.pack("<I", _ogg_crc(page)) + page[26:]


def _ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _from_ogg(data: bytes) -> Iterator[bytes]:
    at, packet = 0, b""
    while at < len(data):
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(lacing)
        for size in lacing:
            packet += data[at : at + size]
            at += size
            if size < 255:
                yield packet
                packet = b""
