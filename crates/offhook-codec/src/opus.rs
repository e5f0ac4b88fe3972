//! Opus, one packet a payload (RFC 6716, RFC 7587).

use ropus::{Application, Bitrate, Channels, DecodeMode, Encoder as Ropus, InbandFec};

use crate::CodecError;

/// Longest packet (RFC 6716 3.2.5), in milliseconds.
const LONGEST_MS: usize = 120;
/// Room for one packet of 20 ms: a frame has at most 1275 bytes.
const PACKET_BYTES: usize = 1500;

/// How an Opus encoder works; the defaults suit telephone speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusSettings {
    /// Effort from 0 to 10.
    pub complexity: u8,
    /// Mean bit rate, as `maxaveragebitrate` bounds it; none lets the encoder choose.
    pub bitrate_bps: Option<u32>,
    /// Repeat a coarse copy of each frame in the next packet (`useinbandfec`).
    pub inband_fec: bool,
    /// Send next to nothing in silence (`usedtx`).
    pub dtx: bool,
}

impl Default for OpusSettings {
    fn default() -> Self {
        Self { complexity: 5, bitrate_bps: None, inband_fec: false, dtx: false }
    }
}

/// Expected loss that makes in-band correction worth its bits.
const EXPECTED_LOSS_PERCENT: u8 = 10;

pub(crate) struct Encoder(Ropus);

impl Encoder {
    pub(crate) fn new(sample_rate_hz: u32, settings: OpusSettings) -> Result<Self, CodecError> {
        let mut builder = Ropus::builder(sample_rate_hz, Channels::Mono, Application::Voip)
            .complexity(settings.complexity.min(10))
            .dtx(settings.dtx);
        if let Some(bitrate_bps) = settings.bitrate_bps {
            builder = builder.bitrate(Bitrate::Bits(bitrate_bps.clamp(6000, 510_000)));
        }
        if settings.inband_fec {
            builder = builder.inband_fec(InbandFec::Enabled).packet_loss_perc(EXPECTED_LOSS_PERCENT);
        }
        builder.build().map(Self).map_err(|_| CodecError::Unsupported)
    }

    pub(crate) fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut packet = [0; PACKET_BYTES];
        let length = self.0.encode(pcm, &mut packet).map_err(|_| CodecError::BadFrame)?;
        payload.extend(packet.iter().take(length));
        Ok(())
    }
}

pub(crate) struct Decoder {
    inner: ropus::Decoder,
    room: Vec<i16>,
}

impl Decoder {
    pub(crate) fn new(sample_rate_hz: u32) -> Result<Self, CodecError> {
        let inner =
            ropus::Decoder::new(sample_rate_hz, Channels::Mono).map_err(|_| CodecError::Unsupported)?;
        let per_ms = usize::try_from(sample_rate_hz / 1000).map_err(|_| CodecError::Unsupported)?;
        Ok(Self { inner, room: vec![0; LONGEST_MS * per_ms] })
    }

    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), CodecError> {
        // An empty packet would mean a loss to the decoder.
        if payload.is_empty() {
            return Err(CodecError::BadPayload);
        }
        let count = self.inner.decode(payload, &mut self.room, DecodeMode::Normal);
        let count = count.map_err(|_| CodecError::BadPayload)?;
        pcm.extend(self.room.iter().take(count));
        Ok(())
    }

    /// Append `count` samples in place of a lost packet, out of the one after it if that is here.
    pub(crate) fn conceal(&mut self, count: usize, next: Option<&[u8]>, pcm: &mut Vec<i16>) {
        let from = pcm.len();
        if let Some(room) = self.room.get_mut(..count) {
            let mode = if next.is_some() { DecodeMode::Fec } else { DecodeMode::Normal };
            if let Ok(count) = self.inner.decode(next.unwrap_or_default(), room, mode) {
                pcm.extend(room.iter().take(count));
            }
        }
        pcm.resize(from + count, 0);
    }
}
