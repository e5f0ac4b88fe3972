//! One track's audio on its way to those who want it, as it came and as samples.

use offhook_codec::{CodecError, Decoder, Format, LONGEST_CONCEALED_MS};

use crate::clock::{Position, tick_of, ticks, to_ms, wide};
use crate::limits::GAP_FILL_MS_MAX;
use crate::slip::{Slip, slip_pcm};

/// One payload of a track, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Where its first sample is.
    pub(crate) at: Position,
    /// How long it lasts.
    pub(crate) ticks: u64,
    /// Said before the leg was bridged to the one it is bridged to now.
    pub(crate) said_before: bool,
    pub(crate) format: Format,
    pub(crate) payload: &'a [u8],
}

/// What of a tx piece the other leg of the bridge has said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Far<'a> {
    /// All of it.
    All,
    /// These samples at the rate of the leg, or none; the rest is an application's.
    Part(&'a [i16]),
}

/// Samples of a track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pcm<'a> {
    /// Where the first one is.
    pub(crate) at: Position,
    pub(crate) rate_hz: u32,
    pub(crate) samples: &'a [i16],
    /// Made up in place of lost audio.
    pub(crate) made_up: bool,
}

/// Decodes one track for all who want samples, its losses concealed.
///
/// There is a decoder only while somebody wants it.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    decoder: Option<Box<Decoder>>,
    /// Where the next sample belongs.
    end: Position,
    pcm: Vec<i16>,
    /// Payloads that could not be decoded.
    pub(crate) undecodable: u64,
}

impl Hearing {
    /// Nobody wants samples now.
    pub(crate) fn rest(&mut self) {
        if self.decoder.take().is_some() {
            self.pcm = Vec::new();
        }
    }

    /// Decode a piece. What was lost before it comes first, if that is short enough to be filled.
    pub(crate) fn take(&mut self, piece: Piece<'_>, out: &mut impl FnMut(Pcm<'_>)) {
        if self.decode(piece, out).is_err() {
            self.undecodable = self.undecodable.saturating_add(1);
        }
    }

    fn decode(&mut self, piece: Piece<'_>, out: &mut impl FnMut(Pcm<'_>)) -> Result<(), CodecError> {
        let decoder = match &mut self.decoder {
            Some(decoder) if decoder.format() == piece.format => decoder,
            other => {
                self.end = piece.at;
                other.insert(Box::new(Decoder::new(piece.format)?))
            }
        };
        let rate_hz = piece.format.sample_rate_hz();
        let gap = piece.at.saturating_sub(self.end);
        if gap <= ticks(GAP_FILL_MS_MAX) {
            let mut gap = Gap { at: self.end, count: gap / tick_of(rate_hz), rate_hz, pcm: &mut self.pcm };
            gap.conceal(decoder, piece.payload, out);
            gap.silence(out);
        }
        self.end = self.end.max(piece.at);
        self.pcm.clear();
        decoder.decode(piece.payload, &mut self.pcm)?;
        follow(piece.ticks, tick_of(rate_hz), &mut self.pcm);
        out(Pcm { at: self.end, rate_hz, samples: &self.pcm, made_up: false });
        self.end = self.end.saturating_add(wide(self.pcm.len()).saturating_mul(tick_of(rate_hz)));
        Ok(())
    }
}

/// Make the samples of a payload that was slipped as a whole last as long as it does.
fn follow(ticks: u64, tick: u64, pcm: &mut Vec<i16>) {
    let length = wide(pcm.len()).saturating_mul(tick);
    if length.saturating_add(tick) == ticks {
        slip_pcm(pcm, Slip::In);
    } else if length == ticks.saturating_add(tick) {
        slip_pcm(pcm, Slip::Out);
    }
}

/// Lost samples that are to be made up.
struct Gap<'a> {
    at: Position,
    count: u64,
    rate_hz: u32,
    pcm: &'a mut Vec<i16>,
}

impl Gap<'_> {
    fn conceal(&mut self, decoder: &mut Decoder, next: &[u8], out: &mut impl FnMut(Pcm<'_>)) {
        let ms = u32::try_from(to_ms(self.count.saturating_mul(tick_of(self.rate_hz)))).unwrap_or(u32::MAX);
        if ms > 0 {
            self.pcm.clear();
            // Only the last lost packet has a copy in the next one, and a gap that is too long to be
            // concealed as a whole ends in silence, not in that copy.
            let next = (ms <= LONGEST_CONCEALED_MS).then_some(next);
            decoder.conceal(ms, next, self.pcm);
            self.give_out(out);
        }
    }

    fn silence(&mut self, out: &mut impl FnMut(Pcm<'_>)) {
        let block = u64::from(self.rate_hz / 50).max(1);
        while self.count > 0 {
            self.pcm.clear();
            self.pcm.resize(usize::try_from(self.count.min(block)).unwrap_or(0), 0);
            self.give_out(out);
        }
    }

    fn give_out(&mut self, out: &mut impl FnMut(Pcm<'_>)) {
        out(Pcm { at: self.at, rate_hz: self.rate_hz, samples: self.pcm, made_up: true });
        let count = wide(self.pcm.len());
        self.at = self.at.saturating_add(count.saturating_mul(tick_of(self.rate_hz)));
        self.count = self.count.saturating_sub(count);
    }
}
