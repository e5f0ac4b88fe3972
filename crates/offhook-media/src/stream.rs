//! A tap that sends JSON frames to an application (contract 4.3).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook_codec::Format;

use crate::app_frame::{self, AppFrame};
use crate::clock::Position;
use crate::frame::{FrameError, with_reason, with_reconnect};
use crate::lane::Lane;
use crate::limits::ERROR_FRAMES_PER_SECOND_MAX;
use crate::outlet::{Outlet, Stage};
use crate::params::{Refused, StreamParams, TapId, Track};
use crate::piece::{Pcm, Piece};
use crate::sink::{FrameKind, Sink};
use crate::stats::TapStats;
use crate::voice::Voice;

const NOT_TWO_WAY: FrameError = FrameError::Invalid(
    "this stream plays no audio: start it with stream_bidirectional_mode rtp and the codec you send",
);
const NOT_BASE64: FrameError = FrameError::Invalid("media.payload is not base64");
const BINARY: FrameError = FrameError::Malformed("binary messages are not accepted, send JSON text");

/// One track within a stream.
#[derive(Debug)]
struct StreamTrack {
    wanted: bool,
    lane: Lane,
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

impl StreamTap {
    /// A stream of a leg that has this format, as far as is known.
    pub(crate) fn new(tap: TapId, params: StreamParams, leg: Option<Format>) -> Result<Self, Refused> {
        params.check(leg)?;
        let track = |wanted| StreamTrack {
            wanted,
            lane: Lane::new(params.format, params.frame_ms, params.fill_gaps),
        };
        Ok(Self {
            outlet: Outlet::new(tap, &params.stream_id, params.buffer_ms),
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
        let stats = self.outlet.stats();
        TapStats { frames_dropped: stats.frames_dropped.saturating_add(failed), filled_ms, ..stats }
    }

    /// The socket is open, from `here` on. After a loss what was kept stays; in either case the numbers
    /// begin anew, and a stream that was begun before is begun again.
    pub(crate) fn connected(&mut self, here: Position, sink: &mut impl Sink) {
        let outlet = &mut self.outlet;
        if outlet.stage == Stage::Lost {
            outlet.stats.reconnects = outlet.stats.reconnects.saturating_add(1);
        } else {
            outlet.epoch = here;
            outlet.forget_kept();
            for track in [&mut self.rx, &mut self.tx] {
                track.lane.flush(&mut |_| ());
            }
        }
        outlet.connected();
        outlet.count_frame();
        sink.stream_frame(outlet.tap, FrameKind::Control, self.connected_json.as_bytes());
        if self.begin_wanted {
            self.send_start(sink);
        }
    }

    /// The socket is gone and another may come: audio, digits and marks are kept for it. Timestamps of
    /// the next socket count from the oldest audio that is kept now, or from `here`.
    pub(crate) fn lost(&mut self, here: Position) {
        if matches!(self.outlet.stage, Stage::Connected | Stage::Begun) {
            self.outlet.lost(here);
        }
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
        self.outlet.send_kept(sink);
    }

    pub(crate) fn writable(&mut self, writable: bool, sink: &mut impl Sink) {
        self.outlet.writable = writable;
        if writable && self.outlet.stage == Stage::Begun {
            self.outlet.send_kept(sink);
        }
    }

    /// Take a payload of one track. True when its samples are wanted instead.
    pub(crate) fn audio(&mut self, track: Track, piece: Piece<'_>, sink: &mut impl Sink) -> bool {
        self.lane(track)
            .is_some_and(|(outlet, lane)| lane.piece(piece, &mut |frame| outlet.media(track, frame, sink)))
    }

    /// Take samples of one track, if they are wanted.
    pub(crate) fn samples(&mut self, track: Track, pcm: Pcm<'_>, sink: &mut impl Sink) {
        if let Some((outlet, lane)) = self.lane(track) {
            lane.samples(pcm, &mut |frame| outlet.media(track, frame, sink));
        }
    }

    /// Where audio of a track goes now, if anywhere.
    fn lane(&mut self, track: Track) -> Option<(&mut Outlet, &mut Lane)> {
        let of_track = match track {
            Track::Rx => &mut self.rx,
            Track::Tx => &mut self.tx,
        };
        (of_track.wanted && self.outlet.stage != Stage::Opening)
            .then_some((&mut self.outlet, &mut of_track.lane))
    }

    /// Tell of a key the far end has pressed.
    pub(crate) fn digit(&mut self, digit: char, occurred_at: Duration, sink: &mut impl Sink) {
        if self.outlet.stage != Stage::Opening {
            self.outlet.digit(digit, occurred_at, sink);
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
            of_track.lane.flush(&mut |frame| outlet.media(track, frame, sink));
        }
        outlet.send_all_kept(sink);
        let stop = with_reason(&self.stop_json, reason, self.hangup_cause.as_deref());
        self.outlet.count_frame();
        sink.stream_frame(self.outlet.tap, FrameKind::Control, self.outlet.writer.stop(&stop));
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

/// Let an application be heard, if it may.
fn play(now: Instant, payload: &str, voice: Option<&mut Voice>) -> Result<(), FrameError> {
    let voice = voice.ok_or(NOT_TWO_WAY)?;
    let audio = STANDARD.decode(payload).map_err(|_| NOT_BASE64)?;
    voice.media(now, audio)
}
