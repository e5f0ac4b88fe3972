//! What audio is carried as: the encoding, its rates and its framing.

use crate::amr_wb::AmrWbPayload;
use crate::{Codec, opus};

/// Sample rates L16 may have.
pub const L16_RATES_HZ: [u32; 5] = [8000, 16_000, 22_050, 24_000, 48_000];
/// Sample rates Opus may be decoded to and encoded from.
pub const OPUS_RATES_HZ: [u32; 4] = [8000, 16_000, 24_000, 48_000];

/// Which byte of an L16 sample comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The low byte, as media streams carry it.
    #[default]
    Little,
    /// The high byte, as RTP carries it (RFC 3551 4.5.11).
    Big,
}

/// An encoding with everything that is needed to make a payload of it: what `media_format` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// PCMU or PCMA.
    G711(Codec),
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus, one packet a payload (RFC 7587).
    Opus {
        /// Samples per second on our side; packets of any bandwidth are understood.
        sample_rate_hz: u32,
    },
    /// AMR-WB (RFC 4867).
    AmrWb {
        /// Octet-aligned payloads instead of bandwidth-efficient ones.
        octet_align: bool,
    },
    /// Plain samples of 16 bits.
    L16 {
        /// Samples per second, one of [`L16_RATES_HZ`].
        sample_rate_hz: u32,
        /// Little-endian on media streams, big-endian in RTP.
        byte_order: ByteOrder,
    },
}

impl From<Codec> for Format {
    fn from(codec: Codec) -> Self {
        Self::G711(codec)
    }
}

impl Format {
    /// The format of an encoding name, in any case, and of the rate asked for with it.
    ///
    /// Without a rate it is the one a media stream has by default (contract 4.4): 8000, or 16000
    /// for AMR-WB. A rate the encoding does not have gives nothing. L16 comes little-endian,
    /// AMR-WB octet-aligned, as media streams carry them.
    pub fn from_name(name: &str, rate_hz: Option<u32>) -> Option<Self> {
        let one_of = |rates: &[u32]| {
            let rate_hz = rate_hz.unwrap_or(8000);
            rates.contains(&rate_hz).then_some(rate_hz)
        };
        if let Some(codec) = Codec::from_name(name) {
            return one_of(&[8000]).map(|_| Self::G711(codec));
        }
        match name.to_ascii_uppercase().as_str() {
            // Told as 8000 for historical reasons, and sampled at 16000: both mean the same here.
            "G722" => one_of(&[8000, 16_000]).map(|_| Self::G722),
            "OPUS" => one_of(&OPUS_RATES_HZ).map(|sample_rate_hz| Self::Opus { sample_rate_hz }),
            "AMR-WB" => one_of(&[8000, 16_000]).map(|_| Self::AmrWb { octet_align: true }),
            "L16" => one_of(&L16_RATES_HZ)
                .map(|sample_rate_hz| Self::L16 { sample_rate_hz, byte_order: ByteOrder::Little }),
            _ => None,
        }
    }

    /// The encoding name of `media_format`; SDP's too, where case does not count.
    pub const fn name(self) -> &'static str {
        match self {
            Self::G711(codec) => codec.name(),
            Self::G722 => "G722",
            Self::Opus { .. } => "OPUS",
            Self::AmrWb { .. } => "AMR-WB",
            Self::L16 { .. } => "L16",
        }
    }

    /// Ticks per second of the RTP timestamp: 8000 for G.722 (RFC 3551 4.5.2), 48000 for Opus.
    #[inline]
    pub const fn clock_rate_hz(self) -> u32 {
        match self {
            Self::G722 => 8000,
            Self::Opus { .. } => 48_000,
            _ => self.sample_rate_hz(),
        }
    }

    /// Samples per second that a [`crate::Decoder`] gives and an [`crate::Encoder`] takes.
    #[inline]
    pub const fn sample_rate_hz(self) -> u32 {
        match self {
            Self::G711(codec) => codec.sample_rate_hz(),
            Self::G722 | Self::AmrWb { .. } => 16_000,
            Self::Opus { sample_rate_hz } | Self::L16 { sample_rate_hz, .. } => sample_rate_hz,
        }
    }

    /// The `sample_rate` of `media_format`: the sample rate, but 8000 for G.722.
    pub const fn announced_rate_hz(self) -> u32 {
        match self {
            Self::G722 => 8000,
            _ => self.sample_rate_hz(),
        }
    }

    /// Whether this system can decode and encode it; only AMR-WB hangs on libraries that may be missing.
    pub fn transcodable(self) -> bool {
        self.decodable() && self.encodable()
    }

    /// Whether this system can decode it.
    pub fn decodable(self) -> bool {
        !matches!(self, Self::AmrWb { .. }) || offhook_amrwb::can_decode()
    }

    /// Whether this system can encode it.
    pub fn encodable(self) -> bool {
        !matches!(self, Self::AmrWb { .. }) || offhook_amrwb::can_encode()
    }

    /// Whether the sample rate is one the encoding has.
    pub fn is_possible(self) -> bool {
        match self {
            Self::Opus { sample_rate_hz } => OPUS_RATES_HZ.contains(&sample_rate_hz),
            Self::L16 { sample_rate_hz, .. } => L16_RATES_HZ.contains(&sample_rate_hz),
            Self::G711(_) | Self::G722 | Self::AmrWb { .. } => true,
        }
    }

    /// How long a payload lasts, in ticks of the RTP clock; nothing when it is none of this format.
    #[inline]
    pub fn clock_ticks_in(self, payload: &[u8]) -> Option<u32> {
        let bytes = u32::try_from(payload.len()).ok().filter(|bytes| *bytes > 0)?;
        match self {
            // G.722 has two samples in a byte, and a clock of half its sample rate.
            Self::G711(_) | Self::G722 => Some(bytes),
            Self::L16 { .. } => bytes.is_multiple_of(2).then_some(bytes / 2),
            Self::Opus { .. } => opus::packet_ticks(payload),
            Self::AmrWb { octet_align } => {
                let frames = AmrWbPayload::parse(payload, octet_align).ok()?.frames.len();
                u32::try_from(frames).ok().map(|frames| frames * self.clock_ticks(20))
            }
        }
    }

    /// Samples in so many milliseconds; every rate gives a whole number for 20 ms.
    pub const fn samples(self, ptime_ms: u32) -> usize {
        (self.sample_rate_hz() as u64 * ptime_ms as u64 / 1000) as usize
    }

    /// RTP timestamp ticks in so many milliseconds.
    #[expect(clippy::cast_possible_truncation, reason = "a payload lasts less than a day")]
    pub const fn clock_ticks(self, ptime_ms: u32) -> u32 {
        (self.clock_rate_hz() as u64 * ptime_ms as u64 / 1000) as u32
    }

    /// Bytes of a payload of so many milliseconds, where all are of one size.
    pub const fn payload_bytes(self, ptime_ms: u32) -> Option<usize> {
        match self {
            Self::G711(_) => Some(self.samples(ptime_ms)),
            Self::G722 => Some(self.samples(ptime_ms) / 2),
            Self::L16 { .. } => Some(self.samples(ptime_ms) * 2),
            Self::Opus { .. } | Self::AmrWb { .. } => None,
        }
    }

    /// The byte that repeated is silence; nothing where silence must come out of an encoder.
    pub const fn silence(self) -> Option<u8> {
        match self {
            Self::G711(codec) => Some(codec.silence()),
            Self::L16 { .. } => Some(0),
            Self::G722 | Self::Opus { .. } | Self::AmrWb { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L16: Format = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Little };

    #[test]
    fn twenty_milliseconds_are_the_payloads_of_the_contract() {
        let bytes = |name| Format::from_name(name, None).unwrap().payload_bytes(20);
        assert_eq!(bytes("PCMU"), Some(160));
        assert_eq!(bytes("PCMA"), Some(160));
        assert_eq!(bytes("G722"), Some(160));
        assert_eq!(L16.payload_bytes(20), Some(640));
        assert_eq!(bytes("OPUS"), None);
    }

    #[test]
    fn the_rates_are_told_apart() {
        let rates = |format: Format| {
            (
                format.clock_rate_hz(),
                format.sample_rate_hz(),
                format.announced_rate_hz(),
                format.clock_ticks(20),
            )
        };
        assert_eq!(rates(Codec::Pcma.into()), (8000, 8000, 8000, 160));
        assert_eq!(rates(Format::G722), (8000, 16_000, 8000, 160));
        assert_eq!(rates(Format::Opus { sample_rate_hz: 16_000 }), (48_000, 16_000, 16_000, 960));
        assert_eq!(rates(Format::AmrWb { octet_align: false }), (16_000, 16_000, 16_000, 320));
        assert_eq!(rates(Format::from_name("L16", Some(22_050)).unwrap()), (22_050, 22_050, 22_050, 441));
    }

    #[test]
    fn a_payload_tells_how_long_it_lasts() {
        let opus = Format::Opus { sample_rate_hz: 16_000 };
        let amr = Format::AmrWb { octet_align: true };
        for (format, payload, ticks) in [
            (Codec::Pcmu.into(), &[0; 160][..], Some(160)),
            (Format::G722, &[0; 240], Some(240)),
            (L16, &[0; 640], Some(320)),
            (L16, &[0; 641], None),
            // RFC 6716 table 2 and section 3.2: SILK of 10, 20, 40 and 60 ms, hybrid and CELT of 20,
            // CELT of 2.5; then two frames, equal and unequal, and any number.
            (opus, &[0 << 3], Some(480)),
            (opus, &[1 << 3, 7], Some(960)),
            (opus, &[2 << 3, 7], Some(1920)),
            (opus, &[3 << 3, 7], Some(2880)),
            (opus, &[13 << 3, 7], Some(960)),
            (opus, &[31 << 3, 7], Some(960)),
            (opus, &[16 << 3, 7], Some(120)),
            (opus, &[1 << 3 | 1, 7, 7], Some(1920)),
            (opus, &[1 << 3 | 2, 1, 7, 7], Some(1920)),
            (opus, &[1 << 3 | 3, 6], Some(5760)),
            (opus, &[1 << 3 | 3, 7], None),
            (opus, &[1 << 3 | 3, 0], None),
            (opus, &[1 << 3 | 3], None),
            (amr, &[0xf0, 0xfc, 0x7c], Some(640)),
            (amr, &[0xf0], None),
        ] {
            assert_eq!(format.clock_ticks_in(payload), ticks, "{format:?} {payload:02x?}");
            assert_eq!(format.clock_ticks_in(&[]), None);
        }
    }

    #[test]
    fn names_lead_back_to_their_format() {
        for (name, rate_hz) in [("PCMU", 8000), ("PCMA", 8000), ("G722", 8000), ("AMR-WB", 16_000)] {
            let format = Format::from_name(&name.to_lowercase(), Some(rate_hz)).unwrap();
            assert_eq!((format.name(), format.announced_rate_hz()), (name, rate_hz));
        }
        assert_eq!(Format::from_name("L16", Some(16_000)), Some(L16));
        assert_eq!(Format::from_name("Opus", None), Some(Format::Opus { sample_rate_hz: 8000 }));
    }

    #[test]
    fn what_an_encoding_does_not_have_is_refused() {
        for (name, rate_hz) in
            [("PCMU", 16_000), ("G722", 48_000), ("OPUS", 44_100), ("L16", 11_025), ("G729", 8000)]
        {
            assert_eq!(Format::from_name(name, Some(rate_hz)), None, "{name}/{rate_hz}");
        }
    }
}
