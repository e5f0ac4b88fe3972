//! What an application wants the far end to hear: the playout law.
//!
//! Audio waits in a queue and is never skipped. It is played in real time, from the first packet that
//! is due; when the application falls behind there is silence, and what comes then is played at
//! once, so that a stall is never kept as latency. Audio that comes faster waits, up to a minute. A
//! mark comes back with the packet that carries the last sample before it. What is short of a packet
//! waits for more, or for [`APP_IDLE`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use offhook_codec::{ByteOrder, Decoder, Format};

use crate::clock::{tick_of, to_ms, to_us, wide};
use crate::frame::FrameError;
use crate::limits::{APP_AUDIO_MS_MAX, APP_IDLE, APP_STALL_MAX, MARKS_WAITING_MAX, PLAYOUT_MS_MAX};
use crate::rate::Rate;
use crate::stats::TapStats;

const TOO_LONG: FrameError = FrameError::Invalid("media.payload is longer than 30 s");
const NOT_AUDIO: FrameError =
    FrameError::Invalid("media.payload is no audio of the codec that was agreed on");
const QUEUE_FULL: FrameError = FrameError::Limit("60 s of audio wait to be played; this audio was dropped");
const MARKS_FULL: FrameError = FrameError::Limit("too many marks wait; this one was dropped");

/// Buffers that one long message has grown beyond this are given back.
const KEEP_SAMPLES: usize = 8000;

/// The queue of one application.
#[derive(Debug)]
pub(crate) struct Voice {
    format: Format,
    leg_rate_hz: u32,
    /// Nothing for plain samples, and where the system cannot decode the format.
    decoder: Option<Decoder>,
    to_leg: Rate,
    /// `to_leg` holds the end of what came last.
    has_tail: bool,
    /// First half of a sample that a message has cut in two.
    half: Option<u8>,
    /// What waits at the rate of the application; it is resampled as it is needed, packet by packet,
    /// so that a long message costs no other call a moment.
    waiting: VecDeque<i16>,
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
    pub(crate) fn new(format: Format, leg_rate_hz: u32) -> Self {
        let decoder = if matches!(format, Format::L16 { .. }) { None } else { Decoder::new(format).ok() };
        Self {
            format,
            leg_rate_hz,
            decoder,
            to_leg: Rate::new(format.sample_rate_hz(), leg_rate_hz),
            has_tail: false,
            half: None,
            waiting: VecDeque::new(),
            queue: VecDeque::new(),
            block: Vec::new(),
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
        let count = self.samples_in(payload).ok_or(NOT_AUDIO)?;
        let rate_hz = u64::from(self.format.sample_rate_hz());
        if count.saturating_mul(1000) > APP_AUDIO_MS_MAX * rate_hz {
            return Err(TOO_LONG);
        }
        let leg_rate_hz = u64::from(self.leg_rate_hz);
        let added = (count * leg_rate_hz).div_ceil(rate_hz);
        if self.available().saturating_add(added) > leg_rate_hz * PLAYOUT_MS_MAX / 1000 {
            self.stats.overflow = self.stats.overflow.saturating_add(added);
            return Err(QUEUE_FULL);
        }
        self.judge_arrival(now);
        self.append(payload)?;
        self.idle_due = now.checked_add(APP_IDLE);
        self.idle = false;
        Ok(())
    }

    /// Ask for a mark behind all audio so far; gives it back when that has been sent already.
    pub(crate) fn mark(&mut self, name: String) -> Result<Option<String>, FrameError> {
        let delay = if self.has_tail || !self.waiting.is_empty() { self.to_leg.delay() } else { 0 };
        let at = self.queued.saturating_add(self.at_leg_rate(self.waiting.len()).1).saturating_add(delay);
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
        self.waiting = VecDeque::new();
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
        let short_of_packet = !self.queue.is_empty() || !self.waiting.is_empty();
        // The end of what was resampled is sent behind the rest, not after a pause.
        self.available() >= wide(wanted) || if short_of_packet { self.idle } else { self.has_tail }
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

    /// Add what there is to the packet that goes out at `due`. False when there is nothing.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], due: Instant) -> bool {
        self.packet = mix.len();
        if !self.is_ready(mix.len()) {
            return false;
        }
        self.resample(mix.len());
        if self.queue.len() < mix.len() {
            self.drain_tail();
        }
        let count = self.queue.len().min(mix.len());
        for (slot, sample) in mix.iter_mut().zip(self.queue.drain(..count)) {
            *slot = slot.saturating_add(sample);
        }
        for queue in [&mut self.waiting, &mut self.queue] {
            if queue.is_empty() && queue.capacity() > KEEP_SAMPLES {
                *queue = VecDeque::new();
            }
        }
        self.taken = self.taken.saturating_add(wide(count));
        self.stats.played = self.stats.played.saturating_add(wide(count));
        if std::mem::take(&mut self.late) {
            let silence = self.needed_at.map_or(Duration::ZERO, |at| due.saturating_duration_since(at));
            self.stats.inserted_silence = self.stats.inserted_silence.saturating_add(silence);
        }
        let said_all = self.marks.back().is_some_and(|(at, _)| *at == self.taken) && self.available() == 0;
        self.needed_at = if said_all {
            None
        } else {
            due.checked_add(Duration::from_micros(to_us(wide(count) * tick_of(self.leg_rate_hz))))
        };
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
        let tick = tick_of(self.leg_rate_hz);
        stats.played_ms = to_ms(self.stats.played * tick);
        stats.queued_ms = to_ms(self.available() * tick);
        stats.discarded_ms = to_ms(self.stats.discarded * tick);
        stats.overflow_ms = to_ms(self.stats.overflow * tick);
        stats.underruns = self.stats.underruns;
        stats.inserted_silence_ms = ms(self.stats.inserted_silence);
        stats.app_lateness_ms = ms(self.stats.lateness_max);
    }

    fn is_pending(&self) -> bool {
        !self.queue.is_empty() || !self.waiting.is_empty() || self.has_tail
    }

    /// Samples that wait, at the rate of the leg; never more than will come out.
    fn available(&self) -> u64 {
        wide(self.queue.len()).saturating_add(self.at_leg_rate(self.waiting.len()).0)
    }

    /// So many samples of the application at the rate of the leg, rounded down and up.
    fn at_leg_rate(&self, count: usize) -> (u64, u64) {
        let rate_hz = u64::from(self.format.sample_rate_hz());
        let scaled = wide(count).saturating_mul(u64::from(self.leg_rate_hz));
        (scaled / rate_hz, scaled.div_ceil(rate_hz))
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

    /// Samples in a payload, at the rate of the application; nothing when it is none of its format.
    fn samples_in(&self, payload: &[u8]) -> Option<u64> {
        if matches!(self.format, Format::L16 { .. }) {
            return Some(wide(payload.len() / 2));
        }
        let clock_ticks = u64::from(self.format.clock_ticks_in(payload)?);
        let (rate_hz, clock_hz) = (self.format.sample_rate_hz(), self.format.clock_rate_hz());
        Some(clock_ticks * u64::from(rate_hz) / u64::from(clock_hz))
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        let input = if self.to_leg.is_same() { &mut self.queue } else { &mut self.waiting };
        let before = input.len();
        match (self.format, &mut self.decoder) {
            (Format::L16 { byte_order, .. }, _) => decode_l16(byte_order, &mut self.half, payload, input),
            (Format::G711(codec), _) => input.extend(payload.iter().map(|&byte| codec.decode_sample(byte))),
            (_, Some(decoder)) => {
                self.block.clear();
                decoder.decode(payload, &mut self.block).map_err(|_| NOT_AUDIO)?;
                input.extend(&self.block);
            }
            (_, None) => return Err(NOT_AUDIO),
        }
        if self.to_leg.is_same() {
            self.queued = self.queued.saturating_add(wide(input.len() - before));
        }
        Ok(())
    }

    /// The leg has this sample rate from here on; what waits is kept, and so are its marks.
    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        self.resampled.clear();
        self.to_leg.finish(&mut self.resampled);
        self.queue.extend(&self.resampled);
        self.has_tail = false;
        let mut rate = Rate::new(self.leg_rate_hz, leg_rate_hz);
        let scaled = |count: u64| count * u64::from(leg_rate_hz) / u64::from(self.leg_rate_hz);
        for count in [&mut self.stats.played, &mut self.stats.discarded, &mut self.stats.overflow] {
            *count = scaled(*count);
        }
        for (at, _) in &mut self.marks {
            *at = scaled(*at);
        }
        self.taken = scaled(self.taken);
        self.resampled.clear();
        rate.process(&Vec::from(std::mem::take(&mut self.queue)), &mut self.resampled);
        rate.finish(&mut self.resampled);
        self.queue.extend(&self.resampled);
        self.queued = self.taken.saturating_add(wide(self.queue.len()));
        let app_rate_hz = self.format.sample_rate_hz();
        self.leg_rate_hz = leg_rate_hz;
        self.to_leg = Rate::new(app_rate_hz, leg_rate_hz);
        self.packet = 1;
    }

    /// Bring as much to the rate of the leg as a packet of `wanted` samples needs, if there is so much.
    fn resample(&mut self, wanted: usize) {
        let block = usize::try_from(self.format.sample_rate_hz() / 50).unwrap_or(160).max(1);
        while self.queue.len() < wanted && !self.waiting.is_empty() {
            let count = self.waiting.len().min(block);
            self.block.clear();
            self.block.extend(self.waiting.drain(..count));
            self.resampled.clear();
            self.to_leg.process(&self.block, &mut self.resampled);
            self.has_tail = true;
            self.enqueue_resampled();
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
            // The tail is all there is of what came before.
            for (at, _) in &mut self.marks {
                *at = (*at).min(self.queued);
            }
        }
    }
}

/// Append the samples in `payload`; `half` is the beginning of one that a message has cut in two.
fn decode_l16(order: ByteOrder, half: &mut Option<u8>, payload: &[u8], out: &mut VecDeque<i16>) {
    let sample = |pair: [u8; 2]| match order {
        ByteOrder::Little => i16::from_le_bytes(pair),
        ByteOrder::Big => i16::from_be_bytes(pair),
    };
    let mut rest = payload;
    if let Some((second, after)) = rest.split_first()
        && let Some(first) = half.take()
    {
        out.push_back(sample([first, *second]));
        rest = after;
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    out.extend(pairs.iter().map(|pair| sample(*pair)));
    if let [first] = odd {
        *half = Some(*first);
    }
}
