//! A tap that decodes one track for a recogniser.

use std::time::{Duration, Instant};

use offhook_codec::{Codec, Upsampler};

use crate::clock::{Position, samples, to_ms};
use crate::limits::{GAP_FILL_MS_MAX, SPEECH_IDLE, SPEECH_IDLE_FILL_MS_MAX};
use crate::params::{SpeechParams, TapId, Track};
use crate::sink::Sink;
use crate::stats::{TapKind, TapStats};

/// Decodes, doubles the sample rate if asked, cuts into chunks.
///
/// Sample positions follow the media clock: a short gap is filled with zeros, after a longer one
/// the next chunk begins later. When the track falls silent, some zeros are added in real time, so
/// that the end of a sentence is heard as one.
#[derive(Debug)]
pub(crate) struct SpeechTap {
    tap: TapId,
    pub(crate) track: Track,
    chunk_samples: usize,
    chunk_ms: u32,
    upsampler: Option<Upsampler>,
    /// Where the next sample of the track goes; `None` before the first.
    end: Option<Position>,
    /// Position of the first sample of `chunk`.
    chunk_at: Position,
    chunk: Vec<i16>,
    decoded: Vec<i16>,
    idle_due: Option<Instant>,
    idle_filled: u64,
    pub(crate) stats: TapStats,
}

impl SpeechTap {
    pub(crate) fn new(tap: TapId, params: SpeechParams) -> Self {
        let doubled = params.sample_rate_hz == 16_000;
        let chunk_samples = usize::try_from(params.chunk_ms * (params.sample_rate_hz / 1000)).unwrap_or(0);
        Self {
            tap,
            track: params.track,
            chunk_samples,
            chunk_ms: params.chunk_ms,
            upsampler: doubled.then(Upsampler::default),
            end: None,
            chunk_at: 0,
            chunk: Vec::with_capacity(chunk_samples),
            decoded: Vec::new(),
            idle_due: None,
            idle_filled: 0,
            stats: TapStats { kind: TapKind::Speech, ..TapStats::default() },
        }
    }

    /// Take audio whose first sample is at `at`.
    pub(crate) fn audio(
        &mut self,
        now: Instant,
        at: Position,
        payload: &[u8],
        codec: Codec,
        sink: &mut impl Sink,
    ) {
        let end = *self.end.get_or_insert_with(|| {
            self.chunk_at = at;
            at
        });
        let gap = at.saturating_sub(end);
        if gap > samples(GAP_FILL_MS_MAX) {
            self.flush(sink);
            self.chunk_at = at;
            self.end = Some(at);
        } else {
            // Earlier than the end happens when silence was added in between: then nothing is cut
            // away, and the next gap makes up for it.
            self.zeros(gap, sink);
        }
        self.decoded.clear();
        codec.decode(payload, &mut self.decoded);
        self.append(sink);
        self.idle_due = now.checked_add(SPEECH_IDLE);
        self.idle_filled = 0;
    }

    /// Add silence when the track has stopped; `here` is the position of `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, here: Position, sink: &mut impl Sink) {
        if self.idle_due.is_none_or(|due| due > now) {
            return;
        }
        let left = samples(SPEECH_IDLE_FILL_MS_MAX).saturating_sub(self.idle_filled);
        let missing = here.saturating_sub(self.end.unwrap_or(here)).min(left);
        self.zeros(missing, sink);
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

    fn zeros(&mut self, mut count: u64, sink: &mut impl Sink) {
        self.stats.filled_ms = self.stats.filled_ms.saturating_add(to_ms(count));
        while count > 0 {
            let part = count.min(samples(100));
            self.decoded.clear();
            self.decoded.resize(usize::try_from(part).unwrap_or(0), 0);
            self.append(sink);
            count -= part;
        }
    }

    /// Put `decoded` behind what there is.
    fn append(&mut self, sink: &mut impl Sink) {
        let count = u64::try_from(self.decoded.len()).unwrap_or(0);
        self.end = self.end.map(|end| end.saturating_add(count));
        match &mut self.upsampler {
            Some(upsampler) => upsampler.process(&self.decoded, &mut self.chunk),
            None => self.chunk.extend_from_slice(&self.decoded),
        }
        while self.chunk.len() >= self.chunk_samples.max(1) {
            self.give_out(self.chunk_samples.max(1), sink);
        }
    }

    fn give_out(&mut self, count: usize, sink: &mut impl Sink) {
        let Some(pcm) = self.chunk.get(..count) else { return };
        sink.audio(self.tap, to_ms(self.chunk_at), pcm);
        let wide = u64::try_from(count).unwrap_or(0);
        let positions = if self.upsampler.is_some() { wide / 2 } else { wide };
        self.chunk_at = self.chunk_at.saturating_add(positions);
        self.stats.chunks = self.stats.chunks.saturating_add(1);
        self.stats.audio_ms = self.stats.audio_ms.saturating_add(to_ms(positions));
        self.chunk.drain(..count);
    }
}
