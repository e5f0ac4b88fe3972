//! One leg on its worker: the media leg, its sockets and its streams.

mod bridge;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_media::{
    Event as MediaEvent, FrameKind, LegParams, LegStats, MediaLeg, PlayId, PlayParams, Port, RecordingParams,
    Refused, Relayed, Sink, StreamParams, TapId, TapStats,
};
use rustix::event::epoll;
use rustix::event::epoll::{EventData, EventFlags};
use tokio::sync::oneshot;

use crate::connect::{Attempts, Destination, OpenSocket, Request};
use crate::context::{Context, PART_RTCP, PART_RTP, PART_STREAMS, token};
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::limits::STREAM_READ_BYTES;
use crate::mailbox::Home;
use crate::ports::{BoundPort, LegPorts};
use crate::recorder::{FileEnd, FileId};
use crate::stream::{End, Stream};
use crate::ws::{Incoming, Opcode};

/// Everything of a leg except its media state.
struct LegIo {
    id: u64,
    slot: u32,
    /// The worker it lives on, for those who open sockets for it.
    home: Home,
    /// The leg it is bridged to.
    other: Option<u64>,
    rtp: Option<BoundPort>,
    rtcp: Option<BoundPort>,
    local_v6: bool,
    streams: Vec<Stream>,
    /// Forks and speech taps.
    taps: Vec<TapId>,
    /// Those that have not ended.
    plays: Vec<PlayId>,
    recordings: Vec<Recording>,
    next_serial: u16,
    /// Something about a stream wants `settle`.
    attention: bool,
}

/// A recording until its file is closed.
struct Recording {
    tap: TapId,
    /// Why it has ended, and how long it was.
    end: Option<(String, u64)>,
    stats: TapStats,
}

/// A leg.
pub(crate) struct Leg {
    media: MediaLeg,
    io: LegIo,
    closing: bool,
    /// The deadline that waits in the worker's heap.
    pub armed: Option<Instant>,
}

/// Takes what comes out of the media leg.
struct LegSink<'a> {
    io: &'a mut LegIo,
    cx: &'a mut Context,
}

impl Sink for LegSink<'_> {
    fn transmit(&mut self, port: Port, to: SocketAddr, datagram: &[u8]) {
        let bound = match port {
            Port::Rtp => self.io.rtp.as_ref(),
            Port::Rtcp => self.io.rtcp.as_ref().or(self.io.rtp.as_ref()),
        };
        let to = match to {
            SocketAddr::V4(v4) if self.io.local_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            other => other,
        };
        if bound.is_none_or(|bound| bound.socket.send_to(datagram, to).is_err()) {
            Counters::add(&self.cx.shared.counters.transmit_errors_total);
        }
    }

    fn fork(&mut self, to: SocketAddr, datagram: &[u8]) {
        if self.cx.forks.send(to, datagram).is_err() {
            Counters::add(&self.cx.shared.counters.fork_errors_total);
        }
    }

    fn stream_is_full(&self, tap: TapId) -> bool {
        self.io.streams.iter().find(|stream| stream.tap == tap).is_some_and(Stream::is_blocked)
    }

    fn stream_frame(&mut self, tap: TapId, _kind: FrameKind, json: &[u8]) {
        let Some(stream) = self.io.streams.iter_mut().find(|stream| stream.tap == tap) else { return };
        stream.send(Opcode::Text, json, &mut self.cx.masks, &mut self.cx.frame);
        if stream.is_blocked() != stream.told_blocked || !stream.is_open() {
            self.io.attention = true;
        }
    }

    fn audio(&mut self, tap: TapId, at_ms: u64, pcm: &[i16]) {
        let pcm = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.tell(tap.0, What::Audio { at_ms, pcm });
    }

    fn relay(&mut self, item: Relayed<'_>) {
        if self.io.other.is_some() {
            self.cx.relayed.push(item);
        }
    }

    fn recorded(&mut self, tap: TapId, at: u64, pcm: &[i16]) {
        self.cx.shared.recorder.write(FileId { leg: self.io.id, tap }, at, pcm);
    }

    fn event(&mut self, event: MediaEvent) {
        let what = match event {
            MediaEvent::MediaStarted { ssrc, source } => What::MediaStarted { ssrc, source },
            MediaEvent::MediaTimeout => What::MediaTimeout,
            MediaEvent::Digit { digit, at_ms, duration_ms } => What::Digit { digit, at_ms, duration_ms },
            MediaEvent::PlayStarted { play } => return self.tell(play.0, What::PlayStarted),
            MediaEvent::PlayEnded { play, played_ms, completed } => {
                self.io.plays.retain(|open| *open != play);
                return self.tell(play.0, What::PlayEnded { played_ms, completed });
            }
            MediaEvent::RecordingEnded { tap, reason, frames, duration_ms } => {
                if let Some(recording) = self.io.recording(tap) {
                    recording.end = Some((reason, duration_ms));
                    self.cx.shared.recorder.close(FileId { leg: self.io.id, tap }, frames);
                }
                return;
            }
            MediaEvent::TapClosed { tap, stats } => {
                // A recording has a file to close before it has ended.
                if let Some(recording) = self.io.recording(tap) {
                    recording.stats = stats;
                    return;
                }
                // A stream has a socket to close before it has ended.
                if let Some(stream) = self.io.streams.iter_mut().find(|stream| stream.tap == tap) {
                    stream.stats = Some(stats);
                    self.io.attention = true;
                    return;
                }
                self.io.taps.retain(|open| *open != tap);
                Counters::sub(&self.cx.shared.counters.taps_open);
                return self.tell(tap.0, What::TapClosed { stats });
            }
        };
        self.tell(0, what);
    }
}

impl LegSink<'_> {
    fn tell(&self, tap: u64, what: What) {
        self.cx.shared.events.push(Event { leg: self.io.id, tap, what });
    }
}

impl Leg {
    /// A leg whose sockets are watched; packets are counted and dropped until `connect`.
    pub(crate) fn open(
        id: u64,
        slot: u32,
        ports: LegPorts,
        (now, unix_now, seed): (Instant, Duration, u64),
        cx: &Context,
    ) -> rustix::io::Result<Self> {
        epoll::add(&cx.epoll, &ports.rtp.socket, EventData::new_u64(token(slot, PART_RTP)), EventFlags::IN)?;
        if let Some(rtcp) = &ports.rtcp {
            epoll::add(&cx.epoll, &rtcp.socket, EventData::new_u64(token(slot, PART_RTCP)), EventFlags::IN)?;
        }
        let local_v6 = ports.rtp.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        Ok(Self {
            media: MediaLeg::new(now, unix_now, seed),
            io: LegIo {
                id,
                slot,
                home: Home::new(cx.index, Arc::clone(&cx.mailboxes)),
                other: None,
                rtp: Some(ports.rtp),
                rtcp: ports.rtcp,
                local_v6,
                streams: Vec::new(),
                taps: Vec::new(),
                plays: Vec::new(),
                recordings: Vec::new(),
                next_serial: 0,
                attention: false,
            },
            closing: false,
            armed: None,
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.io.id
    }

    /// The leg it is bridged to.
    pub(crate) fn other(&self) -> Option<u64> {
        self.io.other
    }

    /// Read one datagram; level-triggered epoll tells of the next.
    pub(crate) fn receive(&mut self, port: Port, now: Instant, buffer: &mut [u8], cx: &mut Context) {
        let bound = match port {
            Port::Rtp => self.io.rtp.as_ref(),
            Port::Rtcp => self.io.rtcp.as_ref(),
        };
        let Some(Ok((count, source))) = bound.map(|bound| bound.socket.recv_from(buffer)) else { return };
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let datagram = buffer.get(..count).unwrap_or_default();
        let mut sink = LegSink { io: &mut self.io, cx };
        match port {
            Port::Rtp => self.media.receive_rtp(now, source, datagram, &mut sink),
            Port::Rtcp => self.media.receive_rtcp(now, source, datagram, &mut sink),
        }
    }

    /// Say what offer and answer agreed on.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        params: LegParams,
        cx: &mut Context,
    ) -> Result<(), Refused> {
        let mux = params.rtcp_mux;
        self.media.connect(now, params)?;
        if mux && let Some(rtcp) = self.io.rtcp.take() {
            release(rtcp, now, cx);
        }
        Ok(())
    }

    /// Let the media leg do something that puts nothing out at once.
    pub(crate) fn ask(
        &mut self,
        request: impl FnOnce(&mut MediaLeg) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        request(&mut self.media)
    }

    /// Add a fork or speech tap. A refusal is an end at once.
    pub(crate) fn add_tap(
        &mut self,
        tap: TapId,
        cx: &mut Context,
        add: impl FnOnce(&mut MediaLeg) -> Result<(), Refused>,
    ) {
        Counters::add(&cx.shared.counters.taps_open);
        self.io.taps.push(tap);
        if self.closing || add(&mut self.media).is_err() {
            Counters::add(&cx.shared.counters.commands_refused_total);
            let stats = offhook_media::TapStats::default();
            LegSink { io: &mut self.io, cx }.event(MediaEvent::TapClosed { tap, stats });
        }
    }

    /// Add a recording and have its file made. A refusal is an end at once.
    pub(crate) fn add_recording(
        &mut self,
        now: Instant,
        tap: TapId,
        params: RecordingParams,
        path: PathBuf,
        cx: &mut Context,
    ) {
        Counters::add(&cx.shared.counters.taps_open);
        let refused = if self.closing {
            Some("the call ended".to_owned())
        } else {
            self.media.add_recording(now, tap, params).err().map(|refused| refused.to_string())
        };
        self.io.recordings.push(Recording { tap, end: None, stats: TapStats::default() });
        if let Some(detail) = refused {
            Counters::add(&cx.shared.counters.commands_refused_total);
            return self.recording_closed(tap, FileEnd { size_bytes: 0, error: Some(detail) }, cx);
        }
        let id = FileId { leg: self.io.id, tap };
        cx.shared.recorder.open(id, path, (params.channels(), params.sample_rate_hz), &self.io.home);
    }

    /// Go on with a recording.
    pub(crate) fn resume_recording(
        &mut self,
        now: Instant,
        tap: TapId,
        cx: &mut Context,
    ) -> Result<(), Refused> {
        self.media.resume_recording(now, tap, &mut LegSink { io: &mut self.io, cx })
    }

    /// The file of a recording is closed: tell the end.
    pub(crate) fn recording_closed(&mut self, tap: TapId, end: FileEnd, cx: &Context) {
        let Some(place) = self.io.recordings.iter().position(|recording| recording.tap == tap) else {
            return;
        };
        let recording = self.io.recordings.remove(place);
        Counters::sub(&cx.shared.counters.taps_open);
        let what = recording.closed(end);
        cx.shared.events.push(Event { leg: self.io.id, tap: tap.0, what });
    }

    /// Add a stream and have it connected.
    pub(crate) fn add_stream(
        &mut self,
        now: Instant,
        tap: TapId,
        (params, destination, ping_every): (StreamParams, Destination, Duration),
        cx: &mut Context,
    ) {
        Counters::add(&cx.shared.counters.taps_open);
        let (cancel, cancelled) = oneshot::channel();
        let serial = self.io.next_serial;
        self.io.next_serial = serial.wrapping_add(1);
        let mut stream = Stream::new(tap, serial, (Arc::new(destination), ping_every), cancel);
        let refused = if self.closing { None } else { self.media.add_stream(now, tap, params).err() };
        if let Some(refused) = refused {
            Counters::add(&cx.shared.counters.commands_refused_total);
            stream.fail("connection_failed", refused.to_string());
        } else if self.closing {
            stream.fail("connection_failed", "the call ended".into());
        } else {
            let at_once = [Duration::ZERO].into_iter();
            let attempts = Attempts {
                pauses: at_once.chain(stream.destination.retries.iter().copied()).collect(),
                until: None,
                reason: String::new(),
            };
            LegIo::ask_for_socket((self.io.id, &self.io.home), &mut stream, attempts, cancelled, cx);
        }
        self.io.attention = true;
        self.io.streams.push(stream);
    }

    /// A stream has lost its socket: seek another while the media leg keeps what is to be sent.
    fn reconnect(&mut self, index: usize, now: Instant, cx: &mut Context) {
        let (id, home) = (self.io.id, self.io.home.clone());
        let Some(stream) = self.io.streams.get_mut(index) else { return };
        let Some(reason) = stream.lost_reason().map(str::to_owned) else { return };
        let Some((pauses, until)) = stream.reconnect.lost(now) else { return stream.give_up(&reason) };
        let (cancel, cancelled) = oneshot::channel();
        stream.let_go(cancel);
        Counters::sub(&cx.shared.counters.stream_sockets_open);
        let tap = stream.tap;
        self.media.stream_lost(now, tap);
        let detail = reason.clone();
        cx.shared.events.push(Event { leg: id, tap: tap.0, what: What::StreamReconnecting { detail } });
        let attempts = Attempts { pauses, until: Some(until), reason };
        LegIo::ask_for_socket((id, &home), stream, attempts, cancelled, cx);
    }

    /// The connector has done what it could.
    pub(crate) fn stream_opened(
        &mut self,
        serial: u16,
        result: Result<OpenSocket, String>,
        tries: usize,
        now: Instant,
        cx: &mut Context,
    ) {
        let Some(stream) = self.io.stream(serial).filter(|stream| stream.is_connecting()) else { return };
        stream.counted_connecting = false;
        Counters::sub(&cx.shared.counters.streams_connecting);
        let tap = stream.tap;
        stream.reconnect.tried(tries);
        match result {
            Err(reason) => stream.give_up(&reason),
            Ok(socket) => {
                let what = if stream.reconnect.has_been_open() {
                    Counters::add(&cx.shared.counters.streams_reconnected_total);
                    What::StreamReconnected { tries: stream.reconnect.tries() as u64 }
                } else {
                    What::StreamConnected
                };
                stream.open(socket, now);
                Counters::add(&cx.shared.counters.stream_sockets_open);
                Counters::add(&cx.shared.counters.streams_connected_total);
                let mut sink = LegSink { io: &mut self.io, cx };
                // The tap is there: it was added with the stream and goes with it.
                let _ = self.media.stream_connected(now, tap, &mut sink);
                sink.tell(tap.0, what);
                let mut buffer = [0_u8; 1_024];
                self.with_stream(serial, |stream| stream.read_held(&mut buffer));
                self.take_messages(serial, now, cx);
            }
        }
        self.io.attention = true;
    }

    /// Send the start frame, and audio from now on.
    pub(crate) fn begin_stream(&mut self, now: Instant, tap: TapId, cx: &mut Context) -> Result<(), Refused> {
        self.media.begin_stream(now, tap, &mut LegSink { io: &mut self.io, cx })
    }

    /// End a tap: stop frame, last chunk, close.
    pub(crate) fn remove_tap(
        &mut self,
        now: Instant,
        tap: TapId,
        reason: &str,
        hangup_cause: Option<&str>,
        cx: &mut Context,
    ) -> Result<(), Refused> {
        if let Some(cause) = hangup_cause {
            let _not_a_stream = self.media.set_hangup_cause(tap, cause);
        }
        self.media.remove_tap(now, tap, reason, &mut LegSink { io: &mut self.io, cx })?;
        self.close_streams(now, reason, cx);
        Ok(())
    }

    /// Queue audio. A refusal is an end at once.
    pub(crate) fn play(
        &mut self,
        now: Instant,
        play: PlayId,
        params: PlayParams,
        cx: &mut Context,
    ) -> Result<(), Refused> {
        let played = self.media.play(now, play, params);
        if played.is_ok() {
            self.io.plays.push(play);
        } else {
            let what = What::PlayEnded { played_ms: 0, completed: false };
            LegSink { io: &mut self.io, cx }.tell(play.0, what);
        }
        played
    }

    /// End a play, unless its end is on its way.
    pub(crate) fn stop_play(&mut self, now: Instant, play: PlayId, cx: &mut Context) {
        let _ended_already = self.media.stop_play(now, play, &mut LegSink { io: &mut self.io, cx });
    }

    /// Close every tap and give the ports back; the leg is done when its streams are.
    pub(crate) fn close(&mut self, now: Instant, cx: &mut Context) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.media.close(now, &mut LegSink { io: &mut self.io, cx });
        self.close_streams(now, "call_ended", cx);
        self.io.release_ports(now, cx);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.closing && self.io.streams.is_empty() && self.io.recordings.is_empty()
    }

    /// The leg is gone: tell, and forget what it had.
    pub(crate) fn farewell(self, cx: &Context) {
        Counters::sub(&cx.shared.counters.legs_open);
        let stats = Box::new(self.media.stats());
        let counters = &cx.shared.counters;
        Counters::add_many(&counters.rx_packets_lost_total, stats.packets_lost);
        Counters::add_many(&counters.rx_packets_late_total, stats.packets_late);
        Counters::add_many(&counters.rx_samples_slipped_total, stats.slipped_samples);
        Counters::add_many(&counters.rx_digits_inband_total, stats.digits_inband);
        Counters::add_many(&counters.bridge_packets_passed_total, stats.packets_passed);
        Counters::add_many(&counters.bridge_packets_not_passed_total, stats.packets_not_passed);
        Counters::add_many(&counters.bridge_underruns_total, stats.bridge_underruns);
        cx.shared.events.push(Event { leg: self.io.id, tap: 0, what: What::LegClosed { stats } });
    }

    /// A fault of ours: every tap ends here, without asking the media leg anything more.
    pub(crate) fn fail(mut self, message: String, now: Instant, cx: &Context) {
        self.io.release_ports(now, cx);
        let counters = Arc::clone(&cx.shared.counters);
        Counters::add(&counters.legs_failed_total);
        let id = self.io.id;
        let tell = |tap, what| cx.shared.events.push(Event { leg: id, tap, what });
        tell(0, What::LegFailed { message });
        for play in &self.io.plays {
            tell(play.0, What::PlayEnded { played_ms: 0, completed: false });
        }
        for tap in &self.io.taps {
            Counters::sub(&counters.taps_open);
            tell(tap.0, What::TapClosed { stats: offhook_media::TapStats::default() });
        }
        for recording in self.io.recordings.drain(..) {
            let id = FileId { leg: id, tap: recording.tap };
            cx.shared.recorder.close(id, u64::MAX);
            Counters::sub(&counters.taps_open);
            let error = Some("an internal fault ended the leg".to_owned());
            tell(id.tap.0, recording.closed(FileEnd { size_bytes: 0, error }));
        }
        for stream in &mut self.io.streams {
            stream.fail("connection_lost", "an internal fault ended the leg".into());
            count_end(stream, &counters);
            let detail = "an internal fault ended the leg".into();
            tell(stream.tap.0, What::StreamFailed { reason: "connection_lost", detail });
        }
        Counters::sub(&counters.legs_open);
        tell(0, What::LegClosed { stats: Box::default() });
    }

    /// A stream's socket is ready for something.
    pub(crate) fn stream_ready(
        &mut self,
        serial: u16,
        flags: EventFlags,
        now: Instant,
        buffer: &mut [u8],
        cx: &mut Context,
    ) {
        if flags.contains(EventFlags::OUT) {
            self.with_stream(serial, |stream| {
                stream.flush();
                false
            });
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let part = buffer.len().min(STREAM_READ_BYTES);
            let buffer = buffer.get_mut(..part).unwrap_or_default();
            let eof = self.with_stream(serial, |stream| stream.read(buffer));
            self.take_messages(serial, now, cx);
            if eof && let Some(stream) = self.io.stream(serial) {
                stream.ended_by_peer();
            }
        }
        self.io.attention = true;
    }

    /// Let time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant, cx: &mut Context) {
        self.media.handle_timeout(now, &mut LegSink { io: &mut self.io, cx });
        for stream in &mut self.io.streams {
            stream.handle_timeout(now, &mut cx.masks, &mut cx.frame);
            self.io.attention |= stream.is_done()
                || stream.lost_reason().is_some()
                || stream.is_blocked() != stream.told_blocked;
        }
    }

    /// When `handle_timeout` is wanted next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.io.streams.iter().filter_map(Stream::poll_timeout).min();
        let media = if self.closing { None } else { self.media.poll_timeout() };
        [media, streams].into_iter().flatten().min()
    }

    /// Bring media leg, sockets and streams to agree, after each input. Costs one test when nothing
    /// about a stream has changed.
    pub(crate) fn settle(&mut self, now: Instant, cx: &mut Context) {
        while std::mem::take(&mut self.io.attention) {
            for index in 0..self.io.streams.len() {
                self.reconnect(index, now, cx);
                let Some(stream) = self.io.streams.get_mut(index) else { continue };
                let (tap, blocked) = (stream.tap, stream.is_blocked());
                if stream.is_done() && stream.stats.is_none() {
                    // Its stop frame has nowhere to go; what counts are the last figures.
                    let mut sink = LegSink { io: &mut self.io, cx };
                    let _ = self.media.remove_tap(now, tap, "error", &mut sink);
                } else if blocked != stream.told_blocked && stream.is_open() {
                    stream.told_blocked = blocked;
                    let mut sink = LegSink { io: &mut self.io, cx };
                    self.media.stream_writable(now, tap, !blocked, &mut sink);
                }
                let slot = self.io.slot;
                if let Some(stream) = self.io.streams.get_mut(index) {
                    self.io.attention |= watch(stream, slot, cx);
                }
            }
            self.io.tell_ends(cx);
        }
    }

    pub(crate) fn stats(&self) -> LegStats {
        self.media.stats()
    }

    /// Close the sockets of streams whose tap has just been removed.
    fn close_streams(&mut self, now: Instant, reason: &str, cx: &mut Context) {
        for stream in self.io.streams.iter_mut().filter(|stream| stream.stats.is_some()) {
            stream.close(reason, now, &mut cx.masks, &mut cx.frame);
            self.io.attention = true;
        }
    }

    fn with_stream(&mut self, serial: u16, act: impl FnOnce(&mut Stream) -> bool) -> bool {
        self.io.stream(serial).is_some_and(act)
    }

    fn take_messages(&mut self, serial: u16, now: Instant, cx: &mut Context) {
        while let Some(stream) = self.io.stream(serial) {
            let (tap, open) = (stream.tap, stream.is_open());
            match stream.next_message() {
                None => return,
                Some(Err(error)) => return stream.refuse(error, &mut cx.masks, &mut cx.frame),
                Some(Ok(Incoming::Close(code))) => {
                    return stream.closed_by_peer(code, &mut cx.masks, &mut cx.frame);
                }
                Some(Ok(Incoming::Ping(payload))) => {
                    stream.send(Opcode::Pong, &payload, &mut cx.masks, &mut cx.frame);
                }
                Some(Ok(Incoming::Text(text))) if open => {
                    let mut sink = LegSink { io: &mut self.io, cx };
                    self.media.receive_stream_text(now, tap, &text, &mut sink);
                }
                Some(Ok(Incoming::Binary(message))) if open => {
                    let mut sink = LegSink { io: &mut self.io, cx };
                    self.media.receive_stream_binary(now, tap, message, &mut sink);
                }
                Some(Ok(_)) => {}
            }
        }
    }
}

impl Recording {
    /// What is told of its end.
    fn closed(self, end: FileEnd) -> What {
        let (reason, duration_ms) = self.end.unwrap_or_default();
        let reason = if end.error.is_some() { "failed".to_owned() } else { reason };
        What::RecordingClosed {
            reason,
            detail: end.error.unwrap_or_default(),
            duration_ms,
            size_bytes: end.size_bytes,
            stats: self.stats,
        }
    }
}

impl LegIo {
    fn ask_for_socket(
        (leg, home): (u64, &Home),
        stream: &mut Stream,
        attempts: Attempts,
        cancelled: oneshot::Receiver<()>,
        cx: &Context,
    ) {
        let request = Request {
            leg,
            serial: stream.serial,
            home: home.clone(),
            destination: Arc::clone(&stream.destination),
            attempts,
            cancelled,
        };
        if cx.connector.request(request) {
            stream.counted_connecting = true;
            Counters::add(&cx.shared.counters.streams_connecting);
        } else {
            stream.give_up("too many connections are being opened");
        }
    }

    fn recording(&mut self, tap: TapId) -> Option<&mut Recording> {
        self.recordings.iter_mut().find(|recording| recording.tap == tap)
    }

    fn stream(&mut self, serial: u16) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.serial == serial)
    }

    fn release_ports(&mut self, now: Instant, cx: &Context) {
        for bound in [self.rtp.take(), self.rtcp.take()].into_iter().flatten() {
            release(bound, now, cx);
        }
    }

    /// Tell the end of streams that have ended, and forget them.
    fn tell_ends(&mut self, cx: &Context) {
        let id = self.id;
        self.streams.retain(|stream| {
            if !stream.is_done() {
                return true;
            }
            count_end(stream, &cx.shared.counters);
            let what = match stream.end().cloned() {
                Some(End::Failed { reason, detail }) => {
                    Counters::add(&cx.shared.counters.streams_failed_total);
                    What::StreamFailed { reason, detail }
                }
                Some(End::Closed { reason }) => {
                    What::StreamClosed { reason, stats: stream.stats.unwrap_or_default() }
                }
                None => What::StreamFailed { reason: "connection_lost", detail: "unknown".into() },
            };
            cx.shared.events.push(Event { leg: id, tap: stream.tap.0, what });
            false
        });
    }
}

fn count_end(stream: &Stream, counters: &Counters) {
    Counters::sub(&counters.taps_open);
    if stream.counted_connecting {
        Counters::sub(&counters.streams_connecting);
    }
    if stream.transport().is_some() {
        Counters::sub(&counters.stream_sockets_open);
    }
}

fn release(bound: BoundPort, now: Instant, cx: &Context) {
    // The pool keeps the descriptor open, so epoll would go on telling of it.
    let _ = epoll::delete(&cx.epoll, &bound.socket);
    cx.shared.pool().release(bound, now);
}

/// Tell epoll what the stream waits for, if that has changed. True when the socket was lost by it.
fn watch(stream: &mut Stream, slot: u32, cx: &Context) -> bool {
    let wanted = stream.wanted_interest();
    let Some(transport) = stream.transport() else { return false };
    if wanted == stream.interest || stream.is_done() {
        return false;
    }
    let data = EventData::new_u64(token(slot, PART_STREAMS + u32::from(stream.serial)));
    let told = if stream.interest.is_empty() {
        epoll::add(&cx.epoll, transport.fd(), data, wanted)
    } else {
        epoll::modify(&cx.epoll, transport.fd(), data, wanted)
    };
    match told {
        Ok(()) => stream.interest = wanted,
        Err(err) => stream.lose(err.to_string()),
    }
    !stream.is_open()
}
