//! What comes out of a media leg: packets to sockets, frames to streams, events to the control plane.

use std::net::SocketAddr;

use offhook_media::{Event as MediaEvent, FrameKind, Port, Relayed, Sink, TapId};

use super::LegIo;
use crate::context::Context;
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::recorder::FileId;
use crate::stream::Stream;
use crate::ws::Opcode;

/// Takes what comes out of the media leg.
pub(super) struct LegSink<'a> {
    pub(super) io: &'a mut LegIo,
    pub(super) cx: &'a mut Context,
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
    pub(super) fn tell(&self, tap: u64, what: What) {
        self.cx.shared.events.push(Event { leg: self.io.id, tap, what });
    }
}
