//! How audio looks on the socket of a stream.

use offhook_codec::{Codec, Resampler};

const LEG_RATE_HZ: u32 = 8000;
/// Sample rates L16 may have (contract 4.4).
const L16_RATES_HZ: [u32; 5] = [8000, 16_000, 22_050, 24_000, 48_000];

/// An encoding of the payloads of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One byte a sample.
    G711(Codec),
    /// Linear, 16 bits, little-endian (contract 4.4).
    L16,
}

/// What `media_format` says of a stream, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples per second.
    pub sample_rate_hz: u32,
}

impl StreamFormat {
    /// The format of an encoding name in upper case; `None` when nobody here speaks it.
    pub fn from_name(name: &str, sample_rate_hz: u32) -> Option<Self> {
        let encoding = match name {
            "L16" => Encoding::L16,
            "PCMU" => Encoding::G711(Codec::Pcmu),
            "PCMA" => Encoding::G711(Codec::Pcma),
            _ => return None,
        };
        Some(Self { encoding, sample_rate_hz })
    }

    pub(crate) fn is_possible(self) -> bool {
        match self.encoding {
            Encoding::G711(codec) => self.sample_rate_hz == codec.sample_rate_hz(),
            Encoding::L16 => L16_RATES_HZ.contains(&self.sample_rate_hz),
        }
    }

    /// Whole samples in so many bytes.
    pub(crate) const fn samples_in(self, bytes: usize) -> usize {
        match self.encoding {
            Encoding::G711(_) => bytes,
            Encoding::L16 => bytes / 2,
        }
    }
}

/// Changes the sample rate of one direction of a stream; nothing is done where the leg has the same.
#[derive(Debug)]
pub(crate) struct Rate {
    resampler: Option<Box<Resampler>>,
    delay: u64,
}

impl Rate {
    /// From a stream to the leg.
    pub(crate) fn to_leg(from_hz: u32) -> Self {
        Self::new(from_hz, LEG_RATE_HZ)
    }

    /// From the leg to a stream.
    pub(crate) fn from_leg(to_hz: u32) -> Self {
        Self::new(LEG_RATE_HZ, to_hz)
    }

    fn new(from_hz: u32, to_hz: u32) -> Self {
        let resampler = if from_hz == to_hz { None } else { Resampler::new(from_hz, to_hz) };
        let delay = resampler.as_ref().map_or(0, |resampler| {
            let input = u64::try_from(resampler.delay()).unwrap_or(0);
            (input * u64::from(to_hz)).div_ceil(u64::from(from_hz.max(1)))
        });
        Self { resampler: resampler.map(Box::new), delay }
    }

    /// Whether audio goes through untouched.
    pub(crate) const fn is_same(&self) -> bool {
        self.resampler.is_none()
    }

    /// How far the output lies behind the input, in samples of the output.
    pub(crate) const fn delay(&self) -> u64 {
        self.delay
    }

    /// Append the resampled audio to `out`.
    pub(crate) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match &mut self.resampler {
            None => out.extend_from_slice(pcm),
            Some(resampler) => resampler.process(pcm, out),
        }
    }

    /// Append what the delay holds, and begin anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<i16>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(out);
        }
    }

    /// Forget what the delay holds.
    pub(crate) fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}

impl From<StreamFormat> for crate::backlog::AppFormat {
    fn from(format: StreamFormat) -> Self {
        Self::Raw(match format.encoding {
            Encoding::G711(codec) => codec.into(),
            Encoding::L16 => offhook_codec::Format::L16 {
                sample_rate_hz: format.sample_rate_hz,
                byte_order: offhook_codec::ByteOrder::Little,
            },
        })
    }
}
