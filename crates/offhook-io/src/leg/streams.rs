//! The streams of a leg: their sockets, what comes in by them, and their ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_media::{Refused, StreamParams, TapId};
use rustix::event::epoll;
use rustix::event::epoll::{EventData, EventFlags};
use tokio::sync::oneshot;

use super::sink::LegSink;
use super::{Leg, LegIo};
use crate::connect::{Attempts, Destination, OpenSocket, Request};
use crate::context::{Context, PART_STREAMS, token};
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::limits::STREAM_READ_BYTES;
use crate::mailbox::Home;
use crate::stream::{End, Stream};
use crate::ws::{Incoming, Opcode};

impl Leg {
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

    /// Close the sockets of streams whose tap has just been removed.
    pub(super) fn close_streams(&mut self, now: Instant, reason: &str, cx: &mut Context) {
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

    fn stream(&mut self, serial: u16) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.serial == serial)
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

pub(super) fn count_end(stream: &Stream, counters: &Counters) {
    Counters::sub(&counters.taps_open);
    if stream.counted_connecting {
        Counters::sub(&counters.streams_connecting);
    }
    if stream.transport().is_some() {
        Counters::sub(&counters.stream_sockets_open);
    }
}

/// Tell epoll what the stream waits for, if that has changed. True when the socket was lost by it.
pub(super) fn watch(stream: &mut Stream, slot: u32, cx: &Context) -> bool {
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
