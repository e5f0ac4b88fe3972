//! Audio codecs and sample arithmetic on plain slices: no packets, no time.
//!
//! [`Format`] says what audio is carried as, [`Decoder`] and [`Encoder`] turn payloads into samples
//! and back, [`Resampler`] joins formats of different rates. [`Codec`] is G.711 alone, sample by
//! sample.

mod amr_wb;
mod coder;
mod conceal;
mod dtmf;
mod format;
mod g711;
mod g722;
mod l16;
mod level;
mod mp3;
mod mp3_encode;
mod mp3_pieces;
mod opus;
mod polyphase;
mod resample;
mod sound;
mod sound_decoder;
#[cfg(test)]
mod tones;
mod wav;

pub use amr_wb::{AmrWbFrame, AmrWbPayload};
pub use coder::{CodecError, Decoder, Encoder, LONGEST_CONCEALED_MS};
pub use dtmf::{DtmfDetector, DtmfDigit};
pub use format::{ByteOrder, Format, L16_RATES_HZ, OPUS_RATES_HZ};
pub use level::rms_dbfs;
pub use mp3::Mp3;
pub use mp3_encode::Mp3Encoder;
pub use opus::{OpusSettings, opus_dtx};
pub use polyphase::{POLYPHASE_DELAY, Resampler};
pub use resample::{RESAMPLER_DELAY, Upsampler};
pub use sound::{Sound, SoundError, decode_sound};
pub use sound_decoder::{SoundDecoder, SoundFormat};

/// An audio encoding a leg or a stream may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 mu-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
}

impl Codec {
    /// The encoding name of SDP and of `media_format`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// The codec of an encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pcmu, Self::Pcma].into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Samples per second.
    pub const fn sample_rate_hz(self) -> u32 {
        8000
    }

    /// The byte that means silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xff,
            Self::Pcma => 0xd5,
        }
    }

    /// One encoded sample as linear PCM.
    pub fn decode_sample(self, encoded: u8) -> i16 {
        let table = match self {
            Self::Pcmu => &g711::MU_LAW,
            Self::Pcma => &g711::A_LAW,
        };
        table.get(usize::from(encoded)).copied().unwrap_or(0)
    }

    /// One sample of linear PCM, encoded.
    pub const fn encode_sample(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => g711::encode_mu_law(sample),
            Self::Pcma => g711::encode_a_law(sample),
        }
    }

    /// Append the samples of `encoded` to `pcm`.
    pub fn decode(self, encoded: &[u8], pcm: &mut Vec<i16>) {
        pcm.extend(encoded.iter().map(|&byte| self.decode_sample(byte)));
    }

    /// Append the encoding of `pcm` to `encoded`.
    pub fn encode(self, pcm: &[i16], encoded: &mut Vec<u8>) {
        encoded.extend(pcm.iter().map(|&sample| self.encode_sample(sample)));
    }
}
