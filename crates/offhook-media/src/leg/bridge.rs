//! A leg that is bridged to another one.

use std::time::Instant;

use super::MediaLeg;
use crate::params::{Refused, Track};
use crate::relayed::Relayed;
use crate::sink::{Port, Sink};
use crate::tx::Out;

impl MediaLeg {
    /// Hand what is received to another leg ([`Sink::relay`]), keys only if `keys` says so, and send what that
    /// one hands over ([`MediaLeg::receive_relayed`]). Again with another leg: what was kept of the first is dropped,
    /// and what was received before, but is still held back for its order, is not for this one.
    ///
    /// # Errors
    /// When the leg is closed.
    pub fn bridge(&mut self, _now: Instant, keys: bool) -> Result<(), Refused> {
        self.check_open()?;
        self.relays_keys = Some(keys);
        self.rx.reorder.hold_over();
        self.tx.bridge(true);
        Ok(())
    }

    /// Hand on nothing more, and send nothing more of the other leg.
    pub fn unbridge(&mut self, now: Instant) {
        if self.relays_keys.take().is_some() {
            self.tx.bridge(false);
            self.wake(now);
        }
    }

    /// Take what the other leg hands over, in its order.
    pub fn receive_relayed(&mut self, now: Instant, item: Relayed<'_>, sink: &mut impl Sink) {
        let (Some(params), Some(target)) = (&self.params, self.rx.target()) else {
            self.tx.not_passed = self.tx.not_passed.saturating_add(1);
            return;
        };
        let taps = &mut self.taps;
        self.tx.receive_relayed(now, &self.clock, params, item, &mut |out| match out {
            Out::Packet(datagram) => {
                sink.transmit(Port::Rtp, target, datagram);
                taps.packet(Track::Tx, datagram, sink);
            }
            Out::Audio(piece, far) => taps.audio(now, Track::Tx, piece, far, sink),
            Out::Said(rate_hz, pcm) => sink.relay(Relayed::Said { rate_hz, pcm }),
        });
    }
}
