//! One leg on its worker: the media leg, its sockets and its streams.

mod bridge;
mod recordings;
mod sink;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_media::{
    Event as MediaEvent, LegParams, LegStats, MediaLeg, PlayId, PlayParams, Port, Refused, Sink, TapId,
};
use rustix::event::epoll;
use rustix::event::epoll::{EventData, EventFlags};

use self::recordings::Recording;
use self::sink::LegSink;
use self::streams::count_end;
use crate::context::{Context, PART_RTCP, PART_RTP, token};
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::mailbox::Home;
use crate::ports::{BoundPort, LegPorts};
use crate::recorder::{FileEnd, FileId};
use crate::stream::Stream;

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

/// A leg.
pub(crate) struct Leg {
    media: MediaLeg,
    io: LegIo,
    closing: bool,
    /// The deadline that waits in the worker's heap.
    pub armed: Option<Instant>,
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

    pub(crate) fn stats(&self) -> LegStats {
        self.media.stats()
    }
}

impl LegIo {
    fn release_ports(&mut self, now: Instant, cx: &Context) {
        for bound in [self.rtp.take(), self.rtcp.take()].into_iter().flatten() {
            release(bound, now, cx);
        }
    }
}

fn release(bound: BoundPort, now: Instant, cx: &Context) {
    // The pool keeps the descriptor open, so epoll would go on telling of it.
    let _ = epoll::delete(&cx.epoll, &bound.socket);
    cx.shared.pool().release(bound, now);
}
