//! The recordings of a leg, and their files.

use std::path::PathBuf;
use std::time::Instant;

use offhook_media::{RecordingParams, Refused, TapId, TapStats};

use super::sink::LegSink;
use super::{Leg, LegIo};
use crate::context::Context;
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::recorder::{FileEnd, FileId};

/// A recording until its file is closed.
pub(super) struct Recording {
    pub(super) tap: TapId,
    /// Why it has ended, and how long it was.
    pub(super) end: Option<(String, u64)>,
    pub(super) stats: TapStats,
}

impl Leg {
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
}

impl Recording {
    /// What is told of its end.
    pub(super) fn closed(self, end: FileEnd) -> What {
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
    pub(super) fn recording(&mut self, tap: TapId) -> Option<&mut Recording> {
        self.recordings.iter_mut().find(|recording| recording.tap == tap)
    }
}
