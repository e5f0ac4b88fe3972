//! What an application wants the far end to hear: the playout law.
//!
//! Audio waits in a queue and is never skipped. It is played in real time, from the first packet that
//! is due; when the application falls behind there is silence, and what comes then is played at
//! once, so that a stall is never kept as latency. Audio that comes faster waits, up to a minute. A
//! mark comes back with the packet that carries the last sample before it. What is short of a packet
//! waits for more, or for [`APP_IDLE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backlog::{AppFormat, Backlog};
use crate::clock::wide;
use crate::frame::FrameError;
use crate::limits::{
    APP_AUDIO_MS_MAX, APP_IDLE, APP_KEPT_BYTES_MAX, APP_MP3_INTERVAL, APP_MP3_JITTER, APP_STALL_MAX,
    MARKS_WAITING_MAX, PLAYOUT_MS_MAX,
};
use crate::rate::Rate;
use crate::relayed::AppHeard;
use crate::stats::TapStats;

const TOO_LONG: FrameError = FrameError::Invalid("media.payload is longer than 30 s");
const QUEUE_FULL: FrameError = FrameError::Limit("60 s of audio wait to be played; this audio was dropped");
const TOO_BIG: FrameError =
    FrameError::Limit("too many bytes of audio wait to be played; this audio was dropped");
const TOO_OFTEN: FrameError = FrameError::Limit("more than one mp3 file in a second; this one was dropped");
const MARKS_FULL: FrameError = FrameError::Limit("too many marks wait; this one was dropped");

/// The queue of one application.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate fact")]
pub(crate) struct Voice {
    leg_rate_hz: u32,
    /// Who is to hear it.
    pub(crate) heard: AppHeard,
    /// What is said is dropped: there is nobody to hear it.
    muted: bool,
    /// What waits as it came; it is decoded as it is needed, packet by packet.
    backlog: Backlog,
    to_leg: Rate,
    /// `to_leg` holds the end of what came last.
    has_tail: bool,
    /// What waits at the rate of the leg.
    queue: VecDeque<i16>,
    block: Vec<i16>,
    resampled: Vec<i16>,
    /// Samples that went into the queue, and out of it, since the beginning.
    queued: u64,
    taken: u64,
    /// Each waits until so many samples were taken.
    marks: VecDeque<(u64, String)>,
    idle_due: Option<Instant>,
    /// Nothing has come for a while: what is short of a packet may go.
    idle: bool,
    /// Before this an mp3 file is one too many, but for a little jitter.
    next_file_at: Option<Instant>,
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
    pub(crate) fn new(format: AppFormat, leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            heard: AppHeard::Own,
            muted: false,
            backlog: Backlog::new(format),
            to_leg: format.to_leg(leg_rate_hz),
            has_tail: false,
            queue: VecDeque::new(),
            block: Vec::new(),
            resampled: Vec::new(),
            queued: 0,
            taken: 0,
            marks: VecDeque::new(),
            idle_due: None,
            idle: false,
            next_file_at: None,
            needed_at: None,
            late: false,
            packet: 1,
            stats: VoiceStats::default(),
        }
    }

    /// Whether nobody hears what is said from here on; it counts as discarded then.
    pub(crate) const fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Queue all of the audio in `payload`, or nothing.
    pub(crate) fn media(&mut self, now: Instant, payload: Vec<u8>) -> Result<(), FrameError> {
        let message = self.backlog.read(payload)?;
        let rate_hz = u64::from(message.rate_hz.max(1));
        let raw = self.backlog.format() != AppFormat::Mp3;
        if raw && message.samples.saturating_mul(1000) > APP_AUDIO_MS_MAX * rate_hz {
            return Err(TOO_LONG);
        }
        if !raw {
            self.admit_file(now)?;
        }
        let added = message.samples.saturating_mul(u64::from(self.leg_rate_hz)).div_ceil(rate_hz);
        if self.muted {
            self.stats.discarded = self.stats.discarded.saturating_add(added);
            return Ok(());
        }
        if self.available().saturating_add(added) > self.leg_samples(PLAYOUT_MS_MAX) {
            self.stats.overflow = self.stats.overflow.saturating_add(added);
            return Err(QUEUE_FULL);
        }
        if self.backlog.kept_bytes().saturating_add(message.size_bytes) > APP_KEPT_BYTES_MAX {
            self.stats.overflow = self.stats.overflow.saturating_add(added);
            return Err(TOO_BIG);
        }
        self.judge_arrival(now);
        self.backlog.push(message);
        // The end of a file is no piece that more will be joined to.
        self.idle_due = if raw { now.checked_add(APP_IDLE) } else { None };
        self.idle = !raw;
        Ok(())
    }

    /// The leg has this sample rate from here on; what waits is kept, and so are its marks.
    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        self.drain_tail();
        let mut rate = Rate::new(self.leg_rate_hz, leg_rate_hz);
        let (from_hz, to_hz) = (u64::from(self.leg_rate_hz.max(1)), u64::from(leg_rate_hz));
        let stats = &mut self.stats;
        let counts = [&mut stats.played, &mut stats.discarded, &mut stats.overflow, &mut self.taken];
        for count in counts.into_iter().chain(self.marks.iter_mut().map(|(at, _)| at)) {
            *count = count.saturating_mul(to_hz) / from_hz;
        }
        self.resampled.clear();
        rate.process(&Vec::from(std::mem::take(&mut self.queue)), &mut self.resampled);
        rate.finish(&mut self.resampled);
        self.queue.extend(&self.resampled);
        self.queued = self.taken.saturating_add(wide(self.queue.len()));
        self.leg_rate_hz = leg_rate_hz;
        self.to_leg = self.backlog.format().to_leg(leg_rate_hz);
        self.packet = 1;
    }

    /// Ask for a mark behind all audio so far; gives it back when that has been sent already.
    pub(crate) fn mark(&mut self, name: String) -> Result<Option<String>, FrameError> {
        let delay = if self.has_tail || !self.backlog.is_empty() { self.to_leg.delay() } else { 0 };
        let at =
            self.queued.saturating_add(self.backlog.samples_at(self.leg_rate_hz).1).saturating_add(delay);
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
        self.stats.discarded = self.stats.discarded.saturating_add(self.available());
        self.taken = self.queued;
        self.backlog.clear();
        self.queue.clear();
        self.to_leg.reset();
        self.has_tail = false;
        self.idle_due = None;
        self.needed_at = None;
        self.late = false;
        std::mem::take(&mut self.marks).into_iter().map(|(_, name)| name)
    }

    /// Whether there is something for a packet of `wanted` samples.
    pub(crate) fn is_ready(&self, wanted: usize) -> bool {
        let short_of_packet = !self.queue.is_empty() || !self.backlog.is_empty();
        // The end of what was resampled is sent behind the rest, not after a pause.
        self.available() >= wide(wanted) || if short_of_packet { self.idle } else { self.has_tail }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.idle_due.filter(|_| self.is_pending())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.idle_due.take_if(|due| *due <= now).is_some() {
            self.idle = true;
            self.backlog.forget_half();
        }
    }

    /// Add what there is to the packet that goes out at `due`. False when there is nothing.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], due: Instant) -> bool {
        self.packet = mix.len();
        if !self.is_ready(mix.len()) {
            return false;
        }
        self.fill(mix.len());
        let count = self.queue.len().min(mix.len());
        for (slot, sample) in mix.iter_mut().zip(self.queue.drain(..count)) {
            *slot = slot.saturating_add(sample);
        }
        self.taken = self.taken.saturating_add(wide(count));
        self.stats.played = self.stats.played.saturating_add(wide(count));
        if std::mem::take(&mut self.late) {
            let silence = self.needed_at.map_or(Duration::ZERO, |at| due.saturating_duration_since(at));
            self.stats.inserted_silence = self.stats.inserted_silence.saturating_add(silence);
        }
        let said_all = self.marks.back().is_some_and(|(at, _)| *at == self.taken) && self.available() == 0;
        self.needed_at = if said_all { None } else { due.checked_add(self.lasts(wide(count))) };
        true
    }

    /// How many marks wait for the audio before them.
    pub(crate) fn marks_waiting(&self) -> u64 {
        self.marks.len() as u64
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
        let lasts = |samples| ms(self.lasts(samples));
        stats.played_ms = lasts(self.stats.played);
        stats.queued_ms = lasts(self.available());
        stats.discarded_ms = lasts(self.stats.discarded);
        stats.overflow_ms = lasts(self.stats.overflow);
        stats.app_undecodable = self.backlog.undecodable;
        stats.underruns = self.stats.underruns;
        stats.inserted_silence_ms = ms(self.stats.inserted_silence);
        stats.app_lateness_ms = ms(self.stats.lateness_max);
    }

    fn is_pending(&self) -> bool {
        !self.queue.is_empty() || !self.backlog.is_empty() || self.has_tail
    }

    /// Samples that wait, at the rate of the leg; never more than will come out.
    fn available(&self) -> u64 {
        wide(self.queue.len()).saturating_add(self.backlog.samples_at(self.leg_rate_hz).0)
    }

    fn leg_samples(&self, ms: u64) -> u64 {
        ms.saturating_mul(u64::from(self.leg_rate_hz)) / 1000
    }

    /// How long so many samples of the leg last.
    fn lasts(&self, samples: u64) -> Duration {
        Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(self.leg_rate_hz.max(1)))
    }

    /// Take an mp3 file of now, or refuse it as one too many (contract 4.3): one in a second, none saved up.
    fn admit_file(&mut self, now: Instant) -> Result<(), FrameError> {
        if self.next_file_at.is_some_and(|at| now.checked_add(APP_MP3_JITTER).is_some_and(|late| late < at)) {
            return Err(TOO_OFTEN);
        }
        let from = self.next_file_at.map_or(now, |at| at.max(now));
        self.next_file_at = from.checked_add(APP_MP3_INTERVAL);
        Ok(())
    }

    /// Tell a stall from a new beginning, for the counters.
    fn judge_arrival(&mut self, now: Instant) {
        let lateness = self.needed_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // What is short of a packet is no audio to go on with.
        if self.late || lateness.is_zero() || self.available() >= wide(self.packet) {
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

    /// Decode as much as a packet of `wanted` samples needs, if there is so much.
    fn fill(&mut self, wanted: usize) {
        while self.queue.len() < wanted {
            self.block.clear();
            let Some(rate_hz) = self.backlog.decode(&mut self.block) else { break };
            if rate_hz != self.to_leg.input_hz() {
                self.drain_tail();
                self.to_leg = Rate::new(rate_hz, self.leg_rate_hz);
            }
            self.resampled.clear();
            self.to_leg.process(&self.block, &mut self.resampled);
            self.has_tail = !self.to_leg.is_same();
            self.enqueue_resampled();
        }
        if self.queue.len() < wanted {
            self.drain_tail();
        }
        if self.backlog.is_empty() && !self.has_tail {
            // There is no more of what came before any mark.
            for (at, _) in &mut self.marks {
                *at = (*at).min(self.queued);
            }
        }
    }

    fn enqueue_resampled(&mut self) {
        self.queued = self.queued.saturating_add(wide(self.resampled.len()));
        self.queue.extend(&self.resampled);
    }

    fn drain_tail(&mut self) {
        if std::mem::take(&mut self.has_tail) {
            self.resampled.clear();
            self.to_leg.finish(&mut self.resampled);
            self.enqueue_resampled();
        }
    }
}
