//! The tx track: paces what is due, numbers it, and hands every packet on as it goes out.

mod pass;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_codec::{AmrWbPayload, Codec, Encoder, Format, OpusSettings};
use offhook_rtp::{RtpHeader, SeqNo};

use crate::clock::{Clock, Position, sooner, tick_of, ticks};
use crate::limits::PLAYOUT_BURST_MAX;
use crate::params::LegParams;
use crate::piece::{Far, Piece};
use crate::playout::{Playout, Tick};
use crate::silence::Silence;

/// What comes out.
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// One packet as it was sent.
    Packet(&'a [u8]),
    /// The audio in it, in order, and what of it the other leg said.
    Audio(Piece<'a>, Far<'a>),
    /// Samples for the other leg of the bridge, and their rate.
    Said(u32, &'a [i16]),
}

/// Sends at real time by deadlines: the next is the last plus ptime, however late the wake-up.
#[derive(Debug)]
pub(crate) struct Transmitter {
    pub(crate) ssrc: u32,
    seq: SeqNo,
    timestamp_base: u32,
    format: Format,
    opus: OpusSettings,
    /// Ticks of one count of the RTP clock.
    pub(crate) tick: u64,
    /// Nothing where the system cannot encode the format.
    encoder: Option<Encoder>,
    amr_modes: u16,
    amr_mode: Option<u8>,
    /// Position after the last audio.
    at: Position,
    /// The same as taps were told.
    told: Position,
    event_at: Position,
    sent_any: bool,
    next_due: Option<Instant>,
    /// Not before this moment: one ptime after the last packet.
    free_at: Option<Instant>,
    keepalive_due: Option<Instant>,
    datagram: Vec<u8>,
    silence: Silence,
    pub(crate) playout: Playout,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) octets: u64,
    pub(crate) slips: u64,
    /// Audio that could not be encoded and was not sent.
    pub(crate) unencodable: u64,
    /// Packets of the other leg: passed on untouched, and not sent.
    pub(crate) passed: u64,
    pub(crate) not_passed: u64,
    /// What bridges that are over have counted.
    pub(crate) bridged_before: Bridged,
}

/// What is counted of a bridge.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bridged {
    pub(crate) underruns: u64,
    pub(crate) discarded_ms: u64,
    pub(crate) undecodable: u64,
}

impl Transmitter {
    pub(crate) fn new(ssrc: u32, first_seq: u16, timestamp_base: u32) -> Self {
        let format = Format::G711(Codec::Pcmu);
        Self {
            ssrc,
            seq: SeqNo(first_seq),
            timestamp_base,
            format,
            opus: OpusSettings::default(),
            tick: tick_of(format.clock_rate_hz()),
            encoder: Encoder::new(format).ok(),
            amr_modes: 0,
            amr_mode: None,
            at: 0,
            told: 0,
            event_at: 0,
            sent_any: false,
            next_due: None,
            free_at: None,
            keepalive_due: None,
            datagram: Vec::with_capacity(256),
            silence: Silence::default(),
            playout: Playout::new(format.sample_rate_hz()),
            packets: 0,
            bytes: 0,
            octets: 0,
            slips: 0,
            unencodable: 0,
            passed: 0,
            not_passed: 0,
            bridged_before: Bridged::default(),
        }
    }

    /// Offer and answer are complete, again perhaps.
    pub(crate) fn connect(&mut self, now: Instant, params: &LegParams) {
        if params.format != self.format || params.opus != self.opus {
            self.change_format(params);
        }
        self.amr_modes = params.amr_modes;
        if matches!(params.format, Format::AmrWb { .. }) {
            self.request_amr_wb_mode(AMR_WB_MODE);
        }
        self.next_due = None;
        self.keepalive_due = (can_send(params) && !params.keepalive.is_zero()).then_some(now);
        self.wake(now, params);
    }

    fn change_format(&mut self, params: &LegParams) {
        self.format = params.format;
        self.opus = params.opus;
        self.encoder = Encoder::with_opus_settings(params.format, params.opus).ok();
        self.silence.interrupt();
        self.playout.set_leg_rate(params.format.sample_rate_hz());
        // Timestamps go on from where they are, by another clock.
        let timestamp = self.timestamp(self.at);
        self.tick = tick_of(params.format.clock_rate_hz());
        self.timestamp_base = timestamp.wrapping_sub(low_32(self.at / self.tick));
    }

    /// The far end would like to get this AMR-WB mode: it gets the nearest that is not above and was
    /// agreed on, else the lowest (RFC 4867 4.3.1, 8.1).
    pub(crate) fn request_amr_wb_mode(&mut self, mode: u8) {
        let agreed = |mode: &u8| self.amr_modes == 0 || self.amr_modes >> mode & 1 == 1;
        let mode = (0..=mode).rev().find(agreed).or_else(|| (mode..=8).find(agreed));
        if let (Some(encoder), Some(mode)) = (&mut self.encoder, mode) {
            encoder.set_amr_wb_mode(mode);
            if self.amr_mode.replace(mode) != Some(mode) {
                self.silence.interrupt();
            }
        }
    }

    /// There may be work: make sure that something is due.
    pub(crate) fn wake(&mut self, now: Instant, params: &LegParams) {
        if self.wants(params) && self.next_due.is_none() {
            self.next_due = Some(self.free_at.map_or(now, |free| free.max(now)));
        }
    }

    /// Whether a packet is to go out, here or by the other leg.
    fn wants(&self, params: &LegParams) -> bool {
        if can_send(params) {
            params.silence_when_idle || self.playout.has_work(params.ptime_ms)
        } else {
            self.playout.has_said(params.ptime_ms)
        }
    }

    pub(crate) fn stop(&mut self) {
        self.next_due = None;
        self.keepalive_due = None;
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        sooner(self.next_due, sooner(self.keepalive_due, self.playout.poll_timeout()))
    }

    /// The RTP timestamp of now, for sender reports.
    pub(crate) fn timestamp(&self, position: Position) -> u32 {
        self.timestamp_base.wrapping_add(low_32(position / self.tick))
    }

    /// Send what is due. Each packet goes to `out`.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(Out<'_>),
    ) {
        let ptime = Duration::from_millis(u64::from(params.ptime_ms));
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
            self.free_at = due.checked_add(ptime);
            self.next_due = if self.wants(params) { self.free_at } else { None };
            self.keepalive_due = self.keepalive_due.and_then(|_| due.checked_add(params.keepalive));
        }
        if let Some(due) = self.keepalive_due.filter(|due| *due <= now) {
            if self.next_due.is_none() {
                self.send_silence(now, clock, params, out);
                self.free_at = now.checked_add(ptime);
            }
            self.keepalive_due = due.max(now).checked_add(params.keepalive);
        }
    }

    fn send_one(&mut self, due: Instant, clock: &Clock, params: &LegParams, out: &mut impl FnMut(Out<'_>)) {
        if !can_send(params) {
            self.playout.next_said(due, params.ptime_ms);
            return self.give_said(out);
        }
        self.datagram.clear();
        self.datagram.resize(RTP_HEADER_LEN, 0);
        match self.playout.next(due, params, &mut self.datagram) {
            Tick::Audio => {
                self.silence.interrupt();
                let encoder = self.encoder.as_mut();
                let encode =
                    |encoder: &mut Encoder| encoder.encode(self.playout.mix(), &mut self.datagram).is_ok();
                if encoder.is_some_and(encode) {
                    self.send_audio(due, clock, params, out);
                } else {
                    self.unencodable = self.unencodable.saturating_add(1);
                }
            }
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
        self.playout.forget_far();
        self.give_said(out);
    }

    /// Give the other leg what applications say to its far end.
    fn give_said(&self, out: &mut impl FnMut(Out<'_>)) {
        let (rate_hz, pcm) = self.playout.said();
        if !pcm.is_empty() {
            out(Out::Said(rate_hz, pcm));
        }
    }

    fn send_silence(
        &mut self,
        due: Instant,
        clock: &Clock,
        params: &LegParams,
        out: &mut impl FnMut(Out<'_>),
    ) {
        self.datagram.clear();
        self.datagram.resize(RTP_HEADER_LEN, 0);
        self.write_silence(params.ptime_ms);
        if self.datagram.len() > RTP_HEADER_LEN {
            self.send_audio(due, clock, params, out);
        }
    }

    fn write_silence(&mut self, ptime_ms: u32) {
        if let (Some(byte), Some(length)) = (self.format.silence(), self.format.payload_bytes(ptime_ms)) {
            self.datagram.resize(RTP_HEADER_LEN + length, byte);
        } else if let Some(encoder) = &mut self.encoder {
            self.silence.write(encoder, self.format, ptime_ms, &mut self.datagram);
        } else if let Format::AmrWb { octet_align } = self.format {
            AmrWbPayload::no_data(octet_align, &mut self.datagram);
        }
    }

    /// Send the audio that lies in `datagram` behind the room for a header.
    fn send_audio(&mut self, due: Instant, clock: &Clock, params: &LegParams, out: &mut impl FnMut(Out<'_>)) {
        // A pause is a jump of the timestamp by the time that passed (RFC 3551 section 4.1).
        let at = self.at.max(self.aligned(clock.position(due)));
        let marker = at != self.at || !self.sent_any;
        let length = ticks(u64::from(params.ptime_ms));
        self.at = at.saturating_add(length);
        self.send(marker, params.payload_type, at, Some(length), out);
    }

    fn send_event(
        &mut self,
        due: Instant,
        clock: &Clock,
        first: bool,
        payload_type: u8,
        out: &mut impl FnMut(Out<'_>),
    ) {
        if first {
            self.event_at = self.at.max(self.aligned(clock.position(due)));
            self.at = self.event_at;
        }
        self.send(first, payload_type, self.event_at, None, out);
    }

    fn send(
        &mut self,
        marker: bool,
        payload_type: u8,
        at: Position,
        audio_ticks: Option<u64>,
        out: &mut impl FnMut(Out<'_>),
    ) {
        let seq = self.seq;
        self.seq = seq.next();
        self.send_numbered(seq, marker, payload_type, at, out);
        if let Some(ticks) = audio_ticks {
            // What the other leg said may have been told a little further already.
            let (at, format) = (at.max(self.told), self.format);
            self.told = at.saturating_add(ticks);
            let payload = self.datagram.get(RTP_HEADER_LEN..).unwrap_or_default();
            out(Out::Audio(
                Piece { at, ticks, said_before: false, format, payload },
                Far::Part(self.playout.far()),
            ));
        }
    }

    /// Send what lies in `datagram` behind the room for a header.
    fn send_numbered(
        &mut self,
        seq: SeqNo,
        marker: bool,
        payload_type: u8,
        at: Position,
        out: &mut impl FnMut(Out<'_>),
    ) {
        let header = RtpHeader { marker, payload_type, seq, timestamp: self.timestamp(at), ssrc: self.ssrc };
        if let Some(room) = self.datagram.first_chunk_mut::<RTP_HEADER_LEN>() {
            *room = header.to_bytes();
        }
        self.sent_any = true;
        self.packets = self.packets.saturating_add(1);
        let bytes = u64::try_from(self.datagram.len()).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(bytes);
        self.octets = self.octets.saturating_add(bytes.saturating_sub(12));
        out(Out::Packet(&self.datagram));
    }

    /// The count of the RTP clock that a position lies in.
    const fn aligned(&self, position: Position) -> Position {
        position - position % self.tick
    }
}

const RTP_HEADER_LEN: usize = 12;
/// 12.65 kbit/s: the best of the mode-set 0,1,2, which is the commonest.
const AMR_WB_MODE: u8 = 2;

#[expect(clippy::cast_possible_truncation, reason = "RTP timestamps wrap at 32 bits")]
const fn low_32(count: u64) -> u32 {
    count as u32
}

/// Whether the leg may send and knows where to. `0.0.0.0` is the old way to hold (RFC 3264 8.4).
pub(crate) fn can_send(params: &LegParams) -> bool {
    params.sending && reachable(params.remote_rtp)
}

pub(crate) fn reachable(target: SocketAddr) -> bool {
    target.port() != 0 && !target.ip().is_unspecified()
}
