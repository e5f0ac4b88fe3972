//! What a receiver knows about one source (RFC 3550 appendix A.1, A.3, A.8).

use crate::rtcp::ReportBlock;
use crate::seq::SeqNo;

/// A forward jump of this many packets is believed at once (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;
/// A packet this much older than the newest is only late (RFC 3550 A.1).
const MAX_MISORDER: u64 = 100;

/// How one packet stands to those before it. Numbers are sequence numbers extended by their wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before it.
    New(u64),
    /// Older than the newest, and not seen before.
    Old(u64),
    /// Seen before.
    Duplicate,
    /// Far off: believed only when its successor comes next.
    Suspect,
    /// The second of two packets in a row after a jump: numbering starts anew here.
    Restarted(u64),
}

/// Counts one source's packets: order, loss, duplicates, jitter.
#[derive(Clone, Debug, Default)]
pub struct ReceiverStats {
    ssrc: u32,
    started: bool,
    base: u64,
    newest: u64,
    /// Bit n is set when `newest - n` has been received; wider than `MAX_MISORDER`.
    seen: u128,
    awaited_after_jump: Option<SeqNo>,
    received: u64,
    duplicate: u64,
    reordered: u64,
    lost_before_restart: u64,
    duplicate_before_restart: u64,
    expected_prior: u64,
    received_prior: u64,
    last_timestamp: u32,
    transit: Option<u32>,
    /// Times 16, as in RFC 3550 A.8.
    jitter_q4: u32,
}

impl ReceiverStats {
    /// Count a packet of `ssrc`. Another SSRC than before starts anew; earlier losses stay counted.
    /// `arrival` is the time of arrival in units of the RTP clock, from any origin.
    pub fn receive(&mut self, ssrc: u32, seq: SeqNo, timestamp: u32, arrival: u32) -> Arrival {
        if !self.started || ssrc != self.ssrc {
            let restarted = self.started;
            self.begin(ssrc, seq);
            self.measure_jitter(timestamp, arrival);
            return if restarted { Arrival::Restarted(self.newest) } else { Arrival::New(self.newest) };
        }
        let verdict = self.place(seq);
        match verdict {
            Arrival::Suspect => {}
            Arrival::Duplicate => {
                self.received = self.received.saturating_add(1);
                self.duplicate = self.duplicate.saturating_add(1);
            }
            Arrival::Restarted(_) => self.measure_jitter(timestamp, arrival),
            Arrival::New(_) | Arrival::Old(_) => {
                self.received = self.received.saturating_add(1);
                self.measure_jitter(timestamp, arrival);
            }
        }
        verdict
    }

    fn begin(&mut self, ssrc: u32, seq: SeqNo) {
        *self = Self {
            ssrc,
            started: true,
            // One wrap ahead, so that numbers before the first stay positive.
            base: 0x1_0000 | u64::from(seq.0),
            newest: 0x1_0000 | u64::from(seq.0),
            seen: 1,
            received: 1,
            reordered: self.reordered,
            lost_before_restart: self.lost(),
            duplicate_before_restart: self.duplicates(),
            jitter_q4: self.jitter_q4,
            ..Self::default()
        };
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the sequence number")]
    fn place(&mut self, seq: SeqNo) -> Arrival {
        let newest = SeqNo(self.newest as u16);
        let ahead = seq.0.wrapping_sub(newest.0);
        if ahead == 0 {
            return Arrival::Duplicate;
        }
        if ahead < MAX_DROPOUT {
            self.awaited_after_jump = None;
            self.newest = self.newest.saturating_add(u64::from(ahead));
            // Nearly always it is the next one, and shifting by a constant is cheaper.
            let seen = if ahead == 1 {
                self.seen << 1
            } else {
                self.seen.checked_shl(u32::from(ahead)).unwrap_or(0)
            };
            self.seen = seen | 1;
            return Arrival::New(self.newest);
        }
        let behind = u64::from(newest.0.wrapping_sub(seq.0));
        if behind <= MAX_MISORDER {
            let bit = 1_u128.checked_shl(behind as u32).unwrap_or(0);
            if self.seen & bit != 0 {
                return Arrival::Duplicate;
            }
            self.seen |= bit;
            self.reordered = self.reordered.saturating_add(1);
            let place = self.newest.saturating_sub(behind);
            self.base = self.base.min(place);
            return Arrival::Old(place);
        }
        if self.awaited_after_jump == Some(seq) {
            self.begin(self.ssrc, seq);
            return Arrival::Restarted(self.newest);
        }
        self.awaited_after_jump = Some(seq.next());
        Arrival::Suspect
    }

    fn measure_jitter(&mut self, timestamp: u32, arrival: u32) {
        // Packets of one telephone-event share a timestamp: their spacing is not jitter.
        if self.transit.is_some() && timestamp == self.last_timestamp {
            return;
        }
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            let decay = self.jitter_q4.saturating_add(8) >> 4;
            self.jitter_q4 = self.jitter_q4.saturating_sub(decay).saturating_add(difference);
        }
        self.transit = Some(transit);
        self.last_timestamp = timestamp;
    }

    fn expected(&self) -> u64 {
        if self.started { self.newest.saturating_sub(self.base).saturating_add(1) } else { 0 }
    }

    /// The RTP clock has another rate from here on: what was measured by the old one is forgotten.
    pub fn change_clock(&mut self) {
        self.transit = None;
        self.jitter_q4 = 0;
    }

    /// Packets that should have come and did not, over all restarts.
    pub fn lost(&self) -> u64 {
        let unique = self.received.saturating_sub(self.duplicate);
        self.lost_before_restart.saturating_add(self.expected().saturating_sub(unique))
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicate_before_restart.saturating_add(self.duplicate)
    }

    /// Packets that came after a later one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Interarrival jitter in units of the RTP clock.
    pub fn jitter(&self) -> u32 {
        self.jitter_q4 >> 4
    }

    /// The report block for this source; begins a new interval. `None` before the first packet.
    #[expect(clippy::cast_possible_truncation, reason = "the report carries the low 32 bits")]
    pub fn report(&mut self, last_sr: u32, delay_since_last_sr: u32) -> Option<ReportBlock> {
        if !self.started {
            return None;
        }
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received.saturating_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction_lost =
            (lost_interval << 8).checked_div(expected_interval).map_or(0, |fraction| fraction.min(255) as u8);
        let lost = expected.cast_signed().saturating_sub(self.received.cast_signed());
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.newest.saturating_sub(0x1_0000) as u32,
            jitter: self.jitter(),
            last_sr,
            delay_since_last_sr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(stats: &mut ReceiverStats, seqs: &[u16]) -> Vec<Arrival> {
        seqs.iter()
            .map(|&seq| stats.receive(1, SeqNo(seq), u32::from(seq) * 160, u32::from(seq) * 160))
            .collect()
    }

    #[test]
    fn loss_counts_what_was_expected_and_never_came() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, &[10, 11, 14, 15]);
        assert_eq!((stats.lost(), stats.duplicates(), stats.reordered()), (2, 0, 0));
        feed(&mut stats, &[12]);
        assert_eq!((stats.lost(), stats.reordered()), (1, 1));
    }

    #[test]
    fn a_duplicate_hides_no_loss() {
        let mut stats = ReceiverStats::default();
        let arrivals = feed(&mut stats, &[10, 10, 12, 10, 12]);
        assert_eq!(arrivals[1], Arrival::Duplicate);
        assert_eq!(arrivals[3], Arrival::Duplicate);
        assert_eq!((stats.lost(), stats.duplicates()), (1, 3));
    }

    #[test]
    fn numbers_are_extended_over_the_wrap_in_both_directions() {
        let mut stats = ReceiverStats::default();
        let arrivals = feed(&mut stats, &[65534, 0, 65535, 1]);
        let [Arrival::New(a), Arrival::New(b), Arrival::Old(c), Arrival::New(d)] = arrivals[..] else {
            panic!("{arrivals:?}")
        };
        assert_eq!((b - a, c - a, d - a), (2, 1, 3));
        assert_eq!(stats.lost(), 0);
    }

    #[test]
    fn a_packet_before_the_first_widens_what_is_expected() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, &[10, 8, 11]);
        assert_eq!(stats.lost(), 1);
    }

    #[test]
    fn a_jump_is_believed_after_two_in_a_row() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, &[10, 11, 13]);
        assert_eq!(feed(&mut stats, &[30000]), [Arrival::Suspect]);
        assert!(matches!(feed(&mut stats, &[30001])[..], [Arrival::Restarted(_)]));
        assert_eq!(stats.lost(), 1, "the jump itself is no loss");
        assert!(matches!(feed(&mut stats, &[30002])[..], [Arrival::New(_)]));
    }

    #[test]
    fn another_ssrc_starts_anew() {
        let mut stats = ReceiverStats::default();
        feed(&mut stats, &[10, 12]);
        assert!(matches!(stats.receive(2, SeqNo(500), 0, 0), Arrival::Restarted(_)));
        assert_eq!(stats.lost(), 1);
        assert_eq!(stats.report(0, 0).unwrap().ssrc, 2);
    }

    #[test]
    fn jitter_follows_rfc_3550_a8() {
        let mut stats = ReceiverStats::default();
        // 20 ms packets; every other one comes 10 ms (80 units) late: |D| is always 80.
        let mut expected = 0.0_f64;
        for n in 0..200_u32 {
            let late = if n % 2 == 1 { 80 } else { 0 };
            stats.receive(1, SeqNo(u16::try_from(n).unwrap()), n * 160, n * 160 + late);
            if n > 0 {
                expected += (80.0 - expected) / 16.0;
            }
        }
        assert!((f64::from(stats.jitter()) - expected).abs() <= 1.0, "{} {expected}", stats.jitter());
    }

    #[test]
    fn packets_that_share_a_timestamp_are_no_jitter() {
        let mut stats = ReceiverStats::default();
        for n in 0..20 {
            stats.receive(1, SeqNo(n), 160, u32::from(n) * 160);
        }
        assert_eq!(stats.jitter(), 0);
    }

    #[test]
    fn a_report_tells_the_interval_and_the_sum() {
        let mut stats = ReceiverStats::default();
        assert_eq!(stats.report(0, 0), None);
        feed(&mut stats, &[0, 1, 3, 5]);
        let first = stats.report(7, 8).unwrap();
        assert_eq!(first.fraction_lost, u8::try_from(2 * 256 / 6).unwrap());
        assert_eq!((first.cumulative_lost, first.highest_seq), (2, 5));
        assert_eq!((first.last_sr, first.delay_since_last_sr), (7, 8));
        feed(&mut stats, &[6, 7]);
        let second = stats.report(0, 0).unwrap();
        assert_eq!((second.fraction_lost, second.cumulative_lost), (0, 2));
    }

    proptest! {
        #[test]
        fn counters_add_up_whatever_comes(seqs in proptest::collection::vec(any::<u16>(), 0..200)) {
            let mut stats = ReceiverStats::default();
            for seq in seqs {
                stats.receive(1, SeqNo(seq), u32::from(seq).wrapping_mul(160), 0);
                stats.report(0, 0);
            }
        }

        #[test]
        fn a_shuffled_window_loses_nothing(start: u16, order in Just((0_u16..60).collect::<Vec<_>>()).prop_shuffle()) {
            let mut stats = ReceiverStats::default();
            for step in order {
                stats.receive(1, SeqNo(start.wrapping_add(step)), 0, 0);
            }
            prop_assert_eq!(stats.lost(), 0);
            prop_assert_eq!(stats.duplicates(), 0);
        }
    }
}
