//! The tx track: paces what is due, numbers it, and hands every packet on as it goes out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_rtp::{RtpHeader, SeqNo};

use crate::clock::{Clock, Position, samples};
use crate::limits::PLAYOUT_BURST_MAX;
use crate::params::LegParams;
use crate::playout::{Playout, Tick};

/// One packet as it was sent.
#[derive(Debug)]
pub(crate) struct SentPacket<'a> {
    pub(crate) datagram: &'a [u8],
    /// Position and payload, for audio; a telephone-event has none.
    pub(crate) audio: Option<(Position, &'a [u8])>,
}

/// Sends at real time by deadlines: the next is the last plus ptime, however late the wake-up.
#[derive(Debug)]
pub(crate) struct Transmitter {
    pub(crate) ssrc: u32,
    seq: SeqNo,
    timestamp_base: u32,
    /// Position after the last audio.
    at: Position,
    event_at: Position,
    sent_any: bool,
    next_due: Option<Instant>,
    /// Not before this moment: one ptime after the last packet.
    free_at: Option<Instant>,
    keepalive_due: Option<Instant>,
    datagram: Vec<u8>,
    pub(crate) playout: Playout,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) octets: u64,
    pub(crate) slips: u64,
}

impl Transmitter {
    pub(crate) fn new(ssrc: u32, first_seq: u16, timestamp_base: u32) -> Self {
        Self {
            ssrc,
            seq: SeqNo(first_seq),
            timestamp_base,
            at: 0,
            event_at: 0,
            sent_any: false,
            next_due: None,
            free_at: None,
            keepalive_due: None,
            datagram: Vec::with_capacity(256),
            playout: Playout::default(),
            packets: 0,
            bytes: 0,
            octets: 0,
            slips: 0,
        }
    }

    /// Offer and answer are complete, again perhaps.
    pub(crate) fn connect(&mut self, now: Instant, params: &LegParams) {
        self.next_due = None;
        self.keepalive_due = (can_send(params) && !params.keepalive.is_zero()).then_some(now);
        self.wake(now, params);
    }

    /// There may be work: make sure that something is due.
    pub(crate) fn wake(&mut self, now: Instant, params: &LegParams) {
        let wanted = params.silence_when_idle || self.playout.has_work(params.ptime_ms);
        if can_send(params) && wanted && self.next_due.is_none() {
            self.next_due = Some(self.free_at.map_or(now, |free| free.max(now)));
        }
    }

    pub(crate) fn stop(&mut self) {
        self.next_due = None;
        self.keepalive_due = None;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.next_due, self.keepalive_due, self.playout.poll_timeout()].into_iter().flatten().min()
    }

    /// The RTP timestamp of now, for sender reports.
    pub(crate) fn timestamp(&self, position: Position) -> u32 {
        self.timestamp_base.wrapping_add(low_32(position))
    }

    /// Send what is due. Each packet goes to `out`; true when the end of what was played was sent.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) -> Option<u64> {
        let ptime = Duration::from_millis(u64::from(params.ptime_ms));
        let mut ended = None;
        let mut burst = 0;
        while let Some(due) = self.next_due.filter(|due| *due <= now) {
            if burst == PLAYOUT_BURST_MAX {
                // Too late to catch up: what waits is played later, nothing of it is lost.
                self.slips = self.slips.saturating_add(1);
                self.next_due = now.checked_add(ptime);
                break;
            }
            burst += 1;
            self.send_one(due, clock, params, out);
            ended = ended.or(self.playout.take_ended());
            self.free_at = due.checked_add(ptime);
            let more = params.silence_when_idle || self.playout.has_work(params.ptime_ms);
            self.next_due = if more { self.free_at } else { None };
            self.keepalive_due = self.keepalive_due.and_then(|_| due.checked_add(params.keepalive));
        }
        if let Some(due) = self.keepalive_due.filter(|due| *due <= now) {
            if self.next_due.is_none() {
                self.send_silence(now, clock, params, out);
                self.free_at = now.checked_add(ptime);
            }
            self.keepalive_due = due.max(now).checked_add(params.keepalive);
        }
        ended
    }

    fn send_one(
        &mut self,
        due: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) {
        let mut payload = std::mem::take(&mut self.datagram);
        payload.clear();
        payload.resize(RTP_HEADER_LEN, 0);
        let tick = self.playout.next(due, params.ptime_ms, params.codec, &mut payload);
        self.datagram = payload;
        match tick {
            Tick::Audio => self.send_audio(due, clock, params, out),
            Tick::Event { first } => {
                if let Some(payload_type) = params.dtmf_payload_type {
                    self.send_event(due, clock, first, payload_type, out);
                }
            }
            Tick::Pause | Tick::Idle if params.silence_when_idle => {
                self.send_silence(due, clock, params, out);
            }
            Tick::Pause | Tick::Idle => {}
        }
    }

    fn send_silence(
        &mut self,
        due: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) {
        let length = usize::try_from(samples(u64::from(params.ptime_ms))).unwrap_or(160);
        self.datagram.clear();
        self.datagram.resize(RTP_HEADER_LEN, 0);
        self.datagram.resize(RTP_HEADER_LEN + length, params.codec.silence());
        self.send_audio(due, clock, params, out);
    }

    /// Send the audio that lies in `datagram` behind the room for a header.
    fn send_audio(
        &mut self,
        due: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) {
        // A pause is a jump of the timestamp by the time that passed (RFC 3551 section 4.1).
        let at = self.at.max(clock.position(due));
        let marker = at != self.at || !self.sent_any;
        let length = self.datagram.len().saturating_sub(RTP_HEADER_LEN);
        self.at = at.saturating_add(u64::try_from(length).unwrap_or(0));
        self.send(marker, params.payload_type, at, Some(at), out);
    }

    fn send_event(
        &mut self,
        due: Instant,
        clock: &Clock,
        first: bool,
        payload_type: u8,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) {
        if first {
            self.event_at = self.at.max(clock.position(due));
            self.at = self.event_at;
        }
        self.send(first, payload_type, self.event_at, None, out);
    }

    fn send(
        &mut self,
        marker: bool,
        payload_type: u8,
        at: Position,
        audio_at: Option<Position>,
        out: &mut impl FnMut(&SentPacket<'_>),
    ) {
        let header =
            RtpHeader { marker, payload_type, seq: self.seq, timestamp: self.timestamp(at), ssrc: self.ssrc };
        if let Some(room) = self.datagram.first_chunk_mut::<RTP_HEADER_LEN>() {
            *room = header.to_bytes();
        }
        self.seq = self.seq.next();
        self.sent_any = true;
        self.packets = self.packets.saturating_add(1);
        let bytes = u64::try_from(self.datagram.len()).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(bytes);
        self.octets = self.octets.saturating_add(bytes.saturating_sub(12));
        let payload = self.datagram.get(RTP_HEADER_LEN..).unwrap_or_default();
        out(&SentPacket { datagram: &self.datagram, audio: audio_at.map(|at| (at, payload)) });
    }
}

const RTP_HEADER_LEN: usize = 12;

#[expect(clippy::cast_possible_truncation, reason = "RTP timestamps wrap at 32 bits")]
const fn low_32(position: Position) -> u32 {
    position as u32
}

/// Whether the leg may send and knows where to. `0.0.0.0` is the old way to hold (RFC 3264 8.4).
pub(crate) fn can_send(params: &LegParams) -> bool {
    params.sending && reachable(params.remote_rtp)
}

pub(crate) fn reachable(target: SocketAddr) -> bool {
    target.port() != 0 && !target.ip().is_unspecified()
}
