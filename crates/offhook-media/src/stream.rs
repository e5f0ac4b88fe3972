//! A tap that sends JSON frames to an application (contract 4.3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook_codec::Format;

use crate::app_frame::{self, AppFrame};
use crate::clock::{Position, iso_8601, ticks, to_ms};
use crate::frame::{FrameError, FrameWriter, with_reason, with_reconnect};
use crate::lane::{Lane, TrackFrame};
use crate::limits::{DIGITS_MAX, ERROR_FRAMES_PER_SECOND_MAX, MARKS_WAITING_MAX};
use crate::params::{Refused, StreamParams, TapId, Track};
use crate::piece::{Pcm, Piece};
use crate::sink::{FrameKind, Sink};
use crate::stats::{TapKind, TapStats};
use crate::voice::Voice;

const NOT_TWO_WAY: FrameError = FrameError::Invalid(
    "this stream plays no audio: start it with stream_bidirectional_mode rtp and the codec you send",
);
const NOT_BASE64: FrameError = FrameError::Invalid("media.payload is not base64");
const MARKS_FULL: FrameError = FrameError::Limit("too many marks wait; this one was dropped");
const TOO_SLOW: FrameError = FrameError::Unknown("audio was dropped because the application read too slowly");
const TOO_LONG_AWAY: FrameError =
    FrameError::Unknown("audio was dropped because there was no connection for longer than the buffer lasts");
const BINARY: FrameError = FrameError::Malformed("binary messages are not accepted, send JSON text");

/// How far the conversation with the application has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
    Media { track: Track, at: Position, ticks: u64, payload: Vec<u8> },
    Digit { digit: char, occurred_at: Duration },
    Mark(String),
}

/// One track within a stream.
#[derive(Debug)]
struct StreamTrack {
    wanted: bool,
    lane: Lane,
    numbers: Numbers,
}

/// Where one track stands on the socket of today.
#[derive(Debug, Default)]
struct Numbers {
    /// Position that counts as timestamp 0; `None` before the first frame.
    base: Option<Position>,
    chunk: u64,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct StreamTap {
    outlet: Outlet,
    rx: StreamTrack,
    tx: StreamTrack,
    connected_json: String,
    start_json: String,
    stop_json: String,
    binary_media: bool,
    /// The owner has let the start frame out; on a later socket it goes out at once.
    begin_wanted: bool,
    hangup_cause: Option<String>,
    errors_since: Option<Instant>,
    errors: u32,
}

/// Numbers, writes or keeps frames.
#[derive(Debug)]
struct Outlet {
    tap: TapId,
    stage: Stage,
    writable: bool,
    epoch: Position,
    writer: FrameWriter,
    kept: VecDeque<Kept>,
    kept_ticks: u64,
    kept_ticks_max: u64,
    spare: Vec<Vec<u8>>,
    /// Media has been dropped since the last error frame about it.
    overflowed: Option<FrameError>,
    stats: TapStats,
}

impl StreamTap {
    /// A stream of a leg that has this format, as far as is known.
    pub(crate) fn new(tap: TapId, params: StreamParams, leg: Option<Format>) -> Result<Self, Refused> {
        params.check(leg)?;
        let track = |wanted| StreamTrack {
            wanted,
            lane: Lane::new(params.format, params.frame_ms, params.fill_gaps),
            numbers: Numbers::default(),
        };
        Ok(Self {
            outlet: Outlet {
                tap,
                stage: Stage::Opening,
                writable: true,
                epoch: 0,
                writer: FrameWriter::new(&params.stream_id),
                kept: VecDeque::new(),
                kept_ticks: 0,
                kept_ticks_max: ticks(u64::from(params.buffer_ms)),
                spare: Vec::new(),
                overflowed: None,
                stats: TapStats { kind: TapKind::Stream, ..TapStats::default() },
            },
            rx: track(params.rx),
            tx: track(params.tx),
            connected_json: params.connected_json,
            start_json: params.start_json,
            stop_json: params.stop_json,
            binary_media: params.binary_media,
            begin_wanted: false,
            hangup_cause: None,
            errors_since: None,
            errors: 0,
        })
    }

    pub(crate) fn stats(&self) -> TapStats {
        let filled_ms = self.rx.lane.filled_ms().saturating_add(self.tx.lane.filled_ms());
        let failed = self.rx.lane.failed().saturating_add(self.tx.lane.failed());
        let frames_dropped = self.outlet.stats.frames_dropped.saturating_add(failed);
        let buffered_ms = to_ms(self.outlet.kept_ticks);
        TapStats { buffered_ms, frames_dropped, filled_ms, ..self.outlet.stats }
    }

    /// The socket is open, from `here` on. After a loss what was kept stays; in either case the numbers
    /// begin anew, and a stream that was begun before is begun again.
    pub(crate) fn connected(&mut self, here: Position, sink: &mut impl Sink) {
        let outlet = &mut self.outlet;
        if outlet.stage == Stage::Lost {
            outlet.stats.reconnects = outlet.stats.reconnects.saturating_add(1);
        } else {
            outlet.epoch = here;
            outlet.kept.clear();
            outlet.kept_ticks = 0;
            for track in [&mut self.rx, &mut self.tx] {
                track.lane.flush(&mut |_| ());
            }
        }
        outlet.stage = Stage::Connected;
        outlet.writable = true;
        outlet.writer.restart();
        for track in [&mut self.rx, &mut self.tx] {
            track.numbers = Numbers::default();
        }
        outlet.count_frame();
        sink.stream_frame(outlet.tap, FrameKind::Control, self.connected_json.as_bytes());
        if self.begin_wanted {
            self.send_start(sink);
        }
    }

    /// The socket is gone and another may come: audio, digits and marks are kept for it. Timestamps of
    /// the next socket count from the oldest audio that is kept now, or from `here`.
    pub(crate) fn lost(&mut self, here: Position) {
        let outlet = &mut self.outlet;
        if !matches!(outlet.stage, Stage::Connected | Stage::Begun) {
            return;
        }
        outlet.stage = Stage::Lost;
        let kept = outlet.kept.iter().filter_map(|kept| match kept {
            Kept::Media { at, .. } => Some(*at),
            Kept::Digit { .. } | Kept::Mark(_) => None,
        });
        outlet.epoch = kept.min().map_or(here, |oldest| oldest.min(here));
    }

    pub(crate) fn begin(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        match self.outlet.stage {
            Stage::Connected => self.send_start(sink),
            Stage::Lost => self.begin_wanted = true,
            Stage::Opening | Stage::Begun => return Err(Refused::NoSuchTap),
        }
        Ok(())
    }

    fn send_start(&mut self, sink: &mut impl Sink) {
        self.begin_wanted = true;
        let outlet = &mut self.outlet;
        outlet.stage = Stage::Begun;
        outlet.count_frame();
        let frame = match outlet.stats.reconnects {
            0 => outlet.writer.start(&self.start_json),
            count => outlet.writer.start(&with_reconnect(&self.start_json, count)),
        };
        sink.stream_frame(outlet.tap, FrameKind::Control, frame);
        self.send_kept(sink);
    }

    pub(crate) fn writable(&mut self, writable: bool, sink: &mut impl Sink) {
        self.outlet.writable = writable;
        if writable && self.outlet.stage == Stage::Begun {
            self.send_kept(sink);
        }
    }

    /// Take a payload of one track. True when its samples are wanted instead.
    pub(crate) fn audio(&mut self, track: Track, piece: Piece<'_>, sink: &mut impl Sink) -> bool {
        self.lane(track).is_some_and(|(outlet, StreamTrack { lane, numbers, .. })| {
            lane.piece(piece, &mut |frame| outlet.media(track, numbers, frame, sink))
        })
    }

    /// Take samples of one track, if they are wanted.
    pub(crate) fn samples(&mut self, track: Track, pcm: Pcm<'_>, sink: &mut impl Sink) {
        if let Some((outlet, StreamTrack { lane, numbers, .. })) = self.lane(track) {
            lane.samples(pcm, &mut |frame| outlet.media(track, numbers, frame, sink));
        }
    }

    /// Where audio of a track goes now, if anywhere.
    fn lane(&mut self, track: Track) -> Option<(&mut Outlet, &mut StreamTrack)> {
        let of_track = match track {
            Track::Rx => &mut self.rx,
            Track::Tx => &mut self.tx,
        };
        (of_track.wanted && self.outlet.stage != Stage::Opening).then_some((&mut self.outlet, of_track))
    }

    /// Tell of a key the far end has pressed.
    pub(crate) fn digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        match self.outlet.stage {
            Stage::Opening => {}
            Stage::Begun if self.outlet.kept.is_empty() => self.outlet.send_digit(digit, occurred_at, sink),
            Stage::Begun | Stage::Connected | Stage::Lost => {
                let waiting =
                    self.outlet.kept.iter().filter(|kept| matches!(kept, Kept::Digit { .. })).count();
                if waiting < DIGITS_MAX {
                    self.outlet.kept.push_back(Kept::Digit { digit, occurred_at });
                } else {
                    self.outlet.stats.frames_dropped = self.outlet.stats.frames_dropped.saturating_add(1);
                }
            }
        }
    }

    /// Take a text message of the application, which speaks by `voice` if it may.
    pub(crate) fn receive_text(
        &mut self,
        now: Instant,
        text: &str,
        voice: Option<&mut Voice>,
        sink: &mut impl Sink,
    ) {
        self.outlet.stats.app_frames = self.outlet.stats.app_frames.saturating_add(1);
        let done = match app_frame::parse(text) {
            _ if matches!(self.outlet.stage, Stage::Opening | Stage::Lost) => return self.refuse_silently(),
            Ok(AppFrame::Media(payload)) => play(now, &payload, voice),
            Ok(AppFrame::Mark(name)) => {
                match voice.map_or(Ok(Some(name.clone())), |voice| voice.mark(name)) {
                    Ok(Some(name)) => self.outlet.mark(name, sink),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Ok(AppFrame::Clear) => {
                voice.map_or(Ok(()), |voice| voice.clear().try_for_each(|name| self.outlet.mark(name, sink)))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            self.refuse(now, error, sink);
        }
    }

    /// Everything before a mark of the application has been sent.
    pub(crate) fn mark(&mut self, now: Instant, name: String, sink: &mut impl Sink) {
        if let Err(error) = self.outlet.mark(name, sink) {
            self.refuse(now, error, sink);
        }
    }

    /// Take a binary message of the application, which speaks by `voice` if it may.
    pub(crate) fn receive_binary(
        &mut self,
        now: Instant,
        message: Vec<u8>,
        voice: Option<&mut Voice>,
        sink: &mut impl Sink,
    ) {
        self.outlet.stats.app_frames = self.outlet.stats.app_frames.saturating_add(1);
        let done = match voice {
            _ if self.outlet.stage == Stage::Opening => return self.refuse_silently(),
            Some(voice) if self.binary_media => voice.media(now, message),
            _ => Err(BINARY),
        };
        if let Err(error) = done {
            self.refuse(now, error, sink);
        }
    }

    /// Let the stop frame say why the call ended.
    pub(crate) fn set_hangup_cause(&mut self, cause: &str) {
        self.hangup_cause = Some(cause.to_owned());
    }

    /// Send what is short of a frame, then the stop frame.
    pub(crate) fn close(&mut self, reason: &str, sink: &mut impl Sink) {
        let outlet = &mut self.outlet;
        if outlet.stage != Stage::Begun {
            return outlet.drop_kept();
        }
        // What the socket would not take before is given to it now, in order; the stop frame ends it.
        for (track, of_track) in [(Track::Rx, &mut self.rx), (Track::Tx, &mut self.tx)] {
            let StreamTrack { lane, numbers, .. } = of_track;
            lane.flush(&mut |frame| outlet.media(track, numbers, frame, sink));
        }
        outlet.writable = true;
        self.send_kept(sink);
        let stop = with_reason(&self.stop_json, reason, self.hangup_cause.as_deref());
        self.outlet.count_frame();
        sink.stream_frame(self.outlet.tap, FrameKind::Control, self.outlet.writer.stop(&stop));
    }

    fn send_kept(&mut self, sink: &mut impl Sink) {
        let outlet = &mut self.outlet;
        if let Some(error) = outlet.overflowed.take() {
            outlet.count_frame();
            sink.stream_frame(outlet.tap, FrameKind::Control, outlet.writer.error(error));
        }
        while let Some(kept) = outlet.kept.pop_front() {
            match kept {
                Kept::Media { track, at, payload, .. } => {
                    let numbers = match track {
                        Track::Rx => &mut self.rx.numbers,
                        Track::Tx => &mut self.tx.numbers,
                    };
                    outlet.send_media(track, numbers, at, &payload, sink);
                    outlet.spare.push(payload);
                }
                Kept::Digit { digit, occurred_at } => outlet.send_digit(digit, occurred_at, sink),
                Kept::Mark(name) => outlet.send_mark(&name, sink),
            }
        }
        outlet.kept_ticks = 0;
        outlet.spare.truncate(1);
    }

    fn refuse(&mut self, now: Instant, error: FrameError, sink: &mut impl Sink) {
        self.refuse_silently();
        if self.outlet.stage != Stage::Begun {
            return;
        }
        let second = Duration::from_secs(1);
        if self.errors_since.is_none_or(|since| now.saturating_duration_since(since) >= second) {
            self.errors_since = Some(now);
            self.errors = 0;
        }
        if self.errors < ERROR_FRAMES_PER_SECOND_MAX {
            self.errors += 1;
            self.outlet.count_frame();
            sink.stream_frame(self.outlet.tap, FrameKind::Control, self.outlet.writer.error(error));
        }
    }

    fn refuse_silently(&mut self) {
        self.outlet.stats.app_frames_refused = self.outlet.stats.app_frames_refused.saturating_add(1);
    }
}

impl Outlet {
    /// Send one frame of audio, or keep it.
    fn media(&mut self, track: Track, numbers: &mut Numbers, frame: TrackFrame<'_>, sink: &mut impl Sink) {
        if self.stage == Stage::Begun && self.writable && self.kept.is_empty() {
            self.send_media(track, numbers, frame.at, frame.payload, sink);
        } else {
            self.keep(track, frame);
        }
    }

    fn send_media(
        &mut self,
        track: Track,
        numbers: &mut Numbers,
        at: Position,
        payload: &[u8],
        sink: &mut impl Sink,
    ) {
        // The frame that was under way when the stream began counts from its own first sample.
        let base = *numbers.base.get_or_insert(self.epoch.min(at));
        let timestamp_ms = to_ms(at.saturating_sub(base));
        numbers.chunk = numbers.chunk.saturating_add(1);
        self.count_frame();
        let count = match track {
            Track::Rx => &mut self.stats.rx_frames,
            Track::Tx => &mut self.stats.tx_frames,
        };
        *count = count.saturating_add(1);
        let frame = self.writer.media(track, numbers.chunk, timestamp_ms, payload);
        sink.stream_frame(self.tap, FrameKind::Media, frame);
    }

    fn keep(&mut self, track: Track, frame: TrackFrame<'_>) {
        while self.kept_ticks.saturating_add(frame.ticks) > self.kept_ticks_max {
            let Some(oldest) = self.kept.iter().position(|kept| matches!(kept, Kept::Media { .. })) else {
                break;
            };
            if let Some(Kept::Media { payload, ticks, .. }) = self.kept.remove(oldest) {
                self.kept_ticks = self.kept_ticks.saturating_sub(ticks);
                self.spare.push(payload);
            }
            self.drop_one();
        }
        if self.kept_ticks.saturating_add(frame.ticks) > self.kept_ticks_max {
            self.drop_one();
            return;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(frame.payload);
        self.kept_ticks = self.kept_ticks.saturating_add(frame.ticks);
        self.kept.push_back(Kept::Media { track, at: frame.at, ticks: frame.ticks, payload });
    }

    /// Give a mark back, or keep it until the start frame is out.
    fn mark(&mut self, name: String, sink: &mut impl Sink) -> Result<(), FrameError> {
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
    fn drop_kept(&mut self) {
        let media = self.kept.drain(..).filter(|kept| matches!(kept, Kept::Media { .. })).count();
        self.kept_ticks = 0;
        let dropped = u64::try_from(media).unwrap_or(u64::MAX);
        self.stats.frames_dropped = self.stats.frames_dropped.saturating_add(dropped);
    }

    fn send_digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        self.count_frame();
        let frame = self.writer.dtmf(digit, &iso_8601(occurred_at));
        sink.stream_frame(self.tap, FrameKind::Control, frame);
    }

    fn count_frame(&mut self) {
        self.stats.frames_sent = self.stats.frames_sent.saturating_add(1);
    }
}

/// Let an application be heard, if it may.
fn play(now: Instant, payload: &str, voice: Option<&mut Voice>) -> Result<(), FrameError> {
    let voice = voice.ok_or(NOT_TWO_WAY)?;
    let audio = STANDARD.decode(payload).map_err(|_| NOT_BASE64)?;
    voice.media(now, audio)
}
