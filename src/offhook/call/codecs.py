"""The codecs of calls and streams: what this server speaks, what it can only pass on, at which rates."""

from dataclasses import dataclass

from offhook.call.commands import StreamOptions
from offhook.proto.sdp import CODECS, NegotiatedMedia, SessionDescription, negotiate

STREAM_RATES_HZ = {
    "PCMU": (8000,),
    "PCMA": (8000,),
    "G722": (8000, 16_000),
    "OPUS": (8000, 16_000, 24_000, 48_000),
    "AMR-WB": (8000, 16_000),
    "L16": (8000, 16_000, 22_050, 24_000, 48_000),
}
"""What `stream_bidirectional_sampling_rate` may say of a codec (contract 4.4).

G722 is told as 8000 and sampled at 16000, so both mean the same. AMR-WB is always 16000; 8000 is the
parameter's default and says nothing.
"""
MP3 = "MP3"
"""What an app speaks that is no codec of calls: whole files, which tell their own rate."""
_ANNOUNCED_HZ = {"PCMU": 8000, "PCMA": 8000, "G722": 8000, "AMR-WB": 16_000}
_DEFAULT_HZ = {"OPUS": 16_000, "L16": 8000}
_SPOKEN_BACK = frozenset({"G722", "OPUS", "AMR-WB", "L16"})
"""Who speaks one of these hears it too, unless asked otherwise (contract 4.4)."""


@dataclass(frozen=True, slots=True)
class CodecPolicy:
    """Which codec of an offer a call gets.

    Attributes:
        spoken: what this server takes, best first; L16 may be named with its rate.
        ours_first: choose by our order; else by the offer's.
        opaque: codecs that are passed on but can be neither decoded nor made here. They are taken
            when an offer has nothing else, or when the app asks for them.
    """

    spoken: tuple[str, ...] = CODECS
    ours_first: bool = False
    opaque: frozenset[str] = frozenset()

    def choose(self, offer: SessionDescription, preferred: tuple[str, ...] = ()) -> NegotiatedMedia | None:
        """Return what an offer leads to: the first of `preferred` that it has, else our usual choice.

        Raises:
            SdpError: the offer has no usable address.
        """
        for name in preferred:
            media = negotiate(offer, self._called(name))
            if media is not None:
                return media
        clear = tuple(name for name in self.spoken if _plain(name) not in self.opaque)
        return negotiate(offer, clear, ours_first=self.ours_first) or negotiate(
            offer, self.spoken, ours_first=self.ours_first
        )

    def keep(self, offer: SessionDescription, media: NegotiatedMedia | None) -> NegotiatedMedia | None:
        """Return what a new offer leads to: the codec in use where it still can be (RFC 3264 8.3.2).

        Raises:
            SdpError: the offer has no usable address.
        """
        return (media and negotiate(offer, in_use(media))) or self.choose(offer)

    def offered(self, preferred: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return what an offer of ours names: what the app prefers, then the rest that is not opaque."""
        wanted = [name for each in preferred for name in self._called(each)]
        clear = [name for name in self.spoken if _plain(name) not in self.opaque]
        return tuple(dict.fromkeys([*wanted, *clear]))

    def _called(self, name: str) -> tuple[str, ...]:
        return tuple(each for each in self.spoken if _plain(each) == name.upper())


def in_use(media: NegotiatedMedia) -> tuple[str, ...]:
    """Return the codec that was agreed on, as one that can be asked for again."""
    exact = media.codec_name == "L16"
    return (f"L16/{media.clock_rate_hz}" if exact else media.codec_name,)


def codec_to_app(options: StreamOptions, media: NegotiatedMedia) -> str:
    """Return the codec in which an app is sent a call (the rule of contract 4.4)."""
    spoken = options.app_codec if options.app_codec in _SPOKEN_BACK else None
    return options.codec or spoken or media.codec_name


def stream_rate_hz(codec: str, options: StreamOptions, media: NegotiatedMedia) -> int:
    """Return what `media_format` says of a stream in `codec`: the rate to which it is decoded.

    It is 8000 for G722, as everywhere. Opus and L16 have the rate asked for; else that of the call,
    when it is in the same codec, and 16000 and 8000 when it is not.
    """
    if codec in _ANNOUNCED_HZ:
        return _ANNOUNCED_HZ[codec]
    asked = options.sample_rate_hz
    if asked is not None and asked in STREAM_RATES_HZ.get(codec, ()):
        return asked
    # Who names L16 counts on its documented 8000; who takes the codec of the call takes its rate too.
    named = codec == "L16" and codec in (options.codec, options.app_codec)
    if codec == media.codec_name and not named:
        return media.sample_rate_hz
    return _DEFAULT_HZ.get(codec, 8000)


def why_opaque(codec: str) -> str:
    """Return the sentence for a person who wants more than to pass a codec on."""
    return (
        f"{codec} can only be passed on by this server; to transcode it, install the system's "
        "libraries opencore-amrwb and vo-amrwbenc (Debian: libopencore-amrwb0, libvo-amrwbenc0)"
    )


def _plain(name: str) -> str:
    return name.partition("/")[0]
