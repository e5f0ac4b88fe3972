//! Where a leg puts what comes out of it.

use std::net::SocketAddr;

use crate::params::{PlayId, TapId};
use crate::relayed::Relayed;
use crate::stats::TapStats;

/// The two local ports of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// RTP, and RTCP too when both share a port.
    Rtp,
    /// RTCP alone.
    Rtcp,
}

/// How a frame is to be treated by a queue that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Audio: the oldest may be dropped.
    Media,
    /// Everything else: must arrive.
    Control,
}

/// Takes the outputs of one leg, called in order while the leg handles an input.
pub trait Sink {
    /// Send a packet to the far end from one of the leg's ports.
    fn transmit(&mut self, port: Port, to: SocketAddr, datagram: &[u8]);
    /// Send a copied packet to a fork target.
    fn fork(&mut self, to: SocketAddr, datagram: &[u8]);
    /// Send one text frame on a stream's socket.
    fn stream_frame(&mut self, tap: TapId, kind: FrameKind, json: &[u8]);
    /// Whether a frame would have to wait for a stream's socket: what is kept stays where it is then.
    fn stream_is_full(&self, _tap: TapId) -> bool {
        false
    }
    /// Hand decoded audio to the recogniser; `at_ms` is the time of the first sample.
    fn audio(&mut self, tap: TapId, at_ms: u64, pcm: &[i16]);
    /// Give something to the leg that this one is bridged to.
    fn relay(&mut self, _item: Relayed<'_>) {}
    /// Hand audio to the writer of a recording: whole frames, the first of which is frame `at` of the file.
    /// Where no file can be written they are lost.
    fn recorded(&mut self, _tap: TapId, _at: u64, _pcm: &[i16]) {}
    /// Tell what has happened.
    fn event(&mut self, event: Event);
}

/// What has happened on a leg. Times are milliseconds since the leg was first connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first packet from the far end, and again after each change of source or SSRC.
    MediaStarted {
        /// Its synchronisation source.
        ssrc: u32,
        /// Where it came from.
        source: SocketAddr,
    },
    /// Nothing has come for the agreed time; told once per silence.
    MediaTimeout,
    /// The far end has pressed a key.
    Digit {
        /// One of `0123456789*#ABCD`.
        digit: char,
        /// When it began.
        at_ms: u64,
        /// How long it was held.
        duration_ms: u32,
    },
    /// The first packet of a play has been sent.
    PlayStarted {
        /// Which one.
        play: PlayId,
    },
    /// A play has ended; nothing follows for it.
    PlayEnded {
        /// Which one.
        play: PlayId,
        /// How much was sent.
        played_ms: u64,
        /// All of it was; else it was stopped, or the leg ended.
        completed: bool,
    },
    /// A recording has ended; nothing follows for it but its `TapClosed`.
    RecordingEnded {
        /// Which one.
        tap: TapId,
        /// `max_length`, `silence`, or what `remove_tap` said.
        reason: String,
        /// What the file keeps from its beginning on; the rest is silence that was to be cut off.
        frames: u64,
        /// How long that lasts.
        duration_ms: u64,
    },
    /// A tap has ended; nothing follows for it.
    TapClosed {
        /// Which one.
        tap: TapId,
        /// What it did.
        stats: TapStats,
    },
}
