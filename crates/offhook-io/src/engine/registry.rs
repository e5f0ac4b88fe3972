//! What the engine knows of its legs without asking their workers.

use std::collections::{HashMap, HashSet};

use offhook_media::Format;

use crate::error::EngineError;
use crate::limits::LEGS_PACKED_PER_WORKER;

#[derive(Debug, Default)]
pub(super) struct LegEntry {
    pub(super) worker: usize,
    pub(super) closing: bool,
    pub(super) has_dtmf: bool,
    /// What offer and answer agreed on, once they have.
    pub(super) format: Option<Format>,
    /// The leg it is bridged to.
    pub(super) other: Option<u64>,
    pub(super) taps: HashSet<u64>,
    /// Plays whose end was not polled yet, and what each takes to keep.
    pub(super) plays: HashMap<u64, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) legs: HashMap<u64, LegEntry>,
    /// Legs on each worker.
    pub(super) loads: Vec<usize>,
    pub(super) down: bool,
}

impl Registry {
    /// The worker of the next leg: the first that has room, so that few legs share their wake-ups;
    /// when all are well filled, the one with the fewest.
    pub(super) fn choose_worker(&self) -> usize {
        let with_room = self.loads.iter().position(|load| *load < LEGS_PACKED_PER_WORKER);
        let emptiest =
            || self.loads.iter().enumerate().min_by_key(|(_, load)| **load).map(|(index, _)| index);
        with_room.or_else(emptiest).unwrap_or(0)
    }

    pub(super) fn add(&mut self, leg: u64, worker: usize) {
        if let Some(load) = self.loads.get_mut(worker) {
            *load += 1;
        }
        self.legs.insert(leg, LegEntry { worker, ..LegEntry::default() });
    }

    /// The leg is bridged no more; gives the one it was bridged to.
    pub(super) fn part(&mut self, leg: u64) -> Option<u64> {
        let other = self.legs.get_mut(&leg)?.other.take()?;
        if let Some(entry) = self.legs.get_mut(&other) {
            entry.other = None;
        }
        Some(other)
    }

    /// Let a leg live on another worker from here on; gives the one it lived on, if that was another.
    pub(super) fn rehome(&mut self, leg: u64, worker: usize) -> Option<usize> {
        let entry = self.legs.get_mut(&leg).filter(|entry| entry.worker != worker)?;
        let from = std::mem::replace(&mut entry.worker, worker);
        for (index, load) in self.loads.iter_mut().enumerate() {
            *load = if index == from { load.saturating_sub(1) } else { *load + usize::from(index == worker) };
        }
        Some(from)
    }

    pub(super) fn remove(&mut self, leg: u64) {
        self.part(leg);
        let Some(entry) = self.legs.remove(&leg) else { return };
        if let Some(load) = self.loads.get_mut(entry.worker) {
            *load -= 1;
        }
    }

    /// The leg has this tap, or an error that says what is not there.
    pub(super) fn known_tap(&self, leg: u64, tap: u64) -> Result<(), EngineError> {
        let entry = self.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if entry.taps.contains(&tap) { Ok(()) } else { Err(EngineError::UnknownTap { leg, tap }) }
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;

    #[test]
    fn legs_fill_a_worker_before_the_next_and_spread_when_all_are_full() {
        let mut registry = Registry { loads: vec![0; 2], ..Registry::default() };
        for leg in 0..512 {
            let worker = registry.choose_worker();
            assert_eq!(worker, usize::from(leg >= 256), "leg {leg}");
            registry.add(leg, worker);
        }
        registry.remove(300);
        assert_eq!(registry.choose_worker(), 1, "a worker with room comes first");
        registry.add(600, 1);
        registry.remove(600);
        registry.remove(600);
        registry.add(601, 1);
        registry.add(602, 0);
        assert_eq!(registry.choose_worker(), 1, "the one with the fewest");
        assert_eq!(registry.loads, [257, 256]);
    }
}
