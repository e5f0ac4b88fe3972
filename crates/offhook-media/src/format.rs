//! How audio looks on the socket of a stream.

use offhook_codec::{Codec, Downsampler, RESAMPLER_DELAY, Upsampler};

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
            Encoding::L16 => matches!(self.sample_rate_hz, 8000 | 16_000),
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

/// Takes audio from the rate of a stream to that of the leg, 8000 Hz.
#[derive(Debug)]
pub(crate) enum ToLeg {
    Same,
    Half(Box<Downsampler>),
}

impl ToLeg {
    pub(crate) fn new(from_hz: u32) -> Self {
        if from_hz == 16_000 { Self::Half(Box::default()) } else { Self::Same }
    }

    /// How far the output lies behind the input, in samples of the leg.
    pub(crate) const fn delay(&self) -> u64 {
        match self {
            Self::Same => 0,
            Self::Half(_) => RESAMPLER_DELAY as u64,
        }
    }

    pub(crate) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match self {
            Self::Same => out.extend_from_slice(pcm),
            Self::Half(filter) => filter.process(pcm, out),
        }
    }

    /// Give out what the delay holds, and begin anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<i16>) {
        if let Self::Half(filter) = self {
            filter.finish(out);
        }
    }
}

/// Takes audio from the rate of the leg, 8000 Hz, to that of a stream.
#[derive(Debug)]
pub(crate) enum FromLeg {
    Same,
    Double(Box<Upsampler>),
}

impl FromLeg {
    pub(crate) fn new(to_hz: u32) -> Self {
        if to_hz == 16_000 { Self::Double(Box::default()) } else { Self::Same }
    }

    pub(crate) fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        match self {
            Self::Same => out.extend_from_slice(pcm),
            Self::Double(filter) => filter.process(pcm, out),
        }
    }
}
