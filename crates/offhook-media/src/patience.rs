//! How long a missing packet is waited for, learned from those that came late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{HOLES_REMEMBERED_MAX, PATIENCE_MAX, PATIENCE_MIN};

/// Waits are told apart by this much.
const STEP: Duration = Duration::from_millis(10);
const STEPS: usize = 20;
/// One packet that came late weighs this much, and half of that after each [`HALF_LIFE`].
const WEIGHT: u32 = 64;
const HALF_LIFE: Duration = Duration::from_secs(30);
/// What speaks for the least patience: a single straggler does not change it, two do.
const PRIOR: u32 = 10 * WEIGHT;
/// The patience is enough for all but one in this many.
const LEFT_OUT: u32 = 10;

/// Packets that have been overtaken, and by whom.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// Numbers from here...
    from: u64,
    /// ...to before here.
    to: u64,
    /// When the first packet behind them came.
    overtaken: Instant,
}

/// The time between a packet and the first that overtook it, as a quantile that forgets.
///
/// Packets in order tell nothing and cost nothing. On a network that keeps the order a gap is believed
/// after [`PATIENCE_MIN`]; where packets come late the patience grows until nine in ten of them come
/// in time, up to [`PATIENCE_MAX`], and shrinks again when that is over.
#[derive(Debug)]
pub(crate) struct Patience {
    newest: Option<u64>,
    holes: VecDeque<Hole>,
    /// How many came so late, oldest waits fading.
    waits: [u32; STEPS],
    halved: Option<Instant>,
    /// When it is to be done again.
    fade_due: Option<Instant>,
    current: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            newest: None,
            holes: VecDeque::new(),
            waits: [0; STEPS],
            halved: None,
            fade_due: None,
            current: PATIENCE_MIN,
        }
    }
}

impl Patience {
    /// How long a packet is held back for one that is missing before it.
    pub(crate) const fn current(&self) -> Duration {
        self.current
    }

    /// Take note of a packet by its extended sequence number.
    #[inline]
    pub(crate) fn arrived(&mut self, now: Instant, number: u64) {
        if self.fade_due.is_none_or(|due| due <= now) {
            self.fade(now);
        }
        let expected = self.newest.map_or(number, |newest| newest.saturating_add(1));
        if number >= expected {
            if number > expected {
                if self.holes.len() == HOLES_REMEMBERED_MAX {
                    self.holes.pop_front();
                }
                self.holes.push_back(Hole { from: expected, to: number, overtaken: now });
            }
            self.newest = Some(number);
        } else if let Some(hole) = self.holes.iter().find(|hole| (hole.from..hole.to).contains(&number)) {
            self.learn(now.saturating_duration_since(hole.overtaken));
        }
    }

    /// The numbering starts anew; what was learned stays.
    pub(crate) fn restart(&mut self) {
        self.newest = None;
        self.holes.clear();
    }

    fn learn(&mut self, wait: Duration) {
        if wait > PATIENCE_MAX {
            // Nothing that may be done would have helped.
            return;
        }
        let step = usize::try_from(wait.as_millis() / STEP.as_millis()).unwrap_or(STEPS).min(STEPS - 1);
        if let Some(weight) = self.waits.get_mut(step) {
            *weight = weight.saturating_add(WEIGHT);
        }
        self.decide();
    }

    fn fade(&mut self, now: Instant) {
        let since = self.halved.replace(now).unwrap_or(now);
        self.fade_due = now.checked_add(HALF_LIFE);
        let passed = now.saturating_duration_since(since).as_secs() / HALF_LIFE.as_secs();
        let by = u32::try_from(passed).unwrap_or(u32::MAX);
        for weight in &mut self.waits {
            *weight = weight.checked_shr(by).unwrap_or(0);
        }
        self.decide();
    }

    fn decide(&mut self) {
        let all = self.waits.iter().fold(PRIOR, |sum, weight| sum.saturating_add(*weight));
        let mut longer = 0_u32;
        let mut steps = 0;
        for (step, weight) in self.waits.iter().enumerate().rev() {
            longer = longer.saturating_add(*weight);
            if longer > all / LEFT_OUT {
                steps = step + 1;
                break;
            }
        }
        // One step more than was needed: what comes in time by a hair today is late tomorrow.
        let wanted = STEP * (u32::try_from(steps).unwrap_or(0) + 1);
        self.current = wanted.clamp(PATIENCE_MIN, PATIENCE_MAX);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;

    struct Bench {
        start: Instant,
        patience: Patience,
    }

    impl Bench {
        fn new() -> Self {
            Self { start: Instant::now(), patience: Patience::default() }
        }

        fn arrived(&mut self, ms: u64, number: u64) {
            self.patience.arrived(self.start + Duration::from_millis(ms), number);
        }

        /// `count` packets of 20 ms, every tenth `late_ms` late, from number `first` on.
        fn late(&mut self, first: u64, count: u64, late_ms: u64) {
            let due = |n: u64| n * 20 + if n % 10 == 3 { late_ms } else { 0 };
            let mut arrivals: Vec<_> = (first..first + count).map(|n| (due(n), n)).collect();
            arrivals.sort_unstable();
            for (ms, number) in arrivals {
                self.arrived(ms, number);
            }
        }

        fn ms(&self) -> u128 {
            self.patience.current().as_millis()
        }
    }

    #[test]
    fn a_network_that_keeps_the_order_is_not_waited_for() {
        let mut bench = Bench::new();
        for number in (0..5000).filter(|number| number % 7 != 0) {
            bench.arrived(number * 20 + number % 3 * 9, number);
        }
        assert_eq!(bench.ms(), 20);
    }

    #[test]
    fn patience_grows_with_the_lateness_and_shrinks_when_it_is_over() {
        let mut bench = Bench::new();
        bench.late(0, 500, 90);
        // Overtaken one packet after it was due, hence 70 ms to wait.
        assert_eq!(bench.ms(), 90);
        bench.late(500, 500, 150);
        assert_eq!(bench.ms(), 150);
        for number in 1000..25_000 {
            bench.arrived(number * 20, number);
        }
        assert_eq!(bench.ms(), 20);
    }

    #[test]
    fn one_straggler_changes_nothing() {
        let mut bench = Bench::new();
        for number in [0, 1, 2, 4, 5, 6, 7, 8, 3, 9] {
            bench.arrived(number * 20 + if number == 3 { 120 } else { 0 }, number);
        }
        assert_eq!(bench.ms(), 20);
    }

    #[test]
    fn patience_has_its_bounds() {
        let mut bench = Bench::new();
        bench.late(0, 2000, 219);
        assert_eq!(bench.ms(), 200);
        let mut bench = Bench::new();
        bench.late(0, 2000, 5000);
        assert_eq!(bench.ms(), 20, "what comes seconds late is not worth waiting for");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bench = Bench::new();
        for number in 0..10_000 {
            bench.arrived(number, number * 2);
        }
        assert_eq!(bench.patience.holes.len(), HOLES_REMEMBERED_MAX);
    }
}
