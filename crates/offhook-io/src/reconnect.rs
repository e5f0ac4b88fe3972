//! When a lost socket is tried again, and when it is given up (contract 4.7).

use std::time::{Duration, Instant};

use crate::limits::RECONNECT_SETTLED;

/// What may be tried to replace a lost socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconnectPlan {
    /// The pause before each try; none for a stream that ends with its socket.
    pub pauses: Vec<Duration>,
    /// From the loss on; then no try begins or goes on.
    pub total: Duration,
}

/// Where one stream stands in its plan. A socket that is lost again before it has settled belongs to
/// the loss before it, so that an app that accepts and drops is not connected to for ever.
#[derive(Debug)]
pub(crate) struct Reconnect {
    plan: ReconnectPlan,
    tries: usize,
    give_up_at: Option<Instant>,
    opened_at: Option<Instant>,
}

impl Reconnect {
    pub(crate) fn new(plan: ReconnectPlan) -> Self {
        Self { plan, tries: 0, give_up_at: None, opened_at: None }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.plan.pauses.is_empty()
    }

    /// A socket was there before.
    pub(crate) fn has_been_open(&self) -> bool {
        self.opened_at.is_some()
    }

    /// Tries since the loss.
    pub(crate) fn tries(&self) -> usize {
        self.tries
    }

    /// So many tries were made.
    pub(crate) fn tried(&mut self, count: usize) {
        self.tries = self.tries.saturating_add(count);
    }

    /// A socket is there.
    pub(crate) fn opened(&mut self, now: Instant) {
        if self.opened_at.is_none() {
            self.tries = 0;
        }
        self.opened_at = Some(now);
    }

    /// It is gone: the pauses before the tries that are left, and when to give up. `None` when nothing
    /// is left.
    pub(crate) fn lost(&mut self, now: Instant) -> Option<(Vec<Duration>, Instant)> {
        let settled = self.opened_at.is_none_or(|at| now.saturating_duration_since(at) >= RECONNECT_SETTLED);
        if settled || self.tries == 0 {
            self.tries = 0;
            self.give_up_at = now.checked_add(self.plan.total);
        }
        let pauses = self.plan.pauses.get(self.tries..).unwrap_or_default();
        let until = self.give_up_at.filter(|until| now < *until && !pauses.is_empty())?;
        Some((pauses.to_vec(), until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: [Duration; 3] =
        [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];

    fn opened(now: Instant) -> Reconnect {
        let mut reconnect =
            Reconnect::new(ReconnectPlan { pauses: PAUSES.to_vec(), total: Duration::from_secs(10) });
        reconnect.tried(2);
        reconnect.opened(now);
        reconnect
    }

    #[test]
    fn each_loss_of_a_settled_socket_has_the_whole_plan() {
        let start = Instant::now();
        let mut reconnect = opened(start);
        assert_eq!(reconnect.lost(start), Some((PAUSES.to_vec(), start + Duration::from_secs(10))));
        reconnect.tried(2);
        let later = start + Duration::from_secs(1);
        reconnect.opened(later);
        let lost = later + RECONNECT_SETTLED;
        assert_eq!(reconnect.lost(lost), Some((PAUSES.to_vec(), lost + Duration::from_secs(10))));
    }

    #[test]
    fn who_accepts_and_drops_uses_the_plan_up() {
        let mut now = Instant::now();
        let until = now + Duration::from_secs(10);
        let mut reconnect = opened(now);
        for left in [3, 2, 1] {
            assert_eq!(reconnect.lost(now), Some((PAUSES[3 - left..].to_vec(), until)));
            now += PAUSES[3 - left];
            reconnect.tried(1);
            reconnect.opened(now);
        }
        assert_eq!(reconnect.lost(now), None);
        assert_eq!(reconnect.tries(), 3);
    }

    #[test]
    fn time_that_is_over_is_over() {
        let start = Instant::now();
        let mut reconnect = opened(start);
        reconnect.lost(start).unwrap();
        reconnect.tried(1);
        let late = start + Duration::from_secs(10);
        reconnect.opened(late);
        assert_eq!(reconnect.lost(late), None);
    }
}
