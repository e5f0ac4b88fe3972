//! The tx track of a bridged leg: what the other leg has received goes out here.

use std::time::{Duration, Instant};

use offhook_codec::Format;
use offhook_rtp::{SeqNo, TelephoneEvent};

use super::{Bridged, Out, RTP_HEADER_LEN, Transmitter, can_send};
use crate::clock::{Clock, Position, ticks};
use crate::limits::{BRIDGE_APART_MS_MAX, BRIDGE_SILENCE_AFTER, BRIDGE_START};
use crate::params::LegParams;
use crate::piece::{Far, Piece};
use crate::relay::{Anchor, KeySent};
use crate::relayed::Relayed;

/// A packet of the other leg.
struct Packet<'a> {
    marker: bool,
    seq: u16,
    timestamp: u32,
    payload: &'a [u8],
}

impl Transmitter {
    /// There is another leg now, or there is none any more.
    pub(crate) fn bridge(&mut self, bridged: bool) {
        self.bridged_before = self.bridged();
        self.playout.bridge(bridged);
    }

    /// What was counted of bridges.
    pub(crate) fn bridged(&self) -> Bridged {
        let Some(relay) = &self.playout.relay else { return self.bridged_before };
        let before = self.bridged_before;
        Bridged {
            underruns: before.underruns.saturating_add(relay.underruns()),
            discarded_ms: before.discarded_ms.saturating_add(relay.discarded_ms()),
            undecodable: before.undecodable.saturating_add(relay.undecodable()),
        }
    }

    /// Take something of the other leg.
    pub(crate) fn receive_relayed(
        &mut self,
        now: Instant,
        clock: &Clock,
        params: &LegParams,
        item: Relayed<'_>,
        out: &mut impl FnMut(Out<'_>),
    ) {
        if !can_send(params) {
            if !matches!(item, Relayed::Audio { .. }) {
                self.not_passed = self.not_passed.saturating_add(1);
            }
            if let Some(relay) = &mut self.playout.relay {
                relay.anchor = None;
            }
            return;
        }
        match item {
            Relayed::Packet { marker, seq, timestamp, format, payload } => {
                self.choose_way(now, format, clock, params, out);
                if self.playout.relay.as_ref().is_some_and(|relay| relay.passing) {
                    self.pass_on(now, clock, params, &Packet { marker, seq, timestamp, payload }, out);
                }
            }
            Relayed::Audio { here, at, ticks, format, payload } => {
                let own_here = clock.position(now);
                let Some(relay) = &mut self.playout.relay else { return };
                if relay.passing {
                    let at = relay.place(own_here, here, at, self.tick).max(self.told);
                    self.told = at.saturating_add(ticks);
                    out(Out::Audio(Piece { at, ticks, said_before: false, format, payload }, Far::All));
                } else {
                    relay.hear(now, Piece { at, ticks, said_before: false, format, payload });
                    self.wake_to_mix(now, params);
                }
            }
            Relayed::Key { seq, timestamp, clock_rate_hz, event } => {
                let Some(payload_type) = params.dtmf_payload_type else {
                    if let Some(relay) = &mut self.playout.relay {
                        relay.close_gap(SeqNo(seq));
                        relay.sound(now, timestamp, event, clock_rate_hz);
                    }
                    return self.wake_to_mix(now, params);
                };
                let duration = u64::from(event.duration) * u64::from(params.dtmf_clock_rate_hz)
                    / u64::from(clock_rate_hz.max(1));
                let duration = u16::try_from(duration).unwrap_or(u16::MAX);
                let event = TelephoneEvent { duration, ..event };
                self.pass_key(now, clock, payload_type, (seq, timestamp, event), out);
            }
            Relayed::Gap { seq } => {
                if let Some(relay) = &mut self.playout.relay {
                    relay.close_gap(SeqNo(seq));
                }
            }
            Relayed::Said { rate_hz, pcm } => {
                if let Some(relay) = &mut self.playout.relay {
                    relay.say(now, pcm, rate_hz);
                }
                self.wake_to_mix(now, params);
            }
        }
    }

    /// Pass on from here on, or mix.
    fn choose_way(
        &mut self,
        now: Instant,
        format: Format,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(Out<'_>),
    ) {
        let packet = self.playout.packet_samples(params.ptime_ms).max(1);
        let Some(relay) = &mut self.playout.relay else { return };
        let may = relay.may_pass(now, format, self.format);
        if relay.passing == may {
            return;
        }
        if !may {
            relay.passing = false;
            return;
        }
        // What waits goes out first, so that nothing is lost by the change.
        for _ in 0..relay.waiting() / packet {
            self.send_one(now, clock, params, out);
        }
        if let Some(relay) = &mut self.playout.relay {
            relay.pass();
        }
        self.next_due = None;
    }

    /// The first packet that is mixed waits a moment, so that the second is not late by its jitter.
    fn wake_to_mix(&mut self, now: Instant, params: &LegParams) {
        if self.next_due.is_none() && self.wants(params) {
            let begin = now.checked_add(BRIDGE_START).unwrap_or(now);
            self.next_due = Some(self.free_at.map_or(begin, |free| free.max(begin)));
        }
    }

    fn pass_on(
        &mut self,
        now: Instant,
        clock: &Clock,
        params: &LegParams,
        packet: &Packet<'_>,
        out: &mut impl FnMut(Out<'_>),
    ) {
        let Some(length) = self.format.clock_ticks_in(packet.payload) else {
            self.not_passed = self.not_passed.saturating_add(1);
            return;
        };
        let came = SeqNo(packet.seq);
        let anchor = self.playout.relay.as_ref().and_then(|relay| relay.anchor);
        let first_seq = anchor.and_then(|anchor| anchor.first_seq);
        if first_seq.is_some_and(|first| came.distance_from(first) < 0) {
            self.not_passed = self.not_passed.saturating_add(1);
            return;
        }
        let here = self.aligned(clock.position(now));
        let kept = self.anchored(here, packet.timestamp);
        let (offset, at, fresh) = if let Some((offset, at)) = kept {
            (offset, at, false)
        } else {
            let at = self.at.max(here);
            (self.seq.0.wrapping_sub(packet.seq), at, at != self.at || !self.sent_any)
        };
        let seq = SeqNo(packet.seq.wrapping_add(offset));
        if seq.distance_from(self.seq) >= 0 {
            self.seq = seq.next();
        }
        self.at = self.at.max(at.saturating_add(u64::from(length).saturating_mul(self.tick)));
        if let Some(relay) = &mut self.playout.relay {
            let next_seq = self.seq.0;
            let first_seq = first_seq.filter(|_| kept.is_some());
            let timestamp = packet.timestamp;
            let anchor = Anchor { seq_offset: offset, timestamp, at, next_seq, first_seq };
            relay.anchor = Some(match relay.anchor {
                // One that was overtaken moves nothing.
                Some(anchor) if kept.is_some() && at < anchor.at => Anchor { next_seq, ..anchor },
                _ => anchor,
            });
        }
        self.datagram.clear();
        self.datagram.resize(RTP_HEADER_LEN, 0);
        self.datagram.extend_from_slice(packet.payload);
        self.send_numbered(seq, packet.marker || fresh, params.payload_type, at, out);
        self.passed = self.passed.saturating_add(1);
        self.rest_after(now, params);
    }

    /// Offset of the numbers and place of a timestamp, if what was passed on before goes on here.
    fn anchored(&self, here: Position, timestamp: u32) -> Option<(u16, Position)> {
        let anchor = self.playout.relay.as_ref()?.anchor.filter(|anchor| anchor.next_seq == self.seq.0)?;
        let steps = i64::from(timestamp.wrapping_sub(anchor.timestamp).cast_signed());
        let tick = i64::try_from(self.tick).unwrap_or(1);
        let at = anchor.at.saturating_add_signed(steps.saturating_mul(tick));
        (at.abs_diff(here) <= ticks(BRIDGE_APART_MS_MAX)).then_some((anchor.seq_offset, at))
    }

    /// A packet of a key under way. Our own digits go first.
    fn pass_key(
        &mut self,
        now: Instant,
        clock: &Clock,
        payload_type: u8,
        (seq, timestamp, event): (u16, u32, TelephoneEvent),
        out: &mut impl FnMut(Out<'_>),
    ) {
        let busy = self.playout.has_digits();
        let here = self.at.max(self.aligned(clock.position(now)));
        let next = self.seq.0;
        let Some(relay) = &mut self.playout.relay else { return };
        let over = relay.key.is_some_and(|key| timestamp.wrapping_sub(key.timestamp).cast_signed() < 0);
        if busy || over {
            relay.close_gap(SeqNo(seq));
            self.not_passed = self.not_passed.saturating_add(1);
            return;
        }
        let under_way = relay.key.filter(|key| key.timestamp == timestamp);
        let sent = under_way.unwrap_or(KeySent { timestamp, at: here });
        relay.key = Some(sent);
        // Audio that is passed on around it keeps its numbers.
        let anchor = relay.anchor.as_mut().filter(|anchor| relay.passing && anchor.next_seq == next);
        let seq = anchor.as_ref().map_or(self.seq, |anchor| SeqNo(seq.wrapping_add(anchor.seq_offset)));
        if seq.distance_from(self.seq) >= 0 {
            self.seq = seq.next();
        }
        if let Some(anchor) = anchor {
            anchor.next_seq = self.seq.0;
        }
        self.datagram.clear();
        self.datagram.resize(RTP_HEADER_LEN, 0);
        self.datagram.extend_from_slice(&event.to_bytes());
        self.send_numbered(seq, under_way.is_none(), payload_type, sent.at, out);
        self.passed = self.passed.saturating_add(1);
    }

    /// Nothing of our own for a while.
    fn rest_after(&mut self, now: Instant, params: &LegParams) {
        self.free_at = now.checked_add(Duration::from_millis(u64::from(params.ptime_ms)));
        self.keepalive_due = self.keepalive_due.and_then(|_| now.checked_add(params.keepalive));
        if !self.playout.has_work(params.ptime_ms) {
            let silent = self.free_at.and_then(|free| free.checked_add(BRIDGE_SILENCE_AFTER));
            self.next_due = silent.filter(|_| params.silence_when_idle);
        }
    }
}
