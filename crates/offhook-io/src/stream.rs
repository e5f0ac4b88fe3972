//! One stream's socket: frames out as the socket takes them, messages in, ping, and the close.
//!
//! What the frames say is the media leg's business. When the socket takes no more, the leg is told
//! and holds its media back; only what was already written, and control frames, wait here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_media::{TapId, TapStats};
use rustix::event::epoll::EventFlags;
use tokio::sync::oneshot;

use crate::connect::{Destination, OpenSocket};
use crate::limits::{APP_MESSAGE_BYTES_MAX, CLOSE_TIMEOUT, CONTROL_BYTES_WAITING_MAX};
use crate::reconnect::Reconnect;
use crate::transport::{ReadEnd, Transport};
use crate::ws::{Decoder, Incoming, MaskSource, Opcode, WsError, close_payload, encode_frame};

/// Where a stream stands.
#[derive(Debug)]
enum Phase {
    /// The connector works on it; dropping the sender calls it off.
    Connecting {
        _cancel: oneshot::Sender<()>,
    },
    Open,
    /// The socket is gone; `Stream::let_go` is next.
    Lost {
        reason: String,
    },
    /// Our close frame is out, or in the queue.
    Closing {
        until: Instant,
    },
    /// Nothing is left to do but to tell.
    Done,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed { reason: String },
    Failed { reason: &'static str, detail: String },
}

/// One stream of a leg.
#[derive(Debug)]
pub(crate) struct Stream {
    pub tap: TapId,
    /// Names the stream within its leg in descriptors' tokens and in answers of the connector.
    pub serial: u16,
    pub stats: Option<TapStats>,
    /// The leg was told that the socket takes no more.
    pub told_blocked: bool,
    /// The process counts it as being connected.
    pub counted_connecting: bool,
    /// What epoll was told last.
    pub interest: EventFlags,
    pub destination: Arc<Destination>,
    pub reconnect: Reconnect,
    phase: Phase,
    end: Option<End>,
    transport: Option<Transport>,
    decoder: Decoder,
    backlog: Vec<u8>,
    backlog_sent: usize,
    ping_every: Duration,
    ping_at: Option<Instant>,
    pong_owed: bool,
}

impl Stream {
    pub(crate) fn new(
        tap: TapId,
        serial: u16,
        (destination, ping_every): (Arc<Destination>, Duration),
        cancel: oneshot::Sender<()>,
    ) -> Self {
        Self {
            tap,
            serial,
            stats: None,
            told_blocked: false,
            counted_connecting: false,
            interest: EventFlags::empty(),
            reconnect: Reconnect::new(destination.reconnect.clone()),
            destination,
            phase: Phase::Connecting { _cancel: cancel },
            end: None,
            transport: None,
            decoder: Decoder::new(APP_MESSAGE_BYTES_MAX),
            backlog: Vec::new(),
            backlog_sent: 0,
            ping_every,
            ping_at: None,
            pong_owed: false,
        }
    }

    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. })
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Why the socket is gone, until it is let go of.
    pub(crate) fn lost_reason(&self) -> Option<&str> {
        match &self.phase {
            Phase::Lost { reason } => Some(reason),
            _ => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(crate) fn transport(&self) -> Option<&Transport> {
        self.transport.as_ref()
    }

    /// The connector has a socket.
    pub(crate) fn open(&mut self, socket: OpenSocket, now: Instant) {
        self.decoder.feed(&socket.first_bytes);
        self.transport = Some(socket.transport);
        self.phase = Phase::Open;
        self.reconnect.opened(now);
        self.ping_at = (!self.ping_every.is_zero()).then(|| now + self.ping_every);
    }

    /// Forget the lost socket and everything that belonged to it; another is on its way.
    pub(crate) fn let_go(&mut self, cancel: oneshot::Sender<()>) {
        if let Some(mut transport) = self.transport.take() {
            transport.close();
        }
        self.phase = Phase::Connecting { _cancel: cancel };
        self.decoder = Decoder::new(APP_MESSAGE_BYTES_MAX);
        self.backlog = Vec::new();
        self.backlog_sent = 0;
        // The kernel forgets a descriptor that is closed.
        self.interest = EventFlags::empty();
        self.told_blocked = false;
        self.ping_at = None;
        self.pong_owed = false;
    }

    /// No try has got a socket.
    pub(crate) fn give_up(&mut self, reason: &str) {
        if self.reconnect.has_been_open() {
            let tries = self.reconnect.tries();
            self.fail("connection_lost", format!("given up after {tries} tries; the last: {reason}"));
        } else {
            self.fail("connection_failed", reason.to_owned());
        }
    }

    /// Send a frame now, or behind what waits.
    pub(crate) fn send(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        masks: &mut MaskSource,
        frame: &mut Vec<u8>,
    ) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        encode_frame(frame, opcode, masks.next_key(), payload);
        let Some(transport) = &mut self.transport else { return };
        if self.backlog.is_empty() && !transport.holds_unsent() {
            match transport.write(frame) {
                Ok(count) => self.backlog.extend_from_slice(frame.get(count..).unwrap_or_default()),
                Err(err) => self.lose(err.to_string()),
            }
        } else {
            self.backlog.extend_from_slice(frame);
        }
    }

    /// Whether the socket takes no more at present.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.backlog.is_empty() || self.transport.as_ref().is_some_and(Transport::holds_unsent)
    }

    /// The socket takes more again.
    pub(crate) fn flush(&mut self) {
        let Some(transport) = &mut self.transport else { return };
        let result = flush(transport, &self.backlog, &mut self.backlog_sent);
        if self.backlog_sent >= self.backlog.len() {
            self.backlog = Vec::new();
            self.backlog_sent = 0;
        } else if self.backlog_sent > CONTROL_BYTES_WAITING_MAX {
            self.backlog.drain(..self.backlog_sent);
            self.backlog_sent = 0;
        }
        if let Err(err) = result {
            self.lose(err.to_string());
        }
    }

    /// Read once from the socket, for [`Stream::next_message`]. True when it will send no more.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> bool {
        self.read_with(|transport, decoder| transport.read(buffer, |bytes| decoder.feed(bytes)))
    }

    /// Take what TLS had opened before the socket came to us.
    pub(crate) fn read_held(&mut self, buffer: &mut [u8]) -> bool {
        self.read_with(|transport, decoder| transport.read_held(buffer, |bytes| decoder.feed(bytes)))
    }

    fn read_with(&mut self, read: impl FnOnce(&mut Transport, &mut Decoder) -> io::Result<ReadEnd>) -> bool {
        let Some(transport) = &mut self.transport else { return false };
        // Any sign of life will do for a pong.
        self.pong_owed = false;
        match read(transport, &mut self.decoder) {
            Ok(end) => end == ReadEnd::Eof,
            Err(err) => {
                self.lose(err.to_string());
                false
            }
        }
    }

    /// The next whole message, for as long as the stream is open.
    pub(crate) fn next_message(&mut self) -> Option<Result<Incoming, WsError>> {
        if matches!(self.phase, Phase::Done | Phase::Lost { .. }) {
            return None;
        }
        self.decoder.next_message().transpose()
    }

    /// The socket will send no more and gave no close frame.
    pub(crate) fn ended_by_peer(&mut self) {
        match self.phase {
            Phase::Closing { .. } => self.phase = Phase::Done,
            Phase::Open => self.lose("the connection ended without a close frame".into()),
            _ => {}
        }
    }

    /// The peer sent a close frame (contract 4.7: these codes say that the app wants the end).
    pub(crate) fn closed_by_peer(&mut self, code: Option<u16>, masks: &mut MaskSource, frame: &mut Vec<u8>) {
        if let Phase::Closing { .. } = self.phase {
            self.phase = Phase::Done;
            return;
        }
        self.send(Opcode::Close, &close_payload(code.unwrap_or(1000)), masks, frame);
        match code {
            None | Some(1000 | 1001 | 1005) => self.finish(End::Closed { reason: "app_closed".into() }),
            Some(code) => self.lose(format!("the app closed with code {code}")),
        }
    }

    /// The peer broke the protocol.
    pub(crate) fn refuse(&mut self, error: WsError, masks: &mut MaskSource, frame: &mut Vec<u8>) {
        self.send(Opcode::Close, &close_payload(error.close_code()), masks, frame);
        self.lose(error.to_string());
    }

    /// We want the end: a close frame behind what waits, then a bounded wait for the peer's.
    pub(crate) fn close(&mut self, reason: &str, now: Instant, masks: &mut MaskSource, frame: &mut Vec<u8>) {
        if self.end.is_some() {
            return;
        }
        let end = End::Closed { reason: reason.to_owned() };
        if matches!(self.phase, Phase::Open) {
            self.send(Opcode::Close, &close_payload(1000), masks, frame);
            // The socket may have broken under this very frame; the end was wanted all the same.
            self.end = Some(end);
            let open = matches!(self.phase, Phase::Open);
            self.phase = if open { Phase::Closing { until: now + CLOSE_TIMEOUT } } else { Phase::Done };
        } else {
            self.finish(end);
        }
    }

    /// The stream cannot go on.
    pub(crate) fn fail(&mut self, reason: &'static str, detail: String) {
        self.finish(End::Failed { reason, detail });
    }

    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.phase = Phase::Done;
        if let Some(transport) = &mut self.transport {
            transport.close();
        }
    }

    /// The socket is of no use any more; the stream may be.
    pub(crate) fn lose(&mut self, reason: String) {
        match self.phase {
            Phase::Open if self.reconnect.is_wanted() => self.phase = Phase::Lost { reason },
            Phase::Lost { .. } => {}
            _ => self.fail("connection_lost", reason),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => self.ping_at,
            Phase::Closing { until } => Some(until),
            _ => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, masks: &mut MaskSource, frame: &mut Vec<u8>) {
        match self.phase {
            Phase::Closing { until } if now >= until => self.phase = Phase::Done,
            Phase::Open if self.ping_at.is_some_and(|at| now >= at) => {
                if self.pong_owed {
                    let waited_ms = self.ping_every.as_millis();
                    self.lose(format!("no pong within {waited_ms} ms"));
                } else {
                    self.pong_owed = true;
                    self.ping_at = Some(now + self.ping_every);
                    self.send(Opcode::Ping, &[], masks, frame);
                }
            }
            _ => {}
        }
    }

    /// What epoll should watch for: no reading while our answers pile up.
    pub(crate) fn wanted_interest(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        if self.backlog.len() - self.backlog_sent <= CONTROL_BYTES_WAITING_MAX || !self.is_open() {
            flags |= EventFlags::IN;
        }
        if self.is_blocked() {
            flags |= EventFlags::OUT;
        }
        flags
    }
}

fn flush(transport: &mut Transport, backlog: &[u8], sent: &mut usize) -> io::Result<()> {
    transport.flush()?;
    while !transport.holds_unsent() {
        let rest = backlog.get(*sent..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let count = transport.write(rest)?;
        if count == 0 {
            break;
        }
        *sent += count;
    }
    Ok(())
}
