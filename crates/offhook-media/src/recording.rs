//! A tap that gives both tracks of a leg to a file, on one clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use offhook_codec::rms_dbfs;

use crate::clock::{Position, tick_of, ticks, to_ms, wide};
use crate::limits::{
    GAP_FILL_MS_MAX, LEAD_MS_MAX, RECORDING_INTERVAL, RECORDING_MARGIN_MS, RECORDING_PATIENCE_MS,
    RECORDING_SPEECH_DBFS,
};
use crate::params::{RecordingParams, TapId, Track};
use crate::piece::Pcm;
use crate::rate::Rate;
use crate::sink::{Event, Sink};
use crate::stats::{TapKind, TapStats};

/// What is looked at as a whole when silence is looked for.
const BLOCK_MS: u64 = 20;

/// Lays both tracks on the leg's clock, a gap as silence, and gives them out a while later.
///
/// Time runs from the moment the tap was added, and stands still in a pause; so what was heard at
/// the same moment lies at the same place of both tracks, whatever was lost or not sent.
#[derive(Debug)]
pub(crate) struct RecordingTap {
    tap: TapId,
    params: RecordingParams,
    /// Where frame 0 of the clock is; `None` before the leg has one.
    origin: Option<Position>,
    rx: Side,
    tx: Side,
    /// The frame of the clock that is given out next.
    base: i64,
    /// The pause begins with this frame of the clock.
    paused_at: Option<i64>,
    /// Frames given to the file.
    written: u64,
    /// Frames of the file up to the end of what was last heard; `None` while nothing was.
    heard: Option<u64>,
    /// Silence that goes to the file only if something is heard right after it.
    margin: Vec<i16>,
    out: Vec<i16>,
    due: Option<Instant>,
    ended: Option<&'static str>,
    stats: TapStats,
}

/// One track at the rate of the file.
#[derive(Debug)]
struct Side {
    rate: Rate,
    /// Samples of the resampler that belong to no audio.
    skip: usize,
    /// Where the next sample of the track belongs; `None` before the first.
    end: Option<Position>,
    /// The frame of the clock that the next resampled sample belongs to.
    cursor: i64,
    /// From `base` on.
    samples: VecDeque<i16>,
    scratch: Vec<i16>,
}

/// Which frames of the clock are wanted.
#[derive(Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
}

impl RecordingTap {
    /// `origin` is the position of `now`, if the leg has a clock already.
    pub(crate) fn new(now: Instant, origin: Option<Position>, tap: TapId, params: RecordingParams) -> Self {
        Self {
            tap,
            params,
            origin,
            rx: Side::new(params.sample_rate_hz),
            tx: Side::new(params.sample_rate_hz),
            base: 0,
            paused_at: None,
            written: 0,
            heard: None,
            margin: Vec::new(),
            out: Vec::new(),
            due: Some(now),
            ended: None,
            stats: TapStats { kind: TapKind::Recording, ..TapStats::default() },
        }
    }

    pub(crate) const fn stats(&self) -> TapStats {
        self.stats
    }

    /// Whether the samples of a track are wanted.
    pub(crate) const fn wants(&self, track: Track) -> bool {
        match track {
            Track::Rx => self.params.rx,
            Track::Tx => self.params.tx,
        }
    }

    /// Why it has ended by itself.
    pub(crate) const fn ended(&self) -> Option<&'static str> {
        self.ended
    }

    /// Take samples of a track.
    pub(crate) fn samples(&mut self, track: Track, pcm: Pcm<'_>) {
        let origin = *self.origin.get_or_insert(pcm.at);
        let frames_ahead = self.frames_in(RECORDING_PATIENCE_MS + 2 * LEAD_MS_MAX);
        let window = Window {
            from: self.base,
            to: self.paused_at.unwrap_or(i64::MAX).min(self.base.saturating_add(frames_ahead)),
        };
        let side = match track {
            Track::Rx => &mut self.rx,
            Track::Tx => &mut self.tx,
        };
        let dropped = side.take(origin, window, pcm);
        let tick = tick_of(self.params.sample_rate_hz);
        let dropped_ms = to_ms(dropped.saturating_mul(tick));
        self.stats.overflow_ms = self.stats.overflow_ms.saturating_add(dropped_ms);
        if pcm.made_up {
            let made_up = wide(pcm.samples.len()).saturating_mul(tick_of(pcm.rate_hz));
            self.stats.filled_ms = self.stats.filled_ms.saturating_add(to_ms(made_up));
        }
    }

    /// Leave out what is heard from here on.
    pub(crate) fn pause(&mut self, here: Position) {
        let frame = self.frame(here);
        self.paused_at.get_or_insert(frame);
    }

    /// Go on with what is heard from here on.
    pub(crate) fn resume(&mut self, here: Position, sink: &mut impl Sink) {
        let Some(paused_at) = self.paused_at else { return };
        self.give_out(paused_at, sink);
        self.paused_at = None;
        self.base = self.frame(here).max(self.base);
        self.rx.samples.clear();
        self.tx.samples.clear();
    }

    /// Give out what is old enough to be complete.
    pub(crate) fn handle_timeout(&mut self, now: Instant, here: Position, sink: &mut impl Sink) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = now.checked_add(RECORDING_INTERVAL);
        let until = self.frame(here).saturating_sub(self.frames_in(RECORDING_PATIENCE_MS));
        let block = self.frames_in(BLOCK_MS).max(1);
        let whole = until.saturating_sub(self.base).max(0) / block * block;
        self.give_out(self.base.saturating_add(whole), sink);
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Give out what was heard until now, and say that this was all.
    pub(crate) fn close(&mut self, here: Position, reason: &str, sink: &mut impl Sink) {
        let until = self.frame(here);
        self.give_out(until, sink);
        self.due = None;
        let mut frames = self.written;
        if self.params.trim_silence {
            let margin = u64::try_from(self.frames_in(RECORDING_MARGIN_MS)).unwrap_or(0);
            frames = self.heard.map_or(0, |heard| heard.saturating_add(margin)).min(frames);
        }
        let reason = self.ended.unwrap_or(reason).to_owned();
        let duration_ms = frames.saturating_mul(1000) / u64::from(self.params.sample_rate_hz.max(1));
        sink.event(Event::RecordingEnded { tap: self.tap, reason, frames, duration_ms });
    }

    /// The frame of the clock that a position lies in.
    fn frame(&mut self, at: Position) -> i64 {
        let origin = *self.origin.get_or_insert(at);
        frame_of(origin, at, self.params.sample_rate_hz)
    }

    fn frames_in(&self, ms: u64) -> i64 {
        i64::try_from(ticks(ms) / tick_of(self.params.sample_rate_hz)).unwrap_or(i64::MAX)
    }

    /// Give out all frames of the clock before `until`; in a pause none of it.
    fn give_out(&mut self, until: i64, sink: &mut impl Sink) {
        let until = self.paused_at.map_or(until, |paused_at| until.min(paused_at));
        let block = self.frames_in(BLOCK_MS).max(1);
        self.out.clear();
        let first = self.written;
        while self.base < until && self.ended.is_none() {
            let count = until.saturating_sub(self.base).min(block);
            self.base = self.base.saturating_add(count);
            self.add_block(usize::try_from(count).unwrap_or(0));
        }
        if !self.out.is_empty() {
            sink.recorded(self.tap, first, &self.out);
            self.stats.chunks = self.stats.chunks.saturating_add(1);
            let tick = tick_of(self.params.sample_rate_hz);
            self.stats.audio_ms = to_ms(self.written.saturating_mul(tick));
        }
    }

    /// Move one block of both tracks to `out`, if it is wanted.
    fn add_block(&mut self, count: usize) {
        let start = self.out.len();
        let mut loud = false;
        self.rx.pad(count);
        self.tx.pad(count);
        for side in [&self.rx, &self.tx] {
            let (head, tail) = side.front(count);
            loud |= [head, tail].into_iter().any(|part| rms_dbfs(part) > RECORDING_SPEECH_DBFS);
        }
        let both = self.rx.samples.drain(..count).zip(self.tx.samples.drain(..count));
        if self.params.dual {
            self.out.extend(both.flat_map(|(rx, tx)| [rx, tx]));
        } else {
            self.out.extend(both.map(|(rx, tx)| rx.saturating_add(tx)));
        }
        if self.params.trim_silence && self.heard.is_none() {
            self.hold_back(start, loud);
        }
        let channels = usize::from(self.params.channels());
        self.written = self.written.saturating_add(wide((self.out.len() - start) / channels));
        if loud {
            self.heard = Some(self.written);
        }
        self.end_when_due(channels);
    }

    /// Keep a block that is silent out of the file, until something is heard.
    fn hold_back(&mut self, start: usize, loud: bool) {
        let block: Vec<i16> = self.out.drain(start..).collect();
        if loud {
            self.out.append(&mut self.margin);
            self.out.extend(block);
            return;
        }
        self.margin.extend(block);
        let most = usize::try_from(self.frames_in(RECORDING_MARGIN_MS)).unwrap_or(0)
            * usize::from(self.params.channels());
        self.margin.drain(..self.margin.len().saturating_sub(most));
    }

    fn end_when_due(&mut self, channels: usize) {
        let rate_hz = u64::from(self.params.sample_rate_hz);
        let frames = |ms: u64| ms.saturating_mul(rate_hz) / 1000;
        if self.params.max_ms > 0 && self.written >= frames(self.params.max_ms) {
            let excess = self.written - frames(self.params.max_ms);
            let keep = usize::try_from(excess).unwrap_or(0).saturating_mul(channels);
            self.out.truncate(self.out.len().saturating_sub(keep));
            self.written = frames(self.params.max_ms);
            self.ended = Some("max_length");
        } else if self.params.silence_timeout_ms > 0
            && let Some(heard) = self.heard
            && self.written.saturating_sub(heard) >= frames(self.params.silence_timeout_ms)
        {
            self.ended = Some("silence");
        }
    }
}

impl Side {
    fn new(rate_hz: u32) -> Self {
        Self {
            rate: Rate::new(rate_hz, rate_hz),
            skip: 0,
            end: None,
            cursor: 0,
            samples: VecDeque::new(),
            scratch: Vec::new(),
        }
    }

    /// Take samples; gives back how many frames came too late or far too early.
    fn take(&mut self, origin: Position, window: Window, pcm: Pcm<'_>) -> u64 {
        if self.rate.input_hz() != pcm.rate_hz {
            self.rate = Rate::new(pcm.rate_hz, self.rate.output_hz());
            self.end = None;
        }
        let tick = tick_of(pcm.rate_hz);
        let mut samples = pcm.samples;
        let gap = self.end.map(|end| pcm.at.saturating_sub(end));
        self.scratch.clear();
        match (gap, self.end) {
            (Some(gap), Some(end)) if gap <= ticks(GAP_FILL_MS_MAX) => {
                let silence = usize::try_from(gap / tick).unwrap_or(0);
                if silence > 0 {
                    self.rate.process(&vec![0; silence], &mut self.scratch);
                }
                // What lies before the end is there already.
                let again = usize::try_from(end.saturating_sub(pcm.at) / tick).unwrap_or(usize::MAX);
                samples = samples.get(again..).unwrap_or_default();
                let added = wide(silence + samples.len()).saturating_mul(tick);
                self.end = Some(end.saturating_add(added));
            }
            _ => {
                self.rate.reset();
                self.skip = usize::try_from(self.rate.delay()).unwrap_or(0);
                self.cursor = frame_of(origin, pcm.at, self.rate.output_hz());
                self.end = Some(pcm.at.saturating_add(wide(samples.len()).saturating_mul(tick)));
            }
        }
        self.rate.process(samples, &mut self.scratch);
        let skipped = self.skip.min(self.scratch.len());
        self.skip -= skipped;
        self.place(skipped, window)
    }

    /// Put `scratch`, but for its first samples, where `cursor` says.
    fn place(&mut self, skipped: usize, window: Window) -> u64 {
        let resampled = self.scratch.get(skipped..).unwrap_or_default();
        let at = self.cursor;
        self.cursor = at.saturating_add(length(resampled.len()));
        let from = window.from.saturating_add(length(self.samples.len()));
        let before = usize::try_from(from.saturating_sub(at)).unwrap_or(0).min(resampled.len());
        let rest = resampled.get(before..).unwrap_or_default();
        let after = usize::try_from(self.cursor.saturating_sub(window.to)).unwrap_or(0).min(rest.len());
        let rest = rest.get(..rest.len() - after).unwrap_or_default();
        if !rest.is_empty() {
            let place = usize::try_from(at.saturating_sub(window.from)).unwrap_or(0);
            if place > self.samples.len() {
                self.samples.resize(place, 0);
            }
            self.samples.extend(rest);
        }
        let too_late = usize::try_from(window.from.saturating_sub(at)).unwrap_or(0).min(before);
        wide(too_late)
    }

    /// Have at least so many samples.
    fn pad(&mut self, count: usize) {
        if self.samples.len() < count {
            self.samples.resize(count, 0);
        }
    }

    fn front(&self, count: usize) -> (&[i16], &[i16]) {
        let (head, tail) = self.samples.as_slices();
        let of_head = head.get(..count.min(head.len())).unwrap_or_default();
        let of_tail = tail.get(..count - of_head.len()).unwrap_or_default();
        (of_head, of_tail)
    }
}

fn frame_of(origin: Position, at: Position, rate_hz: u32) -> i64 {
    let tick = i64::try_from(tick_of(rate_hz)).unwrap_or(i64::MAX).max(1);
    let signed = |position: Position| i64::try_from(position).unwrap_or(i64::MAX);
    signed(at).saturating_sub(signed(origin)).div_euclid(tick)
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether recordings may have such a rate.
pub(crate) const fn is_recording_rate(rate_hz: u32) -> bool {
    matches!(rate_hz, 8000 | 16_000 | 24_000)
}

const _: () = assert!(RECORDING_INTERVAL.as_millis() >= Duration::from_millis(BLOCK_MS).as_millis());
