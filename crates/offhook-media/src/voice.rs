//! What an application wants the far end to hear: the playout law.
//!
//! Audio waits in a queue and is never skipped. It is played in real time, from the first packet that
//! is due; when the application falls behind there is silence, and what comes then is played at
//! once, so that a stall is never kept as latency. Audio that comes faster waits, up to a minute. A
//! mark comes back with the packet that carries the last sample before it. What is short of a packet
//! waits for more, or for [`APP_IDLE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock::{samples, to_ms};
use crate::format::{Encoding, Rate, StreamFormat};
use crate::frame::FrameError;
use crate::limits::{APP_AUDIO_MS_MAX, APP_IDLE, APP_STALL_MAX, MARKS_WAITING_MAX, PLAYOUT_MS_MAX};
use crate::stats::TapStats;

const TOO_LONG: FrameError = FrameError::Invalid("media.payload is longer than 30 s");
const QUEUE_FULL: FrameError = FrameError::Limit("60 s of audio wait to be played; this audio was dropped");
const MARKS_FULL: FrameError = FrameError::Limit("too many marks wait; this one was dropped");

/// Buffers that one long message has grown beyond this are given back.
const KEEP_SAMPLES: usize = 8000;

/// The queue of one application.
#[derive(Debug)]
pub(crate) struct Voice {
    format: StreamFormat,
    to_leg: Rate,
    /// `to_leg` holds the end of what came last.
    has_tail: bool,
    /// First half of a sample that a message has cut in two.
    half: Option<u8>,
    queue: VecDeque<i16>,
    decoded: Vec<i16>,
    resampled: Vec<i16>,
    /// Samples that went into the queue, and out of it, since the beginning.
    queued: u64,
    taken: u64,
    /// Each waits until so many samples were taken.
    marks: VecDeque<(u64, String)>,
    idle_due: Option<Instant>,
    /// Nothing has come for a while: what is short of a packet may go.
    idle: bool,
    /// When audio was or will be needed to go on without a seam; `None` when none was expected.
    needed_at: Option<Instant>,
    /// What waits came after it was needed.
    late: bool,
    /// Samples in one packet, as far as known.
    packet: usize,
    stats: VoiceStats,
}

#[derive(Clone, Copy, Debug, Default)]
struct VoiceStats {
    played: u64,
    discarded: u64,
    overflow: u64,
    underruns: u64,
    inserted_silence: Duration,
    lateness_max: Duration,
}

impl Voice {
    pub(crate) fn new(format: StreamFormat) -> Self {
        Self {
            format,
            to_leg: Rate::to_leg(format.sample_rate_hz),
            has_tail: false,
            half: None,
            queue: VecDeque::new(),
            decoded: Vec::new(),
            resampled: Vec::new(),
            queued: 0,
            taken: 0,
            marks: VecDeque::new(),
            idle_due: None,
            idle: false,
            needed_at: None,
            late: false,
            packet: 1,
            stats: VoiceStats::default(),
        }
    }

    /// Queue all of the audio in `payload`, or nothing.
    pub(crate) fn media(&mut self, now: Instant, payload: &[u8]) -> Result<(), FrameError> {
        let count = wide(self.format.samples_in(payload.len()));
        let rate_hz = u64::from(self.format.sample_rate_hz.max(1));
        if count.saturating_mul(1000) > APP_AUDIO_MS_MAX * rate_hz {
            return Err(TOO_LONG);
        }
        let added = (count * samples(1000)).div_ceil(rate_hz);
        if wide(self.queue.len()).saturating_add(added) > samples(PLAYOUT_MS_MAX) {
            self.stats.overflow = self.stats.overflow.saturating_add(added);
            return Err(QUEUE_FULL);
        }
        self.judge_arrival(now);
        self.append(payload);
        self.idle_due = now.checked_add(APP_IDLE);
        self.idle = false;
        Ok(())
    }

    /// Ask for a mark behind all audio so far; gives it back when that has been sent already.
    pub(crate) fn mark(&mut self, name: String) -> Result<Option<String>, FrameError> {
        let delay = if self.has_tail { self.to_leg.delay() } else { 0 };
        let at = self.queued.saturating_add(delay);
        if at <= self.taken && self.marks.is_empty() {
            // Whoever marks the end of what was heard has said all there was to say.
            self.needed_at = None;
            return Ok(Some(name));
        }
        if self.marks.len() >= MARKS_WAITING_MAX {
            return Err(MARKS_FULL);
        }
        self.marks.push_back((at, name));
        Ok(None)
    }

    /// Drop what waits; gives back the marks that waited with it.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = String> + use<> {
        self.stats.discarded = self.stats.discarded.saturating_add(wide(self.queue.len()));
        self.taken = self.queued;
        self.queue = VecDeque::new();
        self.to_leg.reset();
        self.has_tail = false;
        self.half = None;
        self.idle_due = None;
        self.needed_at = None;
        self.late = false;
        std::mem::take(&mut self.marks).into_iter().map(|(_, name)| name)
    }

    /// Whether there is something for a packet of `wanted` samples.
    pub(crate) fn is_ready(&self, wanted: usize) -> bool {
        self.queue.len() >= wanted || (self.idle && self.is_pending())
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.idle_due.filter(|_| self.is_pending())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.idle_due.take_if(|due| *due <= now).is_some() {
            self.idle = true;
            self.half = None;
        }
    }

    /// Add what is due to the packet that goes out at `due`, after which the next is needed at `next`.
    /// False when there is nothing.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], due: Instant, next: Option<Instant>) -> bool {
        self.packet = mix.len();
        if !self.is_ready(mix.len()) {
            return false;
        }
        if self.queue.len() < mix.len() {
            self.drain_tail();
        }
        let count = self.queue.len().min(mix.len());
        for (slot, sample) in mix.iter_mut().zip(self.queue.drain(..count)) {
            *slot = slot.saturating_add(sample);
        }
        if self.queue.is_empty() && self.queue.capacity() > KEEP_SAMPLES {
            self.queue = VecDeque::new();
        }
        self.taken = self.taken.saturating_add(wide(count));
        self.stats.played = self.stats.played.saturating_add(wide(count));
        if std::mem::take(&mut self.late) {
            let silence = self.needed_at.map_or(Duration::ZERO, |at| due.saturating_duration_since(at));
            self.stats.inserted_silence = self.stats.inserted_silence.saturating_add(silence);
        }
        let said_all =
            self.marks.back().is_some_and(|(at, _)| *at == self.taken) && self.taken == self.queued;
        self.needed_at = next.filter(|_| !said_all);
        true
    }

    /// The next mark before which everything has been sent.
    pub(crate) fn next_mark(&mut self) -> Option<String> {
        if self.marks.front().is_some_and(|(at, _)| *at <= self.taken) {
            self.marks.pop_front().map(|(_, name)| name)
        } else {
            None
        }
    }

    /// Write what was counted where it is told.
    pub(crate) fn count_into(&self, stats: &mut TapStats) {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        stats.played_ms = to_ms(self.stats.played);
        stats.queued_ms = to_ms(wide(self.queue.len()));
        stats.discarded_ms = to_ms(self.stats.discarded);
        stats.overflow_ms = to_ms(self.stats.overflow);
        stats.underruns = self.stats.underruns;
        stats.inserted_silence_ms = ms(self.stats.inserted_silence);
        stats.app_lateness_ms = ms(self.stats.lateness_max);
    }

    fn is_pending(&self) -> bool {
        !self.queue.is_empty() || self.has_tail
    }

    /// Tell a stall from a new beginning, for the counters.
    fn judge_arrival(&mut self, now: Instant) {
        let lateness = self.needed_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // What is short of a packet is no audio to go on with.
        if self.late || lateness.is_zero() || self.queue.len() >= self.packet {
            return;
        }
        if lateness > APP_STALL_MAX {
            self.needed_at = None;
            return;
        }
        self.late = true;
        self.stats.underruns = self.stats.underruns.saturating_add(1);
        self.stats.lateness_max = self.stats.lateness_max.max(lateness);
    }

    fn append(&mut self, payload: &[u8]) {
        self.decoded.clear();
        match self.format.encoding {
            Encoding::G711(codec) => codec.decode(payload, &mut self.decoded),
            Encoding::L16 => self.decode_l16(payload),
        }
        if self.to_leg.is_same() {
            self.enqueue_decoded();
        } else {
            self.resampled.clear();
            self.to_leg.process(&self.decoded, &mut self.resampled);
            std::mem::swap(&mut self.decoded, &mut self.resampled);
            self.has_tail = true;
            self.enqueue_decoded();
        }
        for buffer in [&mut self.decoded, &mut self.resampled] {
            if buffer.capacity() > KEEP_SAMPLES {
                *buffer = Vec::new();
            }
        }
    }

    fn decode_l16(&mut self, payload: &[u8]) {
        let mut rest = payload;
        if let Some(low) = self.half
            && let Some((high, after)) = rest.split_first()
        {
            self.decoded.push(i16::from_le_bytes([low, *high]));
            self.half = None;
            rest = after;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        self.decoded.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        if let [low] = odd {
            self.half = Some(*low);
        }
    }

    fn enqueue_decoded(&mut self) {
        self.queued = self.queued.saturating_add(wide(self.decoded.len()));
        self.queue.extend(&self.decoded);
    }

    fn drain_tail(&mut self) {
        if std::mem::take(&mut self.has_tail) {
            self.decoded.clear();
            self.to_leg.finish(&mut self.decoded);
            self.enqueue_decoded();
            // The tail is all there is of what came before.
            for (at, _) in &mut self.marks {
                *at = (*at).min(self.queued);
            }
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
