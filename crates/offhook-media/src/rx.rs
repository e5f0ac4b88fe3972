//! The rx track: whom we listen to, what is counted, what is audio and what a digit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_rtp::{Arrival, DigitReceived, ReceiverStats, RtpPacket, TelephoneEvent, TelephoneEventReceiver};

use offhook_codec::{Codec, Format};

use crate::clock::{Clock, Position, sooner, tick_of};
use crate::limits::{DATAGRAM_BYTES_MAX, DIGIT_EXPIRY, DIGITS_PER_SECOND_MAX, STARTED_INTERVAL};
use crate::lock::{Admission, SourceLock};
use crate::params::LegParams;
use crate::piece::Piece;
use crate::relayed::Relayed;
use crate::reorder::{Content, Reorder};

/// Comfort noise (RFC 3389): never audio for a tap (contract 7, row 13).
const COMFORT_NOISE: u8 = 13;

/// What a datagram turned out to be.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Tell that media has started: first packet, new source or new SSRC.
    pub(crate) started: Option<u32>,
    /// Where it stands; `None` when taps for audio shall not see it.
    number: Option<u64>,
    content: Content,
    event: Option<TelephoneEvent>,
    restarted: bool,
    marker: bool,
    seq: u16,
    timestamp: u32,
}

impl Accepted {
    pub(crate) const fn is_event(&self) -> bool {
        self.event.is_some()
    }

    pub(crate) const fn is_audio(&self) -> bool {
        matches!(self.content, Content::Audio(_))
    }

    /// What the other leg of a bridge is to have of it; nothing where it came twice, or out of the blue.
    pub(crate) fn relayed<'a>(
        &self,
        payload: &'a [u8],
        params: &LegParams,
        keys: bool,
    ) -> Option<Relayed<'a>> {
        self.number?;
        let (seq, timestamp, format) = (self.seq, self.timestamp, params.format);
        Some(match self.event {
            Some(event) if keys => {
                Relayed::Key { seq, timestamp, clock_rate_hz: params.dtmf_clock_rate_hz, event }
            }
            None if self.is_audio() => {
                Relayed::Packet { marker: self.marker, seq, timestamp, format, payload }
            }
            _ => Relayed::Gap { seq },
        })
    }
}

/// Refusals, by cause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) malformed: u64,
    pub(crate) foreign: u64,
    pub(crate) early: u64,
    pub(crate) unexpected: u64,
    pub(crate) not_receiving: u64,
}

/// Receives the RTP of one leg.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) lock: Option<SourceLock>,
    pub(crate) stats: ReceiverStats,
    pub(crate) reorder: Reorder,
    pub(crate) dropped: Dropped,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) digits: u64,
    pub(crate) digits_dropped: u64,
    /// Digits that were told by their tones.
    pub(crate) digits_inband: u64,
    /// The far end sends telephone-events: its tones say nothing more.
    pub(crate) sends_events: bool,
    format: Format,
    /// Ticks of one count of the RTP clock.
    pub(crate) tick: u64,
    told_ssrc: Option<u32>,
    told_ssrc_at: Option<Instant>,
    digits_since: Option<Instant>,
    digits_in_second: u32,
    keys: TelephoneEventReceiver,
    digit_due: Option<Instant>,
    silent_due: Option<Instant>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let format = Format::G711(Codec::Pcmu);
        Self {
            lock: None,
            stats: ReceiverStats::default(),
            reorder: Reorder::new(format),
            dropped: Dropped::default(),
            packets: 0,
            bytes: 0,
            digits: 0,
            digits_dropped: 0,
            digits_inband: 0,
            sends_events: false,
            format,
            tick: tick_of(format.clock_rate_hz()),
            told_ssrc: None,
            told_ssrc_at: None,
            digits_since: None,
            digits_in_second: 0,
            keys: TelephoneEventReceiver::default(),
            digit_due: None,
            silent_due: None,
        }
    }

    /// Offer and answer are complete, again perhaps: the lock opens.
    pub(crate) fn connect(&mut self, now: Instant, params: &LegParams) {
        if params.format != self.format {
            let tick = tick_of(params.format.clock_rate_hz());
            if tick != self.tick {
                self.stats.change_clock();
            }
            (self.format, self.tick) = (params.format, tick);
            self.reorder.change_format(params.format);
        }
        self.sends_events &= params.dtmf_payload_type.is_some();
        self.lock = Some(SourceLock::new(params.remote_rtp));
        self.hear(now, params);
    }

    pub(crate) fn stop(&mut self) {
        self.lock = None;
        self.digit_due = None;
        self.silent_due = None;
    }

    /// Where RTP goes to.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.lock.map(|lock| lock.target())
    }

    fn hear(&mut self, now: Instant, params: &LegParams) {
        self.silent_due = match params.media_timeout {
            Some(timeout) if params.receiving => now.checked_add(timeout),
            _ => None,
        };
    }

    /// Judge and count one datagram. `None` when it was refused (and counted).
    pub(crate) fn accept<'a>(
        &mut self,
        now: Instant,
        here: Position,
        source: SocketAddr,
        datagram: &'a [u8],
        params: &LegParams,
    ) -> Option<(Accepted, &'a [u8])> {
        let packet = match RtpPacket::parse(datagram) {
            Ok(packet) if datagram.len() <= DATAGRAM_BYTES_MAX => packet,
            _ => return refuse(&mut self.dropped.malformed),
        };
        let is_audio = packet.payload_type == params.payload_type;
        let is_event = Some(packet.payload_type) == params.dtmf_payload_type;
        if !(is_audio || is_event || packet.payload_type == COMFORT_NOISE) {
            return refuse(&mut self.dropped.unexpected);
        }
        if !params.receiving {
            return refuse(&mut self.dropped.not_receiving);
        }
        let locked = match self.lock.as_mut()?.admit(now, source) {
            Admission::Foreign => return refuse(&mut self.dropped.foreign),
            Admission::Locked => true,
            Admission::Known => false,
        };
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(datagram.len()).unwrap_or(0));
        self.hear(now, params);
        let arrival = self.stats.receive(packet.ssrc, packet.seq, packet.timestamp, low_32(here / self.tick));
        let (number, restarted) = match arrival {
            Arrival::New(number) | Arrival::Old(number) => (Some(number), false),
            Arrival::Restarted(number) => (Some(number), true),
            Arrival::Duplicate | Arrival::Suspect => (None, false),
        };
        let accepted = Accepted {
            started: self.take_started(now, packet.ssrc, locked),
            number,
            content: if is_audio { Content::Audio(packet.timestamp) } else { Content::Nothing },
            event: if is_event { TelephoneEvent::parse(packet.payload) } else { None },
            restarted,
            marker: packet.marker,
            seq: packet.seq.0,
            timestamp: packet.timestamp,
        };
        Some((accepted, packet.payload))
    }

    /// The SSRC, if it is to be told now. One that changes all the time is told now and then.
    fn take_started(&mut self, now: Instant, ssrc: u32, locked: bool) -> Option<u32> {
        if !locked && self.told_ssrc == Some(ssrc) {
            return None;
        }
        let rested = self.told_ssrc_at.is_none_or(|at| now.saturating_duration_since(at) >= STARTED_INTERVAL);
        if !locked && !rested {
            return None;
        }
        self.told_ssrc = Some(ssrc);
        self.told_ssrc_at = Some(now);
        Some(ssrc)
    }

    /// Put an accepted packet in its place; audio that is due comes out through `out`.
    pub(crate) fn order(
        &mut self,
        now: Instant,
        here: Position,
        accepted: &Accepted,
        payload: &[u8],
        out: &mut impl FnMut(Piece<'_>),
    ) {
        let Some(number) = accepted.number else { return };
        if accepted.restarted {
            self.reorder.restart(here, out);
            self.keys.reset();
        }
        self.reorder.receive(now, here, number, accepted.content, payload, out);
    }

    /// Digits that this packet ends; also those whose end was lost.
    pub(crate) fn digits(&mut self, now: Instant, accepted: &Accepted) -> [Option<DigitReceived>; 2] {
        let Some(event) = accepted.event else { return [None, None] };
        self.sends_events = true;
        let digits = self.keys.receive(accepted.timestamp, event);
        self.digit_due = if self.keys.holds() { now.checked_add(DIGIT_EXPIRY) } else { None };
        digits
    }

    /// Count a digit; false when too many have come within a second.
    pub(crate) fn count_digit(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        if self.digits_since.is_none_or(|since| now.saturating_duration_since(since) >= second) {
            self.digits_since = Some(now);
            self.digits_in_second = 0;
        }
        self.digits_in_second = self.digits_in_second.saturating_add(1);
        let told = self.digits_in_second <= DIGITS_PER_SECOND_MAX;
        let counter = if told { &mut self.digits } else { &mut self.digits_dropped };
        *counter = counter.saturating_add(1);
        told
    }

    /// A digit whose end packets did not come in time.
    pub(crate) fn expire_digit(&mut self, now: Instant) -> Option<DigitReceived> {
        self.digit_due.take_if(|due| *due <= now)?;
        self.keys.expire()
    }

    /// True once when nothing has come for too long.
    pub(crate) fn take_silence(&mut self, now: Instant) -> bool {
        self.silent_due.take_if(|due| *due <= now).is_some()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, clock: &Clock, out: &mut impl FnMut(Piece<'_>)) {
        self.reorder.handle_timeout(now, clock.position(now), out);
    }

    /// Give out what is still held.
    pub(crate) fn flush(&mut self, here: Position, out: &mut impl FnMut(Piece<'_>)) {
        self.reorder.restart(here, out);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        sooner(self.reorder.poll_timeout(), sooner(self.digit_due, self.silent_due))
    }
}

fn refuse<T>(counter: &mut u64) -> Option<T> {
    *counter = counter.saturating_add(1);
    None
}

#[expect(clippy::cast_possible_truncation, reason = "arrival times wrap as RTP timestamps do")]
const fn low_32(count: u64) -> u32 {
    count as u32
}
