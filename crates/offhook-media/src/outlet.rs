//! The way out of a stream: numbers frames, writes them, and keeps them for a socket that takes no more.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Position, iso_8601, ticks, to_ms};
use crate::frame::{FrameError, FrameWriter};
use crate::lane::TrackFrame;
use crate::limits::{DIGITS_MAX, KEPT_FRAME_BYTES, MARKS_WAITING_MAX, STREAM_BUFFER_BYTES_MAX};
use crate::params::{TapId, Track};
use crate::sink::{FrameKind, Sink};
use crate::stats::{TapKind, TapStats};

const MARKS_FULL: FrameError = FrameError::Limit("too many marks wait; this one was dropped");
const TOO_SLOW: FrameError = FrameError::Unknown("audio was dropped because the application read too slowly");
const TOO_LONG_AWAY: FrameError =
    FrameError::Unknown("audio was dropped because there was no connection for longer than the buffer lasts");

/// How far the conversation with the application has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No socket yet: nothing is kept.
    Opening,
    /// The connected frame is out: audio is kept.
    Connected,
    /// The start frame is out: audio goes out as it comes.
    Begun,
    /// The socket was lost and another may come: audio is kept.
    Lost,
}

/// Something that waits until it may be sent.
#[derive(Debug)]
enum Kept {
    Media { track: Track, at: Position, ticks: u64, payload: Box<[u8]> },
    Digit { digit: char, occurred_at: Duration },
    Mark(String),
}

/// Where one track stands.
#[derive(Debug, Default)]
struct Progress {
    /// Position that counts as timestamp 0 on this socket; `None` before the first frame.
    base: Option<Position>,
    chunk: u64,
    /// How much of it is kept.
    kept_ticks: u64,
}

/// Numbers, writes or keeps frames.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) tap: TapId,
    pub(crate) stage: Stage,
    pub(crate) writable: bool,
    pub(crate) epoch: Position,
    pub(crate) writer: FrameWriter,
    rx: Progress,
    tx: Progress,
    kept: VecDeque<Kept>,
    /// Bound of each track.
    kept_ticks_max: u64,
    /// What media cost in `kept`.
    kept_bytes: usize,
    /// Media has been dropped, and nobody was told yet.
    overflowed: Option<FrameError>,
    /// It was told already, and the application has not caught up since.
    overflow_told: bool,
    pub(crate) stats: TapStats,
}

impl Outlet {
    /// No socket yet; once there is one, so much of each track may be kept.
    pub(crate) fn new(tap: TapId, stream_id: &str, buffer_ms: u32) -> Self {
        Self {
            tap,
            stage: Stage::Opening,
            writable: true,
            epoch: 0,
            writer: FrameWriter::new(stream_id),
            rx: Progress::default(),
            tx: Progress::default(),
            kept: VecDeque::new(),
            kept_ticks_max: ticks(u64::from(buffer_ms)),
            kept_bytes: 0,
            overflowed: None,
            overflow_told: false,
            stats: TapStats { kind: TapKind::Stream, ..TapStats::default() },
        }
    }

    pub(crate) fn stats(&self) -> TapStats {
        TapStats { buffered_ms: to_ms(self.rx.kept_ticks.max(self.tx.kept_ticks)), ..self.stats }
    }

    /// The socket is new: what is kept stays, and the numbers begin.
    pub(crate) fn connected(&mut self) {
        self.stage = Stage::Connected;
        self.writable = true;
        self.writer.restart();
        for progress in [&mut self.rx, &mut self.tx] {
            (progress.base, progress.chunk) = (None, 0);
        }
    }

    /// The socket is gone. Timestamps of the next count from the oldest audio that is kept, or from `here`.
    pub(crate) fn lost(&mut self, here: Position) {
        self.stage = Stage::Lost;
        self.overflow_told = false;
        let kept = self.kept.iter().filter_map(|kept| match kept {
            Kept::Media { at, .. } => Some(*at),
            Kept::Digit { .. } | Kept::Mark(_) => None,
        });
        self.epoch = kept.min().map_or(here, |oldest| oldest.min(here));
    }

    /// Send one frame of audio, or keep it.
    pub(crate) fn media(&mut self, track: Track, frame: TrackFrame<'_>, sink: &mut impl Sink) {
        let begun = self.stage == Stage::Begun && self.writable;
        if begun && !self.kept.is_empty() {
            self.send_kept(sink);
        }
        if begun && self.kept.is_empty() {
            self.send_media(track, frame.at, frame.payload, sink);
        } else {
            self.keep(track, frame);
        }
    }

    fn send_media(&mut self, track: Track, at: Position, payload: &[u8], sink: &mut impl Sink) {
        self.count_frame();
        let (progress, count) = match track {
            Track::Rx => (&mut self.rx, &mut self.stats.rx_frames),
            Track::Tx => (&mut self.tx, &mut self.stats.tx_frames),
        };
        *count = count.saturating_add(1);
        // The frame that was under way when the stream began counts from its own first sample.
        let base = *progress.base.get_or_insert(self.epoch.min(at));
        let timestamp_ms = to_ms(at.saturating_sub(base));
        progress.chunk = progress.chunk.saturating_add(1);
        let frame = self.writer.media(track, progress.chunk, timestamp_ms, payload);
        sink.stream_frame(self.tap, FrameKind::Media, frame);
    }

    /// Send what was kept, as far as the socket takes it.
    pub(crate) fn send_kept(&mut self, sink: &mut impl Sink) {
        while !sink.stream_is_full(self.tap) {
            if !self.send_next(sink) {
                return;
            }
        }
    }

    /// Send what was kept, whatever the socket takes; nothing comes after that.
    pub(crate) fn send_all_kept(&mut self, sink: &mut impl Sink) {
        while self.send_next(sink) {}
    }

    /// Send the first thing that is kept; false when there is none.
    fn send_next(&mut self, sink: &mut impl Sink) -> bool {
        if let Some(error) = self.overflowed.take()
            && !self.overflow_told
        {
            self.overflow_told = true;
            self.count_frame();
            sink.stream_frame(self.tap, FrameKind::Control, self.writer.error(error));
        }
        match self.kept.pop_front() {
            Some(Kept::Media { track, at, ticks, payload }) => {
                self.discount(track, ticks, &payload);
                self.send_media(track, at, &payload, sink);
            }
            Some(Kept::Digit { digit, occurred_at }) => self.send_digit(digit, occurred_at, sink),
            Some(Kept::Mark(name)) => self.send_mark(&name, sink),
            None => {}
        }
        if self.kept.is_empty() {
            self.forget_kept();
            self.overflow_told = false;
        }
        !self.kept.is_empty()
    }

    /// Keep a frame; the oldest ones make room for it.
    fn keep(&mut self, track: Track, frame: TrackFrame<'_>) {
        while self.progress(track).kept_ticks.saturating_add(frame.ticks) > self.kept_ticks_max {
            if !self.drop_oldest(Some(track)) {
                return self.drop_one();
            }
        }
        let cost = kept_cost(frame.payload);
        while self.kept_bytes.saturating_add(cost) > STREAM_BUFFER_BYTES_MAX {
            if !self.drop_oldest(None) {
                return self.drop_one();
            }
        }
        self.kept_bytes = self.kept_bytes.saturating_add(cost);
        let progress = self.progress(track);
        progress.kept_ticks = progress.kept_ticks.saturating_add(frame.ticks);
        let TrackFrame { at, ticks, payload } = frame;
        self.kept.push_back(Kept::Media { track, at, ticks, payload: payload.into() });
    }

    /// Drop the oldest frame of one track, or of both; false when there is none.
    fn drop_oldest(&mut self, of: Option<Track>) -> bool {
        let is_wanted = |kept: &Kept| match kept {
            Kept::Media { track, .. } => of.is_none_or(|of| of == *track),
            Kept::Digit { .. } | Kept::Mark(_) => false,
        };
        let oldest = self.kept.iter().position(is_wanted).and_then(|oldest| self.kept.remove(oldest));
        let Some(Kept::Media { track, ticks, payload, .. }) = oldest else { return false };
        self.discount(track, ticks, &payload);
        self.drop_one();
        true
    }

    /// A frame is not kept any more.
    fn discount(&mut self, track: Track, ticks: u64, payload: &[u8]) {
        let progress = self.progress(track);
        progress.kept_ticks = progress.kept_ticks.saturating_sub(ticks);
        self.kept_bytes = self.kept_bytes.saturating_sub(kept_cost(payload));
    }

    const fn progress(&mut self, track: Track) -> &mut Progress {
        match track {
            Track::Rx => &mut self.rx,
            Track::Tx => &mut self.tx,
        }
    }

    /// Nothing is kept from here on, and its room is given back.
    pub(crate) fn forget_kept(&mut self) {
        self.kept = VecDeque::new();
        self.kept_bytes = 0;
        self.rx.kept_ticks = 0;
        self.tx.kept_ticks = 0;
    }

    /// Give a mark back, or keep it until the start frame is out.
    pub(crate) fn mark(&mut self, name: String, sink: &mut impl Sink) -> Result<(), FrameError> {
        if self.stage == Stage::Begun {
            self.send_mark(&name, sink);
            return Ok(());
        }
        if self.kept.iter().filter(|kept| matches!(kept, Kept::Mark(_))).count() >= MARKS_WAITING_MAX {
            return Err(MARKS_FULL);
        }
        self.kept.push_back(Kept::Mark(name));
        Ok(())
    }

    fn send_mark(&mut self, name: &str, sink: &mut impl Sink) {
        self.count_frame();
        sink.stream_frame(self.tap, FrameKind::Control, self.writer.mark(name));
    }

    fn drop_one(&mut self) {
        let lost = self.stage == Stage::Lost;
        self.overflowed.get_or_insert(if lost { TOO_LONG_AWAY } else { TOO_SLOW });
        self.stats.frames_dropped = self.stats.frames_dropped.saturating_add(1);
    }

    /// There is nobody any more to give it to.
    pub(crate) fn drop_kept(&mut self) {
        let media = self.kept.iter().filter(|kept| matches!(kept, Kept::Media { .. })).count();
        self.forget_kept();
        let dropped = u64::try_from(media).unwrap_or(u64::MAX);
        self.stats.frames_dropped = self.stats.frames_dropped.saturating_add(dropped);
    }

    /// Tell of a key, behind what is kept.
    pub(crate) fn digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        if self.stage == Stage::Begun && self.kept.is_empty() {
            return self.send_digit(digit, occurred_at, sink);
        }
        let waiting = self.kept.iter().filter(|kept| matches!(kept, Kept::Digit { .. })).count();
        if waiting < DIGITS_MAX {
            self.kept.push_back(Kept::Digit { digit, occurred_at });
        } else {
            self.stats.frames_dropped = self.stats.frames_dropped.saturating_add(1);
        }
    }

    fn send_digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        self.count_frame();
        let frame = self.writer.dtmf(digit, &iso_8601(occurred_at));
        sink.stream_frame(self.tap, FrameKind::Control, frame);
    }

    pub(crate) fn count_frame(&mut self) {
        self.stats.frames_sent = self.stats.frames_sent.saturating_add(1);
    }
}

/// What it costs to keep a frame of this payload.
const fn kept_cost(payload: &[u8]) -> usize {
    payload.len().saturating_add(KEPT_FRAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Event, Port};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    /// A socket that takes so many frames, and then no more.
    #[derive(Debug, Default)]
    struct Socket {
        room: usize,
        media: Vec<serde_json::Value>,
        errors: usize,
    }

    impl Sink for Socket {
        fn transmit(&mut self, _: Port, _: SocketAddr, _: &[u8]) {}
        fn fork(&mut self, _: SocketAddr, _: &[u8]) {}
        fn stream_frame(&mut self, _: TapId, kind: FrameKind, json: &[u8]) {
            self.room = self.room.saturating_sub(1);
            match kind {
                FrameKind::Media => self.media.push(serde_json::from_slice(json).unwrap()),
                FrameKind::Control => self.errors += 1,
            }
        }
        fn stream_is_full(&self, _: TapId) -> bool {
            self.room == 0
        }
        fn audio(&mut self, _: TapId, _: u64, _: &[i16]) {}
        fn event(&mut self, _: Event) {}
    }

    fn begun(buffer_ms: u32) -> Outlet {
        let mut outlet = Outlet::new(TapId(1), "s", buffer_ms);
        outlet.connected();
        outlet.stage = Stage::Begun;
        outlet
    }

    /// What is really on the heap for what is kept, as an allocator with 16 bytes a block would have it.
    fn heap_bytes(outlet: &Outlet) -> usize {
        let payloads = outlet.kept.iter().map(|kept| match kept {
            Kept::Media { payload, .. } => payload.len().next_multiple_of(16) + 16,
            Kept::Digit { .. } | Kept::Mark(_) => 0,
        });
        outlet.kept.capacity() * size_of::<Kept>() + payloads.sum::<usize>()
    }

    #[test]
    fn what_a_socket_takes_again_is_all_it_gets() {
        let (mut outlet, mut socket) = (begun(200), Socket::default());
        outlet.writable = false;
        for n in 0..12_u8 {
            outlet.media(
                Track::Rx,
                TrackFrame { at: ticks(20) * u64::from(n), ticks: ticks(20), payload: &[n] },
                &mut socket,
            );
        }
        assert_eq!((outlet.stats().buffered_ms, outlet.stats().frames_dropped), (200, 2));
        (outlet.writable, socket.room) = (true, 4);
        outlet.send_kept(&mut socket);
        assert_eq!((socket.media.len(), socket.errors), (3, 1), "the loss is told first");
        assert_eq!(outlet.stats().buffered_ms, 140);
        // The next frame waits its turn behind what is kept.
        socket.room = 6;
        outlet.media(Track::Rx, TrackFrame { at: ticks(240), ticks: ticks(20), payload: &[12] }, &mut socket);
        assert_eq!((socket.media.len(), outlet.stats().buffered_ms), (9, 40));
        socket.room = 7;
        outlet.media(Track::Rx, TrackFrame { at: ticks(260), ticks: ticks(20), payload: &[13] }, &mut socket);
        let chunks: Vec<_> = socket.media.iter().map(|frame| frame["media"]["timestamp"].clone()).collect();
        let expected: Vec<_> = (2..14).map(|n| serde_json::Value::from((n * 20).to_string())).collect();
        assert_eq!(chunks, expected);
        assert_eq!((socket.errors, outlet.stats().buffered_ms), (1, 0));
    }

    #[test]
    fn each_track_has_the_whole_of_the_time() {
        let (mut outlet, mut socket) = (begun(100), Socket::default());
        outlet.writable = false;
        for n in 0..5 {
            for track in [Track::Rx, Track::Tx] {
                let frame = TrackFrame { at: ticks(20) * n, ticks: ticks(20), payload: &[0; 160] };
                outlet.media(track, frame, &mut socket);
            }
        }
        assert_eq!((outlet.stats().buffered_ms, outlet.stats().frames_dropped), (100, 0));
    }

    proptest! {
        #[test]
        fn an_app_that_does_not_read_costs_its_own_oldest_audio_and_no_more_memory_than_is_promised(
            shapes in proptest::collection::vec((1_usize..1500, 1_u64..48, any::<bool>()), 1..40),
            count in 1_usize..6000,
            buffer_ms in prop_oneof![Just(5000_u32), 0_u32..30_001],
            lost: bool,
        ) {
            let (mut outlet, mut socket) = (begun(buffer_ms), Socket::default());
            outlet.writable = false;
            if lost {
                outlet.lost(0);
            }
            let payload = [0; 1500];
            let (mut at, mut ends) = ([0_u64; 2], Vec::new());
            for &(bytes, of_2_5_ms, tx) in shapes.iter().cycle().take(count) {
                let length = ticks(5) / 2 * of_2_5_ms;
                let track = if tx { Track::Tx } else { Track::Rx };
                let place = &mut at[usize::from(tx)];
                let frame = TrackFrame { at: *place, ticks: length, payload: &payload[..bytes] };
                outlet.media(track, frame, &mut socket);
                ends.push((tx, *place));
                *place += length;
                prop_assert!(outlet.kept_bytes <= STREAM_BUFFER_BYTES_MAX);
                prop_assert!(u64::from(buffer_ms) >= outlet.stats().buffered_ms);
            }
            prop_assert!(heap_bytes(&outlet) <= STREAM_BUFFER_BYTES_MAX, "{} bytes", heap_bytes(&outlet));
            let kept = outlet.kept.len();
            prop_assert_eq!(usize::try_from(outlet.stats().frames_dropped).unwrap() + kept, count);
            // Of each track it is the newest that are left.
            for tx in [false, true] {
                let left: Vec<u64> = outlet.kept.iter().filter_map(|kept| match kept {
                    Kept::Media { track, at, .. } if (*track == Track::Tx) == tx => Some(*at),
                    _ => None,
                }).collect();
                let all: Vec<u64> = ends.iter().filter(|end| end.0 == tx).map(|end| end.1).collect();
                prop_assert!(all.ends_with(&left));
            }
            (outlet.stage, outlet.writable, socket.room) = (Stage::Begun, true, usize::MAX);
            outlet.send_kept(&mut socket);
            prop_assert_eq!((socket.media.len(), socket.errors), (kept, usize::from(kept < count)));
            prop_assert_eq!((outlet.kept_bytes, outlet.stats().buffered_ms, heap_bytes(&outlet)), (0, 0, 0));
            let json: usize = socket.media.iter().map(|frame| frame.to_string().len()).sum();
            prop_assert!(json + STREAM_BUFFER_BYTES_MAX < 1_000_000, "{json} bytes of JSON");
        }
    }
}
