//! Puts the audio of the rx track in order and on the media clock, without delaying what is in order.

use std::time::Instant;

use offhook_codec::Format;

use crate::clock::{Position, tick_of, ticks, to_ns, to_us, wide};
use crate::drift::Drift;
use crate::limits::{GAP_FILL_MS_MAX, LEAD_MS_MAX, REORDER_PACKETS_MAX};
use crate::patience::Patience;
use crate::piece::Piece;
use crate::slip::{Slip, slip_payload, slips_bytes};

/// Buffers that are kept for packets to come.
const SPARE_MAX: usize = 4;

/// What a packet brings to the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Audio whose first sample has this RTP timestamp.
    Audio(u32),
    /// Nothing to hear, but a number in the sequence.
    Nothing,
}

#[derive(Debug)]
struct Held {
    number: u64,
    content: Content,
    payload: Vec<u8>,
    arrived: Instant,
    said_before: bool,
}

/// Takes packets by extended sequence number and gives out audio by position.
///
/// Positions never go back and never overlap. A short gap in RTP timestamps is a gap of the same
/// length in positions; a longer one, or a step back, makes the clock jump to the time of arrival.
#[derive(Debug)]
pub(crate) struct Reorder {
    format: Format,
    /// Ticks of one count of the RTP clock.
    tick: u64,
    next_number: Option<u64>,
    /// RTP timestamp that belongs to `next_at`; `None` until audio came since the last restart.
    next_timestamp: Option<u32>,
    next_at: Position,
    heard: bool,
    /// Sorted by number; the front may be given out first.
    held: Vec<Held>,
    spare: Vec<Vec<u8>>,
    pub(crate) late: u64,
    pub(crate) ahead: u64,
    pub(crate) resyncs: u64,
    pub(crate) gap: u64,
    /// Payloads whose length cannot be told: not of the format.
    pub(crate) undecodable: u64,
    /// Samples left out or put in, to follow the far end's clock.
    pub(crate) slipped: u64,
    pub(crate) patience: Patience,
    pub(crate) drift: Drift,
    /// A payload that is a sample longer or shorter than it came.
    slip_payload: Vec<u8>,
}

impl Reorder {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            tick: tick_of(format.clock_rate_hz()),
            next_number: None,
            next_timestamp: None,
            next_at: 0,
            heard: false,
            held: Vec::new(),
            spare: Vec::new(),
            late: 0,
            ahead: 0,
            resyncs: 0,
            gap: 0,
            undecodable: 0,
            slipped: 0,
            patience: Patience::default(),
            drift: Drift::default(),
            slip_payload: Vec::new(),
        }
    }

    /// Audio comes in another format from here on. What is held is of the old one, and lost.
    pub(crate) fn change_format(&mut self, format: Format) {
        self.late = self.late.saturating_add(wide(self.held.len()));
        self.held.clear();
        self.next_number = None;
        self.patience.restart();
        self.drift.restart();
        let tick = tick_of(format.clock_rate_hz());
        if tick != self.tick {
            self.next_timestamp = None;
        }
        (self.format, self.tick) = (format, tick);
    }

    /// Take one packet; `here` is the position of `now`. Audio comes out through `out`.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        here: Position,
        number: u64,
        content: Content,
        payload: &[u8],
        out: &mut impl FnMut(Piece<'_>),
    ) {
        self.patience.arrived(now, number);
        if let Content::Audio(timestamp) = content
            && self.next_number.is_none_or(|next| number >= next)
        {
            let now_us = i64::try_from(to_us(here)).unwrap_or(i64::MAX);
            self.drift.arrived(now_us, timestamp, self.format.clock_rate_hz());
        }
        loop {
            let next = *self.next_number.get_or_insert(number);
            if number < next {
                self.late = self.late.saturating_add(1);
                return;
            }
            if number == next {
                self.release(here, (number, false), content, payload, out);
                self.release_successors(here, out);
                return;
            }
            if self.held.len() < REORDER_PACKETS_MAX {
                self.hold(now, number, content, payload);
                return;
            }
            // So many packets have come after the missing one that it is lost.
            self.skip(here, out);
        }
    }

    /// What is held has been said to somebody else than what comes from here on.
    pub(crate) fn hold_over(&mut self) {
        for held in &mut self.held {
            held.said_before = true;
        }
    }

    /// Give up waiting for what has not come in time.
    pub(crate) fn handle_timeout(&mut self, now: Instant, here: Position, out: &mut impl FnMut(Piece<'_>)) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.skip(here, out);
        }
    }

    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.arrived).min()?.checked_add(self.patience.current())
    }

    /// The numbering starts anew: give out what is held, then believe the next packet.
    pub(crate) fn restart(&mut self, here: Position, out: &mut impl FnMut(Piece<'_>)) {
        while !self.held.is_empty() {
            self.skip(here, out);
        }
        self.next_number = None;
        self.next_timestamp = None;
        self.patience.restart();
        self.drift.restart();
    }

    fn hold(&mut self, now: Instant, number: u64, content: Content, payload: &[u8]) {
        let place = self.held.partition_point(|held| held.number < number);
        if self.held.get(place).is_some_and(|held| held.number == number) {
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(payload);
        self.held.insert(place, Held { number, content, payload: copy, arrived: now, said_before: false });
    }

    /// Treat all before the first held packet as lost.
    fn skip(&mut self, here: Position, out: &mut impl FnMut(Piece<'_>)) {
        if let Some(first) = self.held.first() {
            self.next_number = Some(first.number);
        }
        self.release_successors(here, out);
    }

    fn release_successors(&mut self, here: Position, out: &mut impl FnMut(Piece<'_>)) {
        while !self.held.is_empty() && self.held.first().map(|held| held.number) == self.next_number {
            let held = self.held.remove(0);
            self.release(here, (held.number, held.said_before), held.content, &held.payload, out);
            if self.spare.len() < SPARE_MAX {
                self.spare.push(held.payload);
            }
        }
    }

    fn release(
        &mut self,
        here: Position,
        (number, said_before): (u64, bool),
        content: Content,
        payload: &[u8],
        out: &mut impl FnMut(Piece<'_>),
    ) {
        self.next_number = Some(number.saturating_add(1));
        let Content::Audio(timestamp) = content else { return };
        if payload.is_empty() {
            return;
        }
        let Some(length) = self.format.clock_ticks_in(payload) else {
            // As good as lost: the next one tells how much.
            self.undecodable = self.undecodable.saturating_add(1);
            return;
        };
        let at = self.place(here, timestamp);
        if at > here.saturating_add(ticks(LEAD_MS_MAX)) {
            // Cut out rather than late: what follows comes in its place.
            self.ahead = self.ahead.saturating_add(1);
            self.next_timestamp = None;
            return;
        }
        let ticks = u64::from(length).saturating_mul(self.tick);
        let slip = if self.drift.is_even() { None } else { self.slip(ticks, payload) };
        let ticks = slip.map_or(ticks, |slip| slip.apply(ticks, slip_ticks(self.format)));
        self.next_at = at.saturating_add(ticks);
        self.next_timestamp = Some(timestamp.wrapping_add(length));
        self.heard = true;
        let payload = if slip.is_some() && slips_bytes(self.format) { &self.slip_payload } else { payload };
        out(Piece { at, ticks, said_before, format: self.format, payload });
    }

    /// Whether this payload is to last a sample more or less; in `slip_payload` it does.
    fn slip(&mut self, ticks: u64, payload: &[u8]) -> Option<Slip> {
        let sample_ns = to_ns(slip_ticks(self.format));
        let slip = self.drift.next_slip(to_ns(ticks), sample_ns)?;
        if slips_bytes(self.format) && !slip_payload(self.format, payload, slip, &mut self.slip_payload) {
            return None;
        }
        self.drift.slipped(slip, sample_ns);
        self.slipped = self.slipped.saturating_add(1);
        Some(slip)
    }

    /// The position of the sample with this RTP timestamp.
    fn place(&mut self, here: Position, timestamp: u32) -> Position {
        if let Some(next) = self.next_timestamp {
            let gap = u64::from(timestamp.wrapping_sub(next)).saturating_mul(self.tick);
            if gap <= ticks(GAP_FILL_MS_MAX) {
                self.gap = self.gap.saturating_add(gap);
                return self.next_at.saturating_add(gap);
            }
        }
        if self.heard {
            self.resyncs = self.resyncs.saturating_add(1);
            self.drift.restart();
        }
        self.next_at.max(here - here % self.tick)
    }
}

/// Ticks that are slipped at once: a sample, or the two that one byte of G.722 holds.
fn slip_ticks(format: Format) -> u64 {
    tick_of(if slips_bytes(format) { format.clock_rate_hz() } else { format.sample_rate_hz() })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;
    use offhook_codec::Codec;
    use std::time::Duration;

    /// Place in samples, and what it is filled with.
    fn seen(piece: Piece<'_>) -> (u64, u8) {
        (piece.at / 882, piece.payload[0])
    }

    struct Bench {
        start: Instant,
        reorder: Reorder,
        out: Vec<(u64, u8)>,
    }

    impl Bench {
        fn new() -> Self {
            Self { start: Instant::now(), reorder: Reorder::new(Codec::Pcmu.into()), out: Vec::new() }
        }

        /// Packet `n` of 20 ms with RTP timestamp `160 n`, at `ms`.
        fn audio(&mut self, ms: u64, n: u64) {
            self.at(ms, n, Content::Audio(u32::try_from(n * 160).unwrap()));
        }

        fn at(&mut self, ms: u64, n: u64, content: Content) {
            let payload = [n.to_le_bytes()[0]; 160];
            let out = &mut self.out;
            let now = self.start + Duration::from_millis(ms);
            self.reorder.receive(now, ticks(ms), n, content, &payload, &mut |piece| out.push(seen(piece)));
        }

        fn timeout(&mut self, ms: u64) {
            let out = &mut self.out;
            let now = self.start + Duration::from_millis(ms);
            self.reorder.handle_timeout(now, ticks(ms), &mut |piece| out.push(seen(piece)));
        }
    }

    #[test]
    fn what_is_in_order_goes_straight_through() {
        let mut bench = Bench::new();
        for n in 0..5 {
            bench.audio(n * 20, n);
            assert_eq!(bench.out.len() as u64, n + 1);
        }
        assert_eq!(bench.out, [(0, 0), (160, 1), (320, 2), (480, 3), (640, 4)]);
        assert_eq!(bench.reorder.poll_timeout(), None);
    }

    #[test]
    fn two_that_are_swapped_are_put_right() {
        let mut bench = Bench::new();
        for n in [0, 2, 1, 3] {
            bench.audio(n * 20, n);
        }
        assert_eq!(bench.out, [(0, 0), (160, 1), (320, 2), (480, 3)]);
        assert_eq!((bench.reorder.late, bench.reorder.gap), (0, 0));
    }

    #[test]
    fn a_loss_is_believed_when_no_more_can_be_held() {
        let mut bench = Bench::new();
        bench.audio(0, 0);
        let last = REORDER_PACKETS_MAX as u64 + 1;
        for n in 2..=last {
            bench.audio(0, n);
        }
        assert_eq!(bench.out, [(0, 0)]);
        bench.audio(0, last + 1);
        assert_eq!(bench.out.len() as u64, last + 1);
        bench.audio(0, 1);
        assert_eq!((bench.reorder.late, bench.reorder.gap), (1, 160 * 882));
    }

    #[test]
    fn a_loss_is_believed_after_twenty_milliseconds_where_the_order_is_kept() {
        let mut bench = Bench::new();
        bench.audio(0, 0);
        bench.audio(40, 2);
        bench.timeout(59);
        assert_eq!(bench.out.len(), 1);
        bench.timeout(60);
        assert_eq!(bench.out, [(0, 0), (320, 2)]);
        assert_eq!(bench.reorder.poll_timeout(), None);
    }

    #[test]
    fn a_loss_is_believed_later_where_packets_come_late() {
        let mut bench = Bench::new();
        // Every tenth packet is 90 ms late, more often after a while than it is given up.
        let due = |n: u64| n * 20 + if n % 10 == 3 { 90 } else { 0 };
        let mut arrivals: Vec<_> = (0..600).map(|n| (due(n), n)).collect();
        arrivals.sort_unstable();
        for (ms, n) in arrivals {
            bench.timeout(ms);
            bench.audio(ms, n);
        }
        assert!(bench.reorder.late <= 3, "{} late", bench.reorder.late);
        let numbers: Vec<u8> = bench.out.iter().rev().take(500).rev().map(|(_, n)| *n).collect();
        assert!(numbers.windows(2).all(|two| two[1] == two[0].wrapping_add(1)));
    }

    #[test]
    fn a_long_pause_jumps_to_the_time_of_arrival() {
        let mut bench = Bench::new();
        bench.audio(0, 0);
        bench.at(3000, 1, Content::Audio(160 + 8001));
        assert_eq!(bench.out, [(0, 0), (24_000, 1)]);
        assert_eq!(bench.reorder.resyncs, 1);
    }

    #[test]
    fn audio_cannot_run_away_from_real_time() {
        let mut bench = Bench::new();
        for n in 0..2000 {
            bench.audio(0, n);
        }
        assert_eq!(bench.out.len(), 501);
        assert_eq!(bench.reorder.ahead, 1499);
        bench.audio(40, 2000);
        assert_eq!(bench.out.last(), Some(&(501 * 160, 208)));
    }

    #[test]
    fn a_step_back_never_overlaps() {
        let mut bench = Bench::new();
        bench.at(0, 0, Content::Audio(5000));
        bench.at(5, 1, Content::Audio(100));
        bench.at(10, 2, Content::Audio(260));
        assert_eq!(bench.out, [(0, 0), (160, 1), (320, 2)]);
    }

    #[test]
    fn packets_without_audio_keep_the_numbers_in_line() {
        let mut bench = Bench::new();
        bench.audio(0, 0);
        bench.at(20, 1, Content::Nothing);
        bench.at(40, 2, Content::Nothing);
        bench.at(60, 3, Content::Audio(480));
        assert_eq!(bench.out, [(0, 0), (480, 3)]);
        assert_eq!(bench.reorder.poll_timeout(), None);
    }

    #[test]
    fn a_restart_gives_out_what_was_held() {
        let mut bench = Bench::new();
        bench.audio(0, 0);
        bench.audio(20, 2);
        let out = &mut bench.out;
        bench.reorder.restart(ticks(40), &mut |piece| out.push(seen(piece)));
        bench.at(40, 9000, Content::Audio(77));
        assert_eq!(bench.out, [(0, 0), (320, 2), (480, 40)]);
        assert_eq!(bench.reorder.resyncs, 1);
    }
}
