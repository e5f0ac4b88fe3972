//! What a leg gets from the one it is bridged to, on its way out.
//!
//! While nothing else is to be heard and the codec is the same, packets are passed on at once and untouched;
//! else their audio is decoded, waits in a small buffer and is mixed with the rest.

use std::f64::consts::TAU;
use std::time::Instant;

use offhook_codec::Format;
use offhook_rtp::{SeqNo, TelephoneEvent, digit_of};

use crate::clock::Position;
use crate::jitter::Jitter;
use crate::lane::passes;
use crate::limits::BRIDGE_SETTLE;
use crate::piece::{Hearing, Piece};

/// How numbers and timestamps of packets that are passed on become the leg's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    /// To be added to the far end's number.
    pub(crate) seq_offset: u16,
    /// A timestamp of the far end, and its place here.
    pub(crate) timestamp: u32,
    pub(crate) at: Position,
    /// The leg's next number, if nothing else was sent meanwhile.
    pub(crate) next_seq: u16,
    /// Nothing before this number of the far end may follow.
    pub(crate) first_seq: Option<SeqNo>,
}

/// A key under way, as it is sent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySent {
    /// The far end's timestamp of it.
    pub(crate) timestamp: u32,
    /// Its place here.
    pub(crate) at: Position,
}

/// The receiving end of one direction of a bridge.
#[derive(Debug)]
pub(crate) struct Relay {
    leg_rate_hz: u32,
    /// Packets are passed on as they are.
    pub(crate) passing: bool,
    /// When something else was last to be heard.
    busy_at: Option<Instant>,
    pub(crate) anchor: Option<Anchor>,
    pub(crate) key: Option<KeySent>,
    /// What is to be added to a position of the other leg.
    offset: Option<i64>,
    hearing: Hearing,
    far: Jitter,
    said: Jitter,
    tone: Option<Tone>,
}

impl Relay {
    pub(crate) fn new(leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            passing: false,
            busy_at: None,
            anchor: None,
            key: None,
            offset: None,
            hearing: Hearing::default(),
            far: Jitter::new(leg_rate_hz),
            said: Jitter::new(leg_rate_hz),
            tone: None,
        }
    }

    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        self.leg_rate_hz = leg_rate_hz;
        self.far.set_leg_rate(leg_rate_hz);
        self.said.set_leg_rate(leg_rate_hz);
        self.tone = None;
        self.anchor = None;
        self.offset = None;
    }

    /// A packet has come that is not sent on: what follows takes its number.
    pub(crate) fn close_gap(&mut self, seq: SeqNo) {
        let Some(anchor) = &mut self.anchor else { return };
        let number = SeqNo(seq.0.wrapping_add(anchor.seq_offset));
        if number.distance_from(SeqNo(anchor.next_seq)) >= 0 {
            anchor.seq_offset = anchor.seq_offset.wrapping_sub(1);
            anchor.first_seq = Some(seq.next());
        }
    }

    /// Something else is to be heard at this moment: it is mixed from here on.
    pub(crate) fn mix(&mut self, now: Instant) {
        self.busy_at = Some(now);
        self.passing = false;
    }

    /// Whether packets of `from` may be passed on now to a leg of `to`.
    pub(crate) fn may_pass(&self, now: Instant, from: Format, to: Format) -> bool {
        let settled = self.busy_at.is_none_or(|at| now.saturating_duration_since(at) >= BRIDGE_SETTLE);
        passes_on(from, to) && settled && !self.said.is_running() && !self.is_sounding()
    }

    /// Packets are passed on from here on; nothing is to wait any more.
    pub(crate) fn pass(&mut self) {
        self.passing = true;
        self.far.clear();
        self.said.clear();
        self.hearing.rest();
    }

    /// Samples that wait to be mixed.
    pub(crate) fn waiting(&self) -> usize {
        self.far.len()
    }

    /// The place here of a position of the other leg.
    pub(crate) fn place(
        &mut self,
        here: Position,
        other_here: Position,
        at: Position,
        tick: u64,
    ) -> Position {
        let signed = |position| i64::try_from(position).unwrap_or(i64::MAX);
        let offset = *self.offset.get_or_insert_with(|| {
            let tick = signed(tick.max(1));
            signed(here).saturating_sub(signed(other_here)) / tick * tick
        });
        at.saturating_add_signed(offset)
    }

    /// Decode a payload and keep its samples.
    pub(crate) fn hear(&mut self, now: Instant, piece: Piece<'_>) {
        let far = &mut self.far;
        self.hearing.take(piece, &mut |pcm| far.push(now, pcm.samples, pcm.rate_hz));
    }

    /// Keep what an application of the other leg says.
    pub(crate) fn say(&mut self, now: Instant, pcm: &[i16], rate_hz: u32) {
        self.mix(now);
        self.said.push(now, pcm, rate_hz);
    }

    /// Let a key be heard as the tones it is made of, as far as it has come.
    pub(crate) fn sound(&mut self, now: Instant, timestamp: u32, event: TelephoneEvent, clock_rate_hz: u32) {
        let Some((row, column)) = digit_of(event.event).and_then(frequencies) else { return };
        self.mix(now);
        let ms = u64::from(event.duration) * 1000 / u64::from(clock_rate_hz.max(1));
        let wanted = ms.max(TONE_MS_MIN).saturating_mul(u64::from(self.leg_rate_hz)) / 1000;
        match &mut self.tone {
            Some(tone) if tone.timestamp == timestamp => tone.wanted = tone.wanted.max(wanted),
            tone => *tone = Some(Tone { timestamp, row, column, made: 0, wanted }),
        }
    }

    fn is_sounding(&self) -> bool {
        self.tone.as_ref().is_some_and(Tone::is_sounding)
    }

    pub(crate) fn is_ready(&self, wanted: usize) -> bool {
        self.is_sounding() || (!self.passing && self.far.is_ready(wanted)) || self.said.is_ready(wanted)
    }

    /// Add what there is to the packet that is due at `due`; what the other leg's far end says is put into
    /// `far` too.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], far: &mut Vec<i16>, due: Instant) -> bool {
        far.resize(mix.len(), 0);
        let mut heard = !self.passing && self.far.mix_into(far, due);
        if heard {
            add(mix, far);
        } else {
            far.clear();
        }
        heard |= self.said.mix_into(mix, due);
        if let Some(tone) = self.tone.as_mut().filter(|tone| tone.is_sounding()) {
            tone.mix_into(mix, self.leg_rate_hz);
            heard = true;
        }
        heard
    }

    /// Let a packet go by that carries something else.
    pub(crate) fn skip(&mut self, count: usize) {
        self.far.skip(count);
        self.said.skip(count);
    }

    pub(crate) const fn underruns(&self) -> u64 {
        self.far.underruns.saturating_add(self.said.underruns)
    }

    /// In milliseconds.
    pub(crate) fn discarded_ms(&self) -> u64 {
        let samples = self.far.discarded.saturating_add(self.said.discarded);
        samples.saturating_mul(1000) / u64::from(self.leg_rate_hz.max(1))
    }

    pub(crate) const fn undecodable(&self) -> u64 {
        self.hearing.undecodable
    }
}

/// Mix `other` into `mix`.
pub(crate) fn add(mix: &mut [i16], other: &[i16]) {
    for (slot, sample) in mix.iter_mut().zip(other) {
        *slot = slot.saturating_add(*sample);
    }
}

/// Whether a payload of one leg is one of the other.
pub(crate) fn passes_on(from: Format, to: Format) -> bool {
    match (from, to) {
        (Format::L16 { .. }, Format::L16 { .. }) | (Format::AmrWb { .. }, Format::AmrWb { .. }) => from == to,
        _ => passes(from, to),
    }
}

/// Whether two legs of these formats can hear each other on this system.
pub fn can_bridge(one: Format, other: Format) -> bool {
    passes_on(one, other) || (one.transcodable() && other.transcodable())
}

/// A key shorter than this would not be understood (Q.24).
const TONE_MS_MIN: u64 = 80;
/// Of each of the two tones: 10 dB below full scale.
const TONE_AMPLITUDE: f64 = 10_000.0;

/// The two tones of a key (Q.23).
#[derive(Clone, Copy, Debug)]
struct Tone {
    timestamp: u32,
    row: f64,
    column: f64,
    made: u64,
    wanted: u64,
}

impl Tone {
    const fn is_sounding(&self) -> bool {
        self.made < self.wanted
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "samples of a sine")]
    fn mix_into(&mut self, mix: &mut [i16], rate_hz: u32) {
        let left = usize::try_from(self.wanted.saturating_sub(self.made)).unwrap_or(usize::MAX);
        for slot in mix.iter_mut().take(left) {
            let time = self.made as f64 / f64::from(rate_hz.max(1));
            let value = (TAU * self.row * time).sin() + (TAU * self.column * time).sin();
            *slot = slot.saturating_add((TONE_AMPLITUDE * value) as i16);
            self.made = self.made.saturating_add(1);
        }
    }
}

/// Row and column of a key in Hz (Q.23).
fn frequencies(digit: char) -> Option<(f64, f64)> {
    const KEYS: &str = "123A456B789C*0#D";
    let rows = [697.0, 770.0, 852.0, 941.0];
    let columns = [1209.0, 1336.0, 1477.0, 1633.0];
    let place = KEYS.chars().position(|key| key == digit)?;
    Some((*rows.get(place / 4)?, *columns.get(place % 4)?))
}
