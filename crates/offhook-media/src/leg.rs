//! The media of one leg.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::params::{ForkParams, LegParams, Refused, SpeechParams, StreamParams, TapId};
use crate::sink::Sink;
use crate::stats::LegStats;

/// One leg's media, from the first datagram until the last tap is closed.
///
/// After each call that takes a [`Sink`], ask [`MediaLeg::poll_timeout`] again.
#[derive(Debug)]
pub struct MediaLeg {}

impl MediaLeg {
    /// A leg that drops packets until it is connected. `unix_now` is the wall clock at `now`;
    /// `seed` (random, from the caller) gives SSRC, first sequence number, first timestamp, CNAME.
    pub fn new(now: Instant, unix_now: Duration, seed: u64) -> Self {
        todo!()
    }

    /// Say what offer and answer agreed on. Again on re-INVITE: taps stay, the source lock resets.
    pub fn connect(&mut self, now: Instant, params: LegParams) -> Result<(), Refused> {
        todo!()
    }

    /// Take a datagram from the RTP port. RTCP is told apart when both share the port (RFC 5761).
    pub fn receive_rtp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8], sink: &mut impl Sink) {
        todo!()
    }

    /// Take a datagram from the RTCP port.
    pub fn receive_rtcp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8], sink: &mut impl Sink) {
        todo!()
    }

    /// Let time pass. Safe to call early, late, or twice.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        todo!()
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Copy packets to UDP targets from now on.
    pub fn add_fork(&mut self, now: Instant, tap: TapId, params: ForkParams) -> Result<(), Refused> {
        todo!()
    }

    /// Add a stream whose socket is not open yet; its audio begins with `stream_connected`.
    pub fn add_stream(&mut self, now: Instant, tap: TapId, params: StreamParams) -> Result<(), Refused> {
        todo!()
    }

    /// The socket is open: sends the connected frame, and keeps audio from now on.
    pub fn stream_connected(&mut self, now: Instant, tap: TapId, sink: &mut impl Sink) -> Result<(), Refused> {
        todo!()
    }

    /// Send the start frame, then what was kept, then media as it comes.
    pub fn begin_stream(&mut self, now: Instant, tap: TapId, sink: &mut impl Sink) -> Result<(), Refused> {
        todo!()
    }

    /// Tell whether the stream's socket takes more. While it does not, media is kept inside the leg
    /// (up to `buffer_ms`, the oldest is dropped and counted) so that sequence numbers have no gaps.
    pub fn stream_writable(&mut self, now: Instant, tap: TapId, writable: bool, sink: &mut impl Sink) {
        todo!()
    }

    /// Take a text message from the application.
    pub fn receive_stream_text(&mut self, now: Instant, tap: TapId, text: &str, sink: &mut impl Sink) {
        todo!()
    }

    /// Take a binary message from the application: answered by error 100003.
    pub fn receive_stream_binary(&mut self, now: Instant, tap: TapId, sink: &mut impl Sink) {
        todo!()
    }

    /// Decode one track for a recogniser from now on.
    pub fn add_speech(&mut self, now: Instant, tap: TapId, params: SpeechParams) -> Result<(), Refused> {
        todo!()
    }

    /// End a tap: a begun stream sends its stop frame, speech its last chunk, then `TapClosed`.
    pub fn remove_tap(&mut self, now: Instant, tap: TapId, reason: &str, sink: &mut impl Sink) -> Result<(), Refused> {
        todo!()
    }

    /// Queue mono audio of 8000 or 16000 Hz; all of it or nothing. Call `handle_timeout` when due.
    pub fn play(&mut self, now: Instant, pcm: &[i16], sample_rate_hz: u32) -> Result<(), Refused> {
        todo!()
    }

    /// Drop what is queued and not yet sent, digits too.
    pub fn clear(&mut self, now: Instant, sink: &mut impl Sink) {
        todo!()
    }

    /// Send digits as telephone-events (RFC 4733).
    pub fn send_digits(&mut self, now: Instant, digits: &str, duration_ms: u32, gap_ms: u32) -> Result<(), Refused> {
        todo!()
    }

    /// Counters up to now.
    pub fn stats(&self) -> LegStats {
        todo!()
    }

    /// Close every tap with reason `call_ended`, say goodbye by RTCP, and send nothing after that.
    pub fn close(&mut self, now: Instant, sink: &mut impl Sink) {
        todo!()
    }
}
