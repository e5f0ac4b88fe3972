//! What an application has said, kept as it came and decoded when it is due.
//!
//! A message of half a minute costs the other calls of its worker no moment, and a minute of audio
//! no more memory than it came in.

use std::collections::VecDeque;

use offhook_codec::{Decoder, Format, LONGEST_CONCEALED_MS, Mp3};

use crate::clock::wide;
use crate::frame::FrameError;
use crate::rate::Rate;

const NO_MP3: FrameError = FrameError::Invalid(
    "media.payload is no mp3 file, which this stream plays: to send raw audio start it with stream_bidirectional_mode rtp",
);
const NO_OPUS: FrameError = FrameError::Invalid("media.payload is not one Opus packet");
const NO_AMR_WB: FrameError =
    FrameError::Invalid("media.payload is not one AMR-WB payload (RFC 4867, octet-aligned)");

/// A buffer that one long message has grown beyond this is given back.
const KEEP_BYTES: usize = 16 << 10;
/// Audio that is decoded at once.
const BLOCK_MS: u32 = 20;

/// What an application sends to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppFormat {
    /// Payloads as RTP would carry them.
    Raw(Format),
    /// Whole mp3 files.
    Mp3,
}

impl From<Format> for AppFormat {
    fn from(format: Format) -> Self {
        Self::Raw(format)
    }
}

impl AppFormat {
    pub(crate) fn is_possible(self) -> bool {
        match self {
            Self::Raw(format) => format.is_possible(),
            Self::Mp3 => true,
        }
    }

    /// What brings it to the rate of a leg, as far as its own is known.
    pub(crate) fn to_leg(self, leg_rate_hz: u32) -> Rate {
        match self {
            Self::Raw(format) => Rate::new(format.sample_rate_hz(), leg_rate_hz),
            Self::Mp3 => Rate::new(leg_rate_hz, leg_rate_hz),
        }
    }

    pub(crate) fn decodable(self) -> bool {
        match self {
            Self::Raw(format) => format.decodable(),
            Self::Mp3 => true,
        }
    }
}

/// One message of the application, looked at.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) rate_hz: u32,
    /// So long, at that rate.
    pub(crate) samples: u64,
    /// What it takes to keep it, where that does not follow from its length.
    pub(crate) size_bytes: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Raw(Vec<u8>),
    File(Box<Mp3>),
}

/// Messages that wait to be heard.
#[derive(Debug)]
pub(crate) struct Backlog {
    format: AppFormat,
    /// What waits of formats whose bytes may be cut anywhere.
    bytes: VecDeque<u8>,
    /// Whole payloads, and how many samples they are.
    payloads: VecDeque<(Vec<u8>, u64)>,
    payload_samples: u64,
    files: VecDeque<Mp3>,
    /// Of payloads and files.
    kept_bytes: usize,
    /// Made when something is heard first.
    decoder: Option<Decoder>,
    block: Vec<u8>,
    /// Payloads that did not decode.
    pub(crate) undecodable: u64,
}

impl Backlog {
    pub(crate) fn new(format: AppFormat) -> Self {
        Self {
            format,
            bytes: VecDeque::new(),
            payloads: VecDeque::new(),
            payload_samples: 0,
            files: VecDeque::new(),
            kept_bytes: 0,
            decoder: None,
            block: Vec::new(),
            undecodable: 0,
        }
    }

    pub(crate) fn format(&self) -> AppFormat {
        self.format
    }

    /// Look at a message, before it is decided whether it may wait here.
    pub(crate) fn read(&self, payload: Vec<u8>) -> Result<Message, FrameError> {
        let AppFormat::Raw(format) = self.format else {
            let file = Mp3::new(&payload).ok_or(NO_MP3)?;
            let (rate_hz, samples, size_bytes) =
                (file.sample_rate_hz(), file.samples_left(), file.size_bytes());
            return Ok(Message { rate_hz, samples, size_bytes, content: Content::File(Box::new(file)) });
        };
        let rate_hz = format.sample_rate_hz();
        // Half a sample at the end waits for its other half.
        let whole = if matches!(format, Format::L16 { .. }) { payload.len() / 2 * 2 } else { payload.len() };
        let ticks = match payload.get(..whole).and_then(|whole| format.clock_ticks_in(whole)) {
            Some(ticks) => u64::from(ticks),
            None if self.is_bytewise() => 0,
            None => return Err(refusal(format)),
        };
        let samples = ticks * u64::from(rate_hz) / u64::from(format.clock_rate_hz());
        let size_bytes = if self.is_bytewise() { 0 } else { payload.len() };
        Ok(Message { rate_hz, samples, size_bytes, content: Content::Raw(payload) })
    }

    /// Keep a message until it is due.
    pub(crate) fn push(&mut self, message: Message) {
        match message.content {
            Content::Raw(payload) if self.is_bytewise() => self.bytes.extend(payload),
            Content::Raw(payload) => {
                self.kept_bytes = self.kept_bytes.saturating_add(payload.len());
                self.payload_samples = self.payload_samples.saturating_add(message.samples);
                self.payloads.push_back((payload, message.samples));
            }
            Content::File(file) => {
                self.kept_bytes = self.kept_bytes.saturating_add(file.size_bytes());
                self.files.push_back(*file);
            }
        }
    }

    /// Bytes that wait in whole payloads and files.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// How long what waits will be at another rate, at least and at most.
    pub(crate) fn samples_at(&self, to_hz: u32) -> (u64, u64) {
        let scale = |samples: u64, from_hz: u32| {
            let scaled = samples.saturating_mul(u64::from(to_hz));
            (scaled / u64::from(from_hz.max(1)), scaled.div_ceil(u64::from(from_hz.max(1))))
        };
        match self.format {
            AppFormat::Raw(format) => {
                let bytewise = match format {
                    Format::L16 { .. } => self.bytes.len() / 2,
                    Format::G722 => self.bytes.len() * 2,
                    _ => self.bytes.len(),
                };
                scale(wide(bytewise).saturating_add(self.payload_samples), format.sample_rate_hz())
            }
            AppFormat::Mp3 => {
                let files = self.files.iter().map(|file| scale(file.samples_left(), file.sample_rate_hz()));
                files.fold((0, 0), |sum: (u64, u64), file| {
                    (sum.0.saturating_add(file.0), sum.1.saturating_add(file.1))
                })
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // The first byte of a sample is nothing yet.
        let least = if matches!(self.format, AppFormat::Raw(Format::L16 { .. })) { 2 } else { 1 };
        self.bytes.len() < least && self.payloads.is_empty() && self.files.is_empty()
    }

    /// Append some of what comes next to `pcm`; tells its sample rate. Nothing when nothing waits.
    pub(crate) fn decode(&mut self, pcm: &mut Vec<i16>) -> Option<u32> {
        match self.format {
            AppFormat::Mp3 => self.decode_file(pcm),
            AppFormat::Raw(format) => {
                let decoded = if self.is_bytewise() {
                    self.decode_bytes(format, pcm)
                } else {
                    self.decode_payload(format, pcm)
                };
                decoded.then(|| format.sample_rate_hz())
            }
        }
    }

    /// No more bytes are coming to what a message has cut in two.
    pub(crate) fn forget_half(&mut self) {
        if matches!(self.format, AppFormat::Raw(Format::L16 { .. })) && !self.bytes.len().is_multiple_of(2) {
            self.bytes.pop_back();
        }
    }

    /// Drop all that waits; what comes next begins anew.
    pub(crate) fn clear(&mut self) {
        let undecodable = self.undecodable;
        *self = Self { undecodable, ..Self::new(self.format) };
    }

    fn is_bytewise(&self) -> bool {
        matches!(self.format, AppFormat::Raw(Format::G711(_) | Format::G722 | Format::L16 { .. }))
    }

    fn decode_bytes(&mut self, format: Format, pcm: &mut Vec<i16>) -> bool {
        let whole = match format {
            Format::L16 { .. } => self.bytes.len() / 2 * 2,
            _ => self.bytes.len(),
        };
        let count = whole.min(format.payload_bytes(BLOCK_MS).unwrap_or(whole));
        if count == 0 {
            return false;
        }
        self.block.clear();
        self.block.extend(self.bytes.drain(..count));
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_BYTES {
            self.bytes = VecDeque::new();
        }
        match format {
            // No decoder: there is nothing to remember from one sample to the next.
            Format::G711(codec) => codec.decode(&self.block, pcm),
            Format::L16 { byte_order, .. } => byte_order.read(&self.block, pcm),
            _ => {
                if let Some(decoder) = decoder(&mut self.decoder, format) {
                    let _ = decoder.decode(&self.block, pcm);
                }
            }
        }
        true
    }

    fn decode_payload(&mut self, format: Format, pcm: &mut Vec<i16>) -> bool {
        let Some((payload, samples)) = self.payloads.pop_front() else { return false };
        self.payload_samples = self.payload_samples.saturating_sub(samples);
        self.kept_bytes = self.kept_bytes.saturating_sub(payload.len());
        let from = pcm.len();
        if let Some(decoder) = decoder(&mut self.decoder, format)
            && decoder.decode(&payload, pcm).is_err()
        {
            self.undecodable = self.undecodable.saturating_add(1);
            decoder.conceal(LONGEST_CONCEALED_MS, None, pcm);
        }
        // Whatever came out, time goes on by what the payload promised.
        pcm.resize(from + usize::try_from(samples).unwrap_or(0), 0);
        true
    }

    fn decode_file(&mut self, pcm: &mut Vec<i16>) -> Option<u32> {
        let from = pcm.len();
        while let Some(file) = self.files.front_mut() {
            let rate_hz = file.sample_rate_hz();
            // Some frames at the beginning hold nothing of the audio.
            while pcm.len() == from && file.decode(pcm) {}
            if file.samples_left() == 0 {
                self.kept_bytes = self.kept_bytes.saturating_sub(file.size_bytes());
                self.files.pop_front();
            }
            if pcm.len() > from {
                return Some(rate_hz);
            }
        }
        None
    }
}

fn refusal(format: Format) -> FrameError {
    if matches!(format, Format::Opus { .. }) { NO_OPUS } else { NO_AMR_WB }
}

/// The decoder of a format; nothing where the system lacks it.
fn decoder(kept: &mut Option<Decoder>, format: Format) -> Option<&mut Decoder> {
    if kept.is_none() {
        *kept = Decoder::new(format).ok();
    }
    kept.as_mut()
}
