//! Legs of a worker that are bridged to each other, and legs that come from other workers for that.

use std::time::Instant;

use super::Worker;
use crate::counters::Counters;
use crate::leg::Leg;
use crate::mailbox::Command;

impl Worker {
    /// Let each of two legs send what the other receives; the flags say whose keys go on.
    pub(super) fn bridge(&mut self, one: (u64, bool), two: (u64, bool), now: Instant) {
        let is_open = |worker: &Self, id: u64| worker.leg(id).is_some_and(|leg| !leg.is_closing());
        if !(is_open(self, one.0) && is_open(self, two.0)) {
            return;
        }
        for ((id, keys), (other, _)) in [(one, two), (two, one)] {
            self.command(id, now, |leg, _| leg.bridge(now, other, keys).is_ok());
        }
    }

    pub(super) fn unbridge(&mut self, leg: u64, other: u64, now: Instant) {
        for (leg, other) in [(leg, other), (other, leg)] {
            let Some(slot) = self.by_id.get(&leg).copied() else { continue };
            self.drive_one(slot, now, |leg, _| {
                leg.unbridge(now, other);
            });
        }
        self.cx.relayed.clear();
    }

    /// Close a leg; the one it is bridged to goes on alone.
    pub(super) fn close(&mut self, id: u64, now: Instant) {
        if let Some(other) = self.leg(id).and_then(Leg::other) {
            self.unbridge(id, other, now);
        }
        self.command(id, now, |leg, cx| {
            leg.close(now, cx);
            true
        });
    }

    /// The leg that `other` was bridged to is gone.
    pub(super) fn part(&mut self, other: u64, now: Instant) {
        self.cx.relayed.clear();
        let Some(slot) = self.by_id.get(&other).copied() else { return };
        self.drive_one(slot, now, |leg, _| {
            if let Some(gone) = leg.other() {
                leg.unbridge(now, gone);
            }
        });
    }

    /// Give `other` what the leg at work had for it, and the leg what comes of that.
    pub(super) fn hand_over(&mut self, slot: u32, other: u64, now: Instant) {
        if self.cx.relayed.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.cx.relayed);
        let slots = [self.by_id.get(&other).copied(), Some(slot)];
        for slot in slots.into_iter().flatten() {
            self.drive_one(slot, now, |leg, cx| items.drain(|item| leg.receive_relayed(now, item, cx)));
            // Memory is used in turns; mostly there is nothing in it now.
            items.clear();
            std::mem::swap(&mut items, &mut self.cx.relayed);
            if items.is_empty() {
                break;
            }
        }
        self.cx.relayed.clear();
    }

    /// Send a leg to another worker with everything that is its own.
    pub(super) fn depart(&mut self, id: u64, to: usize) {
        let moved = self.by_id.remove(&id).and_then(|slot| {
            let mut leg = self.legs.get_mut(slot as usize)?.take()?;
            self.free.push(slot);
            leg.depart(to, &self.cx);
            Some(Box::new(leg))
        });
        if let Some(mailbox) = self.cx.mailboxes.get(to) {
            mailbox.post_result(Command::Arrive { leg: id, moved });
        }
    }

    /// Take a leg in, and do what was asked of it on its way.
    pub(super) fn arrive(&mut self, id: u64, moved: Option<Box<Leg>>, now: Instant) {
        let waiting = self.expected.remove(&id).unwrap_or_default();
        if let Some(mut leg) = moved {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.legs.push(None);
                u32::try_from(self.legs.len() - 1).unwrap_or(u32::MAX)
            });
            if let Err(err) = leg.arrive(slot, &self.cx) {
                self.free.push(slot);
                leg.fail(format!("the leg's sockets cannot be watched: {err}"), now, &self.cx);
            } else {
                self.by_id.insert(id, slot);
                if let Some(entry) = self.legs.get_mut(slot as usize) {
                    *entry = Some(*leg);
                }
                Counters::add(&self.cx.shared.counters.legs_moved_total);
                self.drive(slot, now, |_, _| {});
            }
        }
        for command in waiting {
            self.execute(command, now);
        }
        if self.stop_by.is_some() {
            self.close(id, now);
        }
    }

    fn leg(&self, id: u64) -> Option<&Leg> {
        let slot = self.by_id.get(&id)?;
        self.legs.get(*slot as usize)?.as_ref()
    }
}
