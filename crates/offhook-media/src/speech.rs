//! A tap that gives the samples of one track to a recogniser.

use std::time::{Duration, Instant};

use crate::clock::{Position, tick_of, ticks, to_ms, wide};
use crate::limits::{GAP_FILL_MS_MAX, SPEECH_IDLE, SPEECH_IDLE_FILL_MS_MAX};
use crate::params::{SpeechParams, TapId, Track};
use crate::piece::Pcm;
use crate::rate::Rate;
use crate::sink::Sink;
use crate::stats::{TapKind, TapStats};

/// Resamples and cuts into chunks.
///
/// Sample positions follow the media clock: a short gap is filled, after a longer one the next chunk
/// begins later. When the track falls silent, some zeros are added in real time, so that the end of
/// a sentence is heard as one.
#[derive(Debug)]
pub(crate) struct SpeechTap {
    tap: TapId,
    pub(crate) track: Track,
    pub(crate) skip_own: bool,
    chunk_samples: usize,
    chunk_ms: u32,
    rate: Rate,
    /// Where the next sample of the track goes; `None` before the first.
    end: Option<Position>,
    /// Position of the first sample of `chunk`.
    chunk_at: Position,
    chunk: Vec<i16>,
    zeros: Vec<i16>,
    idle_due: Option<Instant>,
    /// Ticks of silence added since the track has stopped.
    idle_filled: u64,
    /// Ticks of all that was put in.
    filled: u64,
    stats: TapStats,
}

impl SpeechTap {
    pub(crate) fn new(tap: TapId, params: SpeechParams) -> Self {
        let chunk_samples = usize::try_from(params.chunk_ms * (params.sample_rate_hz / 1000)).unwrap_or(0);
        Self {
            tap,
            track: params.track,
            skip_own: params.skip_own,
            chunk_samples: chunk_samples.max(1),
            chunk_ms: params.chunk_ms,
            rate: Rate::new(params.sample_rate_hz, params.sample_rate_hz),
            end: None,
            chunk_at: 0,
            chunk: Vec::with_capacity(chunk_samples),
            zeros: Vec::new(),
            idle_due: None,
            idle_filled: 0,
            filled: 0,
            stats: TapStats { kind: TapKind::Speech, ..TapStats::default() },
        }
    }

    pub(crate) const fn stats(&self) -> TapStats {
        TapStats { filled_ms: to_ms(self.filled), ..self.stats }
    }

    /// Take samples of the track.
    pub(crate) fn samples(&mut self, now: Instant, pcm: Pcm<'_>, sink: &mut impl Sink) {
        if self.rate.input_hz() != pcm.rate_hz {
            self.rate.finish(&mut self.chunk);
            self.rate = Rate::new(pcm.rate_hz, self.rate.output_hz());
        }
        let end = *self.end.get_or_insert_with(|| {
            self.chunk_at = pcm.at;
            pcm.at
        });
        let gap = pcm.at.saturating_sub(end);
        if gap > ticks(GAP_FILL_MS_MAX) {
            self.flush(sink);
            self.chunk_at = pcm.at;
            self.end = Some(pcm.at);
        } else {
            self.silence(gap, sink);
        }
        let mut samples = pcm.samples;
        if pcm.made_up {
            // Silence that was added meanwhile stands for its part of the loss. Of what was said
            // nothing is cut away; the next gap makes up for it.
            let filled = end.saturating_sub(pcm.at) / tick_of(pcm.rate_hz);
            samples = samples.get(usize::try_from(filled).unwrap_or(usize::MAX)..).unwrap_or_default();
            let made_up = wide(samples.len()).saturating_mul(tick_of(pcm.rate_hz));
            self.filled = self.filled.saturating_add(made_up);
        }
        self.append(samples, sink);
        self.idle_due = now.checked_add(SPEECH_IDLE);
        self.idle_filled = 0;
    }

    /// Add silence when the track has stopped; `here` is the position of `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, here: Position, sink: &mut impl Sink) {
        if self.idle_due.is_none_or(|due| due > now) {
            return;
        }
        let left = ticks(SPEECH_IDLE_FILL_MS_MAX).saturating_sub(self.idle_filled);
        let missing = here.saturating_sub(self.end.unwrap_or(here)).min(left);
        self.silence(missing, sink);
        self.idle_filled = self.idle_filled.saturating_add(missing);
        if missing == left {
            self.flush(sink);
            self.idle_due = None;
        } else {
            self.idle_due = now.checked_add(Duration::from_millis(u64::from(self.chunk_ms)));
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.idle_due
    }

    /// Give out what is short of a chunk.
    pub(crate) fn flush(&mut self, sink: &mut impl Sink) {
        if !self.chunk.is_empty() {
            self.give_out(self.chunk.len(), sink);
        }
    }

    fn silence(&mut self, length: u64, sink: &mut impl Sink) {
        self.filled = self.filled.saturating_add(length);
        let rate_hz = self.rate.input_hz();
        let mut count = length / tick_of(rate_hz);
        while count > 0 {
            let part = count.min(u64::from(rate_hz / 10));
            let mut zeros = std::mem::take(&mut self.zeros);
            zeros.resize(usize::try_from(part).unwrap_or(0), 0);
            self.append(&zeros, sink);
            self.zeros = zeros;
            count -= part;
        }
    }

    /// Put samples behind what there is.
    fn append(&mut self, samples: &[i16], sink: &mut impl Sink) {
        let length = wide(samples.len()).saturating_mul(tick_of(self.rate.input_hz()));
        self.end = self.end.map(|end| end.saturating_add(length));
        self.rate.process(samples, &mut self.chunk);
        while self.chunk.len() >= self.chunk_samples {
            self.give_out(self.chunk_samples, sink);
        }
    }

    fn give_out(&mut self, count: usize, sink: &mut impl Sink) {
        let Some(pcm) = self.chunk.get(..count) else { return };
        sink.audio(self.tap, to_ms(self.chunk_at), pcm);
        let length = wide(count).saturating_mul(tick_of(self.rate.output_hz()));
        self.chunk_at = self.chunk_at.saturating_add(length);
        self.stats.chunks = self.stats.chunks.saturating_add(1);
        self.stats.audio_ms = self.stats.audio_ms.saturating_add(to_ms(length));
        self.chunk.drain(..count);
    }
}
