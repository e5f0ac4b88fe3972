//! Samples of the other leg that wait to be mixed: as few as its jitter allows.

use std::collections::VecDeque;
use std::time::Instant;

use crate::clock::wide;
use crate::limits::{BRIDGE_LATE_MAX, BRIDGE_SPARE_MS_MAX, BRIDGE_WAIT_MS_MAX, BRIDGE_WINDOW_MS};
use crate::rate::Rate;

/// A queue at the rate of the leg whose depth follows how late its audio comes.
///
/// It starts when as much waits as has been needed, waits for more after each time it ran dry, and what was
/// never needed during a window is left out again.
#[derive(Debug)]
pub(crate) struct Jitter {
    leg_rate_hz: u32,
    rate: Rate,
    queue: VecDeque<i16>,
    resampled: Vec<i16>,
    running: bool,
    /// So many milliseconds are to wait before it starts, beside the packet that is due.
    spare_ms: u64,
    dry_since: Option<Instant>,
    /// The least that was left behind a packet during this window, and what was taken in it.
    least: u64,
    taken: u64,
    pub(crate) underruns: u64,
    /// Samples that were left out.
    pub(crate) discarded: u64,
}

impl Jitter {
    pub(crate) fn new(leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            rate: Rate::new(leg_rate_hz, leg_rate_hz),
            queue: VecDeque::new(),
            resampled: Vec::new(),
            running: false,
            spare_ms: 0,
            dry_since: None,
            least: u64::MAX,
            taken: 0,
            underruns: 0,
            discarded: 0,
        }
    }

    /// The leg has this sample rate from here on; what waited is left out.
    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        if leg_rate_hz != self.leg_rate_hz {
            self.clear();
            self.leg_rate_hz = leg_rate_hz;
            self.rate = Rate::new(self.rate.input_hz(), leg_rate_hz);
        }
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Leave out what waits.
    pub(crate) fn clear(&mut self) {
        self.discarded = self.discarded.saturating_add(wide(self.queue.len()));
        self.queue.clear();
        self.rate.reset();
        self.running = false;
        self.dry_since = None;
        self.begin_window();
    }

    pub(crate) fn push(&mut self, now: Instant, pcm: &[i16], rate_hz: u32) {
        if self.rate.input_hz() != rate_hz {
            self.rate = Rate::new(rate_hz, self.leg_rate_hz);
        }
        if let Some(since) = self.dry_since.take()
            && now.saturating_duration_since(since) <= BRIDGE_LATE_MAX
        {
            // It was late, and no pause.
            self.underruns = self.underruns.saturating_add(1);
            self.spare_ms = self.spare_ms.saturating_add(10).min(BRIDGE_SPARE_MS_MAX);
        }
        self.resampled.clear();
        self.rate.process(pcm, &mut self.resampled);
        self.queue.extend(&self.resampled);
        let excess = wide(self.queue.len()).saturating_sub(self.samples(BRIDGE_WAIT_MS_MAX));
        self.leave_out(excess);
    }

    /// Whether a packet of `wanted` samples is due, or would be if there was any.
    pub(crate) fn is_ready(&self, wanted: usize) -> bool {
        self.running
            || wide(self.queue.len()) >= wide(wanted).saturating_add(self.samples(self.spare_ms)).max(1)
    }

    /// Add what there is to a packet that is due at `due`. False when there is nothing.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], due: Instant) -> bool {
        if !self.is_ready(mix.len()) {
            return false;
        }
        let count = self.queue.len().min(mix.len());
        for (slot, sample) in mix.iter_mut().zip(self.queue.drain(..count)) {
            *slot = slot.saturating_add(sample);
        }
        self.running = count == mix.len();
        if self.running {
            self.watch_depth(wide(count));
        } else {
            self.dry_since = Some(due);
            self.begin_window();
        }
        count > 0
    }

    /// Let time pass that nobody hears.
    pub(crate) fn skip(&mut self, count: usize) {
        let count = wide(count.min(self.queue.len()));
        self.leave_out(count);
    }

    /// Forget what was never needed, a window at a time.
    fn watch_depth(&mut self, taken: u64) {
        self.least = self.least.min(wide(self.queue.len()));
        self.taken = self.taken.saturating_add(taken);
        if self.taken < self.samples(BRIDGE_WINDOW_MS) {
            return;
        }
        // A window without running dry: one that was late once is not waited for for ever.
        self.spare_ms = self.spare_ms.saturating_sub(1);
        let enough = self.samples(10);
        if self.least > enough.saturating_mul(3) {
            self.leave_out(self.least.saturating_sub(enough));
        }
        self.begin_window();
    }

    const fn begin_window(&mut self) {
        (self.least, self.taken) = (u64::MAX, 0);
    }

    fn leave_out(&mut self, count: u64) {
        self.queue.drain(..usize::try_from(count).unwrap_or(usize::MAX).min(self.queue.len()));
        self.discarded = self.discarded.saturating_add(count);
    }

    fn samples(&self, ms: u64) -> u64 {
        ms.saturating_mul(u64::from(self.leg_rate_hz)) / 1000
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Packets of 20 ms, each so late, mixed every 20 ms; how many ticks were silent, and what waits at the end.
    fn silent_ticks(lateness_ms: impl Fn(u64) -> u64, count: u64) -> (Vec<u64>, Jitter) {
        let (start, mut jitter, mut silent) = (Instant::now(), Jitter::new(8000), Vec::new());
        let mut arrivals: Vec<_> = (0..count).map(|n| n * 20 + lateness_ms(n)).collect();
        arrivals.sort_unstable();
        let mut arrivals = arrivals.into_iter().peekable();
        for ms in 0..count * 20 {
            let now = start + Duration::from_millis(ms);
            while arrivals.next_if(|at| *at <= ms).is_some() {
                jitter.push(now, &[1; 160], 8000);
            }
            if ms % 20 == 5 {
                let mut mix = [0; 160];
                if !(jitter.mix_into(&mut mix, now) && mix.iter().all(|&sample| sample == 1)) {
                    silent.push(ms / 20);
                }
            }
        }
        (silent, jitter)
    }

    #[test]
    fn what_comes_in_time_waits_less_than_a_packet() {
        let (silent, jitter) = silent_ticks(|_| 0, 1000);
        assert!(silent.is_empty(), "{silent:?}");
        assert_eq!((jitter.underruns, jitter.discarded), (0, 0));
        assert!(jitter.len() <= 160, "{}", jitter.len());
    }

    #[test]
    fn it_learns_how_late_packets_come_and_then_nothing_is_missing() {
        let (silent, jitter) = silent_ticks(|n| n * 7919 % 60, 3000);
        let early = silent.iter().filter(|at| **at < 1000).count();
        assert!(silent.len() - early <= 2, "{silent:?}");
        assert!(jitter.len() <= 160 * 6, "{}", jitter.len());
    }

    #[test]
    fn what_was_waited_for_once_is_not_waited_for_for_ever() {
        // 400 ms late, all at once, then in time.
        let (_, jitter) = silent_ticks(|n| if n < 20 { 400 - n * 20 } else { 0 }, 2000);
        assert!(jitter.len() <= 160 * 2, "{} wait", jitter.len());
        assert!(jitter.discarded > 0);
    }
}
