//! The media of one leg.

mod bridge;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_codec::Format;
use offhook_rtp::{DigitReceived, is_rtcp};

use crate::clock::{Clock, Position, sooner, to_ms, to_us};
use crate::fork::ForkTap;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::params::{
    ForkParams, LegParams, PlayId, PlayParams, RecordingParams, Refused, SpeechParams, StreamParams, TapId,
    Track,
};
use crate::piece::{Far, Piece};
use crate::player::Told;
use crate::recording::RecordingTap;
use crate::relayed::Relayed;
use crate::report::{Reporter, Sent};
use crate::rx::Receiver;
use crate::seed::Seed;
use crate::sink::{Event, Port, Sink};
use crate::speech::SpeechTap;
use crate::stats::LegStats;
use crate::stream::StreamTap;
use crate::taps::{Tap, Taps};
use crate::tx::{Out, Transmitter, reachable};

/// One leg's media, from the first datagram until the last tap is closed.
///
/// After each call ask [`MediaLeg::poll_timeout`] again.
#[derive(Debug)]
pub struct MediaLeg {
    clock: Clock,
    params: Option<LegParams>,
    closed: bool,
    rx: Receiver,
    tx: Transmitter,
    reporter: Reporter,
    taps: Taps,
    /// There while the leg is bridged: whether keys are for the other leg too.
    relays_keys: Option<bool>,
}

impl MediaLeg {
    /// A leg that drops packets until it is connected. `unix_now` is the wall clock at `now`;
    /// `seed` (random, from the caller) gives SSRC, first sequence number, first timestamp, CNAME.
    pub fn new(now: Instant, unix_now: Duration, seed: u64) -> Self {
        let mut seed = Seed::new(seed);
        let tx = Transmitter::new(seed.next_u32(), seed.next_u16(), seed.next_u32());
        Self {
            clock: Clock::new(now, unix_now),
            params: None,
            closed: false,
            rx: Receiver::new(),
            tx,
            reporter: Reporter::new(seed),
            taps: Taps::default(),
            relays_keys: None,
        }
    }

    /// Say what offer and answer agreed on. Again on re-INVITE: taps stay, the source lock resets.
    pub fn connect(&mut self, now: Instant, params: LegParams) -> Result<(), Refused> {
        params.check()?;
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.params.is_none() {
            self.clock.restart(now);
        }
        self.rx.connect(now, &params);
        self.tx.connect(now, &params);
        self.reporter.connect(now);
        self.listen_for_tones(&params);
        self.params = Some(params);
        Ok(())
    }

    /// Take a datagram from the RTP port. RTCP is told apart when both share the port (RFC 5761).
    pub fn receive_rtp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8], sink: &mut impl Sink) {
        let Some(params) = &self.params else {
            self.rx.dropped.early = self.rx.dropped.early.saturating_add(1);
            return;
        };
        if params.rtcp_mux && is_rtcp(datagram) {
            return self.receive_rtcp(now, source, datagram, sink);
        }
        let here = self.clock.position(now);
        let Some((accepted, payload)) = self.rx.accept(now, here, source, datagram, params) else { return };
        if let Some(ssrc) = accepted.started {
            sink.event(Event::MediaStarted { ssrc, source });
        }
        let taps = &mut self.taps;
        taps.packet(Track::Rx, datagram, sink);
        if let (Format::AmrWb { .. }, Some(first)) = (params.format, payload.first()) {
            // The first four bits in both forms of a payload; fifteen asks for nothing.
            if accepted.is_audio() && first >> 4 <= 8 {
                self.tx.request_amr_wb_mode(first >> 4);
            }
        }
        let bridged = self.relays_keys.is_some();
        if let Some(item) = self.relays_keys.and_then(|keys| accepted.relayed(payload, params, keys)) {
            sink.relay(item);
        }
        self.rx.order(now, here, &accepted, payload, &mut |piece| {
            taps.audio(now, Track::Rx, piece, Far::All, sink);
            if bridged && !piece.said_before {
                sink.relay(handed_on(here, piece));
            }
        });
        if accepted.is_event() {
            self.taps.keys = None;
            for digit in self.rx.digits(now, &accepted).into_iter().flatten() {
                self.tell_event(now, digit, sink);
            }
        }
        self.tell_tones(now, sink);
    }

    /// Take a datagram from the RTCP port.
    pub fn receive_rtcp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8], _sink: &mut impl Sink) {
        let Some(params) = &self.params else {
            self.rx.dropped.early = self.rx.dropped.early.saturating_add(1);
            return;
        };
        let from_far_end = source.ip() == params.remote_rtcp.ip()
            || self.rx.target().is_some_and(|target| target.ip() == source.ip());
        if !from_far_end {
            self.reporter.foreign = self.reporter.foreign.saturating_add(1);
        } else if datagram.len() > DATAGRAM_BYTES_MAX {
            self.reporter.malformed = self.reporter.malformed.saturating_add(1);
        } else if self.reporter.receive(now, self.clock.unix(now), self.tx.ssrc, datagram) {
            self.reporter.source.get_or_insert(source);
        }
    }

    /// Let time pass. Safe to call early, late, or twice.
    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        self.tx.playout.handle_timeout(now);
        let Some(params) = &self.params else { return };
        self.tx.wake(now, params);
        let (taps, here, bridged) = (&mut self.taps, self.clock.position(now), self.relays_keys.is_some());
        self.rx.handle_timeout(now, &self.clock, &mut |piece| {
            taps.audio(now, Track::Rx, piece, Far::All, sink);
            if bridged && !piece.said_before {
                sink.relay(handed_on(here, piece));
            }
        });
        if let Some(digit) = self.rx.expire_digit(now) {
            self.tell_event(now, digit, sink);
        }
        if self.rx.take_silence(now) {
            sink.event(Event::MediaTimeout);
        }
        self.send_due(now, sink);
        if self.reporter.take_due(now) {
            self.send_report(now, false, sink);
        }
        self.taps.handle_timeout(now, self.clock.position(now), &mut self.tx.playout, sink);
        self.tell_tones(now, sink);
    }

    /// When `handle_timeout` wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let packets = sooner(self.rx.poll_timeout(), self.tx.poll_timeout());
        let taps = self.params.as_ref().and_then(|_| self.taps.poll_timeout());
        sooner(packets, sooner(self.reporter.poll_timeout(), taps))
    }

    /// Copy packets to UDP targets from now on.
    pub fn add_fork(&mut self, _now: Instant, tap: TapId, params: ForkParams) -> Result<(), Refused> {
        self.check_tap(tap)?;
        self.taps.add(tap, Tap::Fork(Box::new(ForkTap::new(params))));
        Ok(())
    }

    /// Add a stream whose socket is not open yet; its audio begins with `stream_connected`.
    pub fn add_stream(&mut self, _now: Instant, tap: TapId, params: StreamParams) -> Result<(), Refused> {
        self.check_tap(tap)?;
        let (app_format, app_heard) = (params.app_format, params.app_heard);
        self.taps.add(tap, Tap::Stream(Box::new(StreamTap::new(tap, params, self.format())?)));
        if let Some(format) = app_format {
            self.tx.playout.add_voice(tap, format, app_heard);
        }
        Ok(())
    }

    /// The socket is open: sends the connected frame, and keeps audio from now on. After
    /// [`MediaLeg::stream_lost`] numbers, chunks and timestamps begin anew, and a stream that was begun is
    /// begun again at once: start frame, with the number of the reconnect, then what was kept.
    pub fn stream_connected(
        &mut self,
        now: Instant,
        tap: TapId,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        let here = self.clock.position(now);
        self.taps.stream(tap)?.connected(here, sink);
        Ok(())
    }

    /// The socket is gone and another may come. Audio, digits and marks are kept for it (up to
    /// `buffer_ms`, the oldest audio is dropped and counted), and what the application has said plays on.
    pub fn stream_lost(&mut self, now: Instant, tap: TapId) {
        let here = self.clock.position(now);
        if let Ok(stream) = self.taps.stream(tap) {
            stream.lost(here);
        }
    }

    /// Send the start frame, then what was kept, then media as it comes.
    pub fn begin_stream(&mut self, _now: Instant, tap: TapId, sink: &mut impl Sink) -> Result<(), Refused> {
        self.taps.stream(tap)?.begin(sink)
    }

    /// Let a stream's stop frame say why the call ended.
    ///
    /// # Errors
    /// When the tap is not a stream of this leg.
    pub fn set_hangup_cause(&mut self, tap: TapId, cause: &str) -> Result<(), Refused> {
        self.taps.stream(tap)?.set_hangup_cause(cause);
        Ok(())
    }

    /// Tell whether the stream's socket takes more. While it does not, media is kept inside the leg
    /// (up to `buffer_ms`, the oldest is dropped and counted) so that sequence numbers have no gaps;
    /// one error frame then tells the application. Control frames are always given out.
    pub fn stream_writable(&mut self, _now: Instant, tap: TapId, writable: bool, sink: &mut impl Sink) {
        if let Ok(stream) = self.taps.stream(tap) {
            stream.writable(writable, sink);
        }
    }

    /// Take a text message from the application. Its audio goes out by `handle_timeout`, the first packet
    /// at once, if the far end may hear it.
    pub fn receive_stream_text(&mut self, now: Instant, tap: TapId, text: &str, sink: &mut impl Sink) {
        if let Ok(stream) = self.taps.stream(tap) {
            stream.receive_text(now, text, self.tx.playout.voice(tap), sink);
            self.wake(now);
        }
    }

    /// Take a binary message from the application: audio if that was agreed on, else answered by
    /// error 100003.
    pub fn receive_stream_binary(
        &mut self,
        now: Instant,
        tap: TapId,
        message: Vec<u8>,
        sink: &mut impl Sink,
    ) {
        if let Ok(stream) = self.taps.stream(tap) {
            stream.receive_binary(now, message, self.tx.playout.voice(tap), sink);
            self.wake(now);
        }
    }

    /// Decode one track for a recogniser from now on.
    pub fn add_speech(&mut self, _now: Instant, tap: TapId, params: SpeechParams) -> Result<(), Refused> {
        self.check_tap(tap)?;
        params.check(self.format())?;
        self.taps.add(tap, Tap::Speech(Box::new(SpeechTap::new(tap, params))));
        Ok(())
    }

    /// Give both tracks or one to a file from now on.
    pub fn add_recording(
        &mut self,
        now: Instant,
        tap: TapId,
        params: RecordingParams,
    ) -> Result<(), Refused> {
        self.check_tap(tap)?;
        params.check(self.format())?;
        let origin = self.params.as_ref().map(|_| self.clock.position(now));
        self.taps.add(tap, Tap::Recording(Box::new(RecordingTap::new(now, origin, tap, params))));
        Ok(())
    }

    /// Leave out of a recording what is heard until [`MediaLeg::resume_recording`].
    pub fn pause_recording(&mut self, now: Instant, tap: TapId) -> Result<(), Refused> {
        let here = self.clock.position(now);
        self.taps.recording(tap)?.pause(here);
        Ok(())
    }

    /// Go on with a recording; without a pause nothing happens.
    pub fn resume_recording(
        &mut self,
        now: Instant,
        tap: TapId,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        let here = self.clock.position(now);
        self.taps.recording(tap)?.resume(here, sink);
        Ok(())
    }

    /// End a tap: a begun stream sends its stop frame, speech its last chunk, then `TapClosed`.
    pub fn remove_tap(
        &mut self,
        now: Instant,
        tap: TapId,
        reason: &str,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        let here = self.clock.position(now);
        self.taps.remove(tap, (here, reason), &mut self.tx.playout, sink)
    }

    /// Queue mono audio for the far end. It goes out by `handle_timeout`, the first packet at once, after the
    /// plays that wait already or, as an overlay, mixed over them. What applications say is another queue.
    /// An accepted play is told by exactly one `PlayEnded`, after `PlayStarted` if any of it was sent.
    pub fn play(&mut self, now: Instant, play: PlayId, params: PlayParams) -> Result<(), Refused> {
        self.check_open()?;
        if !self.format().is_none_or(Format::encodable) {
            return Err(Refused::Untranscodable);
        }
        self.tx.playout.play(play, params)?;
        self.wake(now);
        Ok(())
    }

    /// End a play, whether it is heard or waits.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn stop_play(&mut self, _now: Instant, play: PlayId, sink: &mut impl Sink) -> Result<(), Refused> {
        let known = self.tx.playout.stop_play(play);
        self.tell_plays(sink);
        if known { Ok(()) } else { Err(Refused::NoSuchPlay) }
    }

    /// Send digits as telephone-events (RFC 4733), all of them or nothing; audio waits meanwhile.
    pub fn send_digits(
        &mut self,
        now: Instant,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
    ) -> Result<(), Refused> {
        self.check_open()?;
        if self.params.as_ref().is_none_or(|params| params.dtmf_payload_type.is_none()) {
            return Err(Refused::NoTelephoneEvent);
        }
        self.tx.playout.send_digits(digits, duration_ms, gap_ms)?;
        self.wake(now);
        Ok(())
    }

    /// Counters up to now.
    pub fn stats(&self) -> LegStats {
        let (rx, tx, reporter, bridged) = (&self.rx, &self.tx, &self.reporter, self.tx.bridged());
        LegStats {
            taps: self.taps.stats(&tx.playout),
            packets_received: rx.packets,
            bytes_received: rx.bytes,
            packets_lost: rx.stats.lost(),
            packets_duplicate: rx.stats.duplicates(),
            packets_reordered: rx.stats.reordered(),
            packets_late: rx.reorder.late,
            packets_malformed: rx.dropped.malformed.saturating_add(reporter.malformed),
            packets_foreign: rx.dropped.foreign,
            packets_early: rx.dropped.early,
            packets_ahead: rx.reorder.ahead,
            packets_unexpected: rx.dropped.unexpected,
            packets_not_receiving: rx.dropped.not_receiving,
            packets_undecodable: rx.reorder.undecodable.saturating_add(self.taps.undecodable()),
            resyncs: rx.reorder.resyncs,
            gap_ms: to_ms(rx.reorder.gap),
            jitter_us: to_us(u64::from(rx.stats.jitter()).saturating_mul(rx.tick)),
            jitter_buffer_ms: u64::try_from(rx.reorder.patience.current().as_millis()).unwrap_or(0),
            slipped_samples: rx.reorder.slipped,
            drift_ppm: rx.reorder.drift.ppm(),
            digits_received: rx.digits,
            digits_dropped: rx.digits_dropped,
            digits_inband: rx.digits_inband,
            packets_sent: tx.packets,
            packets_passed: tx.passed,
            packets_not_passed: tx.not_passed.saturating_add(bridged.undecodable),
            bridge_underruns: bridged.underruns,
            bridge_discarded_ms: bridged.discarded_ms,
            bytes_sent: tx.bytes,
            played_ms: to_ms(tx.playout.played),
            queued_ms: tx.playout.queued_ms(),
            discarded_ms: to_ms(tx.playout.discarded),
            playout_slips: tx.slips,
            packets_unencodable: tx.unencodable,
            digits_sent: tx.playout.digits_sent,
            rtcp_received: reporter.received,
            rtcp_sent: reporter.sent,
            rtcp_foreign: reporter.foreign,
            remote_lost: reporter.remote_lost,
            remote_jitter_us: to_us(u64::from(reporter.remote_jitter).saturating_mul(tx.tick)),
            rtt_us: reporter.rtt_us,
        }
    }

    /// Close every tap with reason `call_ended`, say goodbye by RTCP, and send nothing after that.
    pub fn close(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.tx.playout.clear();
        self.tell_plays(sink);
        if self.params.is_some() {
            let taps = &mut self.taps;
            self.rx.flush(self.clock.position(now), &mut |piece| {
                taps.audio(now, Track::Rx, piece, Far::All, sink);
            });
        }
        self.taps.close_all((self.clock.position(now), "call_ended"), &mut self.tx.playout, sink);
        self.send_report(now, true, sink);
        self.params = None;
        self.relays_keys = None;
        self.rx.stop();
        self.tx.stop();
        self.reporter.stop();
    }

    fn format(&self) -> Option<Format> {
        self.params.as_ref().map(|params| params.format)
    }

    fn check_open(&self) -> Result<(), Refused> {
        if self.closed { Err(Refused::Closed) } else { Ok(()) }
    }

    fn check_tap(&self, tap: TapId) -> Result<(), Refused> {
        self.check_open()?;
        self.taps.check_free(tap)
    }

    fn wake(&mut self, now: Instant) {
        if let Some(params) = &self.params {
            self.tx.wake(now, params);
        }
    }

    /// Begin or end listening for the tones of keys, as was agreed on.
    fn listen_for_tones(&mut self, params: &LegParams) {
        let wanted = params.hears_tones() && !self.rx.sends_events;
        self.taps.keys = if wanted { Some(self.taps.keys.take().unwrap_or_default()) } else { None };
    }

    /// Tell of a key that came as a telephone-event.
    fn tell_event(&mut self, now: Instant, received: DigitReceived, sink: &mut impl Sink) {
        let clock_rate_hz = self.params.as_ref().map_or(8000, |params| params.dtmf_clock_rate_hz);
        let duration_ms = u64::from(received.duration) * 1000 / u64::from(clock_rate_hz);
        self.tell_digit(now, (received.digit, duration_ms), duration_ms, sink);
    }

    /// Tell of the keys that were heard by their tones.
    fn tell_tones(&mut self, now: Instant, sink: &mut impl Sink) {
        while let Some(heard) = self.taps.keys.as_mut().and_then(|keys| keys.next()) {
            let duration_ms = u64::from(heard.duration_ms);
            let began_ms_ago = duration_ms.saturating_add(u64::from(heard.ended_ms_ago));
            if self.tell_digit(now, (heard.digit, duration_ms), began_ms_ago, sink) {
                self.rx.digits_inband = self.rx.digits_inband.saturating_add(1);
            }
        }
    }

    /// Tell of a key, if so many may be told.
    fn tell_digit(
        &mut self,
        now: Instant,
        (digit, duration_ms): (char, u64),
        began_ms_ago: u64,
        sink: &mut impl Sink,
    ) -> bool {
        if !self.rx.count_digit(now) {
            return false;
        }
        sink.event(Event::Digit {
            digit,
            at_ms: self.clock.ms(now).saturating_sub(began_ms_ago),
            duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
        });
        let occurred_at = self.clock.unix(now).saturating_sub(Duration::from_millis(began_ms_ago));
        self.taps.digit(digit, occurred_at, sink);
        true
    }

    fn send_due(&mut self, now: Instant, sink: &mut impl Sink) {
        let (Some(params), Some(target)) = (&self.params, self.rx.target()) else { return };
        let taps = &mut self.taps;
        self.tx.handle_timeout(now, &self.clock, params, &mut |out| match out {
            Out::Packet(datagram) => {
                sink.transmit(Port::Rtp, target, datagram);
                taps.packet(Track::Tx, datagram, sink);
            }
            Out::Audio(piece, far) => taps.audio(now, Track::Tx, piece, far, sink),
            Out::Said(rate_hz, pcm) => sink.relay(Relayed::Said { rate_hz, pcm }),
        });
        self.tell_plays(sink);
        while let Some((tap, name)) = self.tx.playout.next_mark() {
            if let Ok(stream) = self.taps.stream(tap) {
                stream.mark(now, name, sink);
            }
        }
    }

    /// Tell what has begun and ended to be played.
    fn tell_plays(&mut self, sink: &mut impl Sink) {
        while let Some(told) = self.tx.playout.next_told() {
            sink.event(match told {
                Told::Started(play) => Event::PlayStarted { play },
                Told::Ended(play, played_ms, completed) => Event::PlayEnded { play, played_ms, completed },
            });
        }
    }

    fn send_report(&mut self, now: Instant, bye: bool, sink: &mut impl Sink) {
        let (Some(params), Some(rtp_target)) = (&self.params, self.rx.target()) else { return };
        let (port, target) = if params.rtcp_mux {
            (Port::Rtp, rtp_target)
        } else {
            (Port::Rtcp, self.reporter.source.unwrap_or(params.remote_rtcp))
        };
        if !reachable(target) {
            return;
        }
        let sent = Sent {
            ssrc: self.tx.ssrc,
            packets: self.tx.packets,
            octets: self.tx.octets,
            timestamp: self.tx.timestamp(self.clock.position(now)),
        };
        let compound = self.reporter.build(now, self.clock.unix(now), sent, &mut self.rx.stats, bye);
        sink.transmit(port, target, compound);
    }
}

/// A piece of the rx track as the other leg of a bridge takes it.
const fn handed_on(here: Position, piece: Piece<'_>) -> Relayed<'_> {
    Relayed::Audio { here, at: piece.at, ticks: piece.ticks, format: piece.format, payload: piece.payload }
}
