//! Opus, one packet a payload (RFC 6716, RFC 7587), by libopus.

use opusic_c::{Application, Bitrate, Channels, InbandFec, SampleRate};

use crate::CodecError;

/// Longest packet (RFC 6716 3.2.5), in milliseconds.
const LONGEST_MS: usize = 120;
/// The same on the RTP clock.
const LONGEST_TICKS: u32 = 5760;
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

pub(crate) struct Encoder {
    inner: opusic_c::Encoder,
    /// The binding takes samples as unsigned, by their bits.
    bits: Vec<u16>,
}

impl Encoder {
    pub(crate) fn new(sample_rate_hz: u32, settings: OpusSettings) -> Result<Self, CodecError> {
        let rate = sample_rate(sample_rate_hz)?;
        let build = || {
            let mut inner = opusic_c::Encoder::new(Channels::Mono, rate, Application::Voip)?;
            inner.set_complexity(settings.complexity.min(10))?;
            inner.set_dtx(settings.dtx)?;
            if let Some(bitrate_bps) = settings.bitrate_bps {
                inner.set_bitrate(Bitrate::Value(bitrate_bps.clamp(6000, 510_000)))?;
            }
            if settings.inband_fec {
                inner.set_inband_fec(InbandFec::Mode1)?;
                inner.set_packet_loss(EXPECTED_LOSS_PERCENT)?;
            }
            Ok(Self { inner, bits: Vec::new() })
        };
        build().map_err(|_: opusic_c::ErrorCode| CodecError::Unsupported)
    }

    pub(crate) fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
        self.bits.clear();
        self.bits.extend(pcm.iter().map(|sample| sample.cast_unsigned()));
        let mut packet = [0; PACKET_BYTES];
        let length = self.inner.encode_to_slice(&self.bits, &mut packet);
        payload.extend(packet.iter().take(length.map_err(|_| CodecError::BadFrame)?));
        Ok(())
    }
}

pub(crate) struct Decoder {
    inner: opusic_c::Decoder,
    /// Room for the longest packet, unsigned as in the encoder.
    room: Vec<u16>,
}

impl Decoder {
    pub(crate) fn new(sample_rate_hz: u32) -> Result<Self, CodecError> {
        let rate = sample_rate(sample_rate_hz)?;
        let inner = opusic_c::Decoder::new(Channels::Mono, rate).map_err(|_| CodecError::Unsupported)?;
        Ok(Self { inner, room: vec![0; LONGEST_MS * rate as usize / 1000] })
    }

    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), CodecError> {
        // An empty packet would mean a loss to the decoder.
        if payload.is_empty() {
            return Err(CodecError::BadPayload);
        }
        let count = self.inner.decode_to_slice(payload, &mut self.room, false);
        let count = count.map_err(|_| CodecError::BadPayload)?;
        pcm.extend(self.room.iter().take(count).map(|bits| bits.cast_signed()));
        Ok(())
    }

    /// Append `count` samples in place of a lost packet, out of the one after it if that is here.
    pub(crate) fn conceal(&mut self, count: usize, next: Option<&[u8]>, pcm: &mut Vec<i16>) {
        let from = pcm.len();
        if let Some(room) = self.room.get_mut(..count) {
            // Without a packet, and from one without a copy, the decoder makes something up.
            let made = self.inner.decode_to_slice(next.unwrap_or_default(), room, next.is_some());
            if let Ok(made) = made {
                pcm.extend(room.iter().take(made).map(|bits| bits.cast_signed()));
            }
        }
        pcm.resize(from + count, 0);
    }
}

/// How long a packet lasts on the clock of 48 kHz (RFC 6716 3.1); nothing for what is no packet.
pub(crate) fn packet_ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = frame_ticks(toc);
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 63),
    };
    Some(frame * frames).filter(|ticks| (1..=LONGEST_TICKS).contains(ticks))
}

/// How long a frame lasts by the first byte of its packet (RFC 6716 table 2).
fn frame_ticks(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        0..12 if config % 4 == 3 => 2880,
        0..12 => 480 << (config % 4),
        12..16 => 480 << (config % 2),
        _ => 120 << (config % 4),
    }
}

/// The packet that says nothing for as long as one frame of `like` lasts, and how long that is.
pub fn opus_dtx(like: u8) -> ([u8; 1], u32) {
    ([like & !3], frame_ticks(like))
}

fn sample_rate(sample_rate_hz: u32) -> Result<SampleRate, CodecError> {
    match sample_rate_hz {
        8000 => Ok(SampleRate::Hz8000),
        16_000 => Ok(SampleRate::Hz16000),
        24_000 => Ok(SampleRate::Hz24000),
        48_000 => Ok(SampleRate::Hz48000),
        _ => Err(CodecError::Unsupported),
    }
}
