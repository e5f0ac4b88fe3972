//! What is due to be sent next: played audio, what applications say, digits, silence.

use std::collections::VecDeque;
use std::time::Instant;

use offhook_codec::{Codec, Downsampler};
use offhook_rtp::{TelephoneEventSender, event_of};

use crate::backlog::AppFormat;
use crate::clock::{samples, to_ms};
use crate::limits::{DIGITS_MAX, PLAYOUT_MS_MAX};
use crate::params::{Refused, TapId};
use crate::stats::TapStats;
use crate::voice::Voice;

const LEG_RATE_HZ: u32 = 8000;

#[derive(Clone, Copy, Debug)]
struct Digit {
    key: char,
    duration_ms: u32,
    gap_ms: u32,
}

/// What one ptime carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Audio, written to the payload.
    Audio,
    /// A packet of a telephone-event, written to the payload.
    Event {
        /// First packet of the digit.
        first: bool,
    },
    /// The pause behind a digit.
    Pause,
    /// There is nothing.
    Idle,
}

/// Audio and digits that wait, in order; digits go first, and audio waits for them.
///
/// What is played and what each application says are queues of their own, mixed as they are sent.
#[derive(Debug, Default)]
pub(crate) struct Playout {
    voices: Vec<(TapId, Voice)>,
    mix: Vec<i16>,
    queue: VecDeque<i16>,
    downsampler: Option<Downsampler>,
    digits: VecDeque<Digit>,
    sending: Option<(TelephoneEventSender, u32)>,
    pause_ms: u32,
    /// Samples sent since the queue was last empty; `None` when nothing plays.
    run: Option<u64>,
    pub(crate) played_samples: u64,
    pub(crate) discarded_samples: u64,
    pub(crate) digits_sent: u64,
}

impl Playout {
    /// Queue all of `pcm` or nothing.
    pub(crate) fn play(&mut self, pcm: &[i16], sample_rate_hz: u32) -> Result<(), Refused> {
        let halved = match sample_rate_hz {
            8000 => false,
            16_000 => true,
            _ => return Err(Refused::OutOfRange("sample_rate_hz")),
        };
        let added = if halved { pcm.len().div_ceil(2) } else { pcm.len() };
        let queued = u64::try_from(self.queue.len().saturating_add(added)).unwrap_or(u64::MAX);
        if queued > samples(PLAYOUT_MS_MAX) {
            return Err(Refused::PlayoutFull);
        }
        if pcm.is_empty() {
            return Ok(());
        }
        if halved {
            let mut out = Vec::with_capacity(added);
            self.downsampler.get_or_insert_default().process(pcm, &mut out);
            self.queue.extend(out);
        } else {
            self.drain_downsampler();
            self.queue.extend(pcm);
        }
        self.run.get_or_insert(0);
        Ok(())
    }

    /// Queue all of `digits` or nothing.
    pub(crate) fn send_digits(&mut self, digits: &str, duration_ms: u32, gap_ms: u32) -> Result<(), Refused> {
        if !digits.chars().all(|digit| event_of(digit).is_some()) {
            return Err(Refused::OutOfRange("digits"));
        }
        if !(40..=8000).contains(&duration_ms) {
            return Err(Refused::OutOfRange("duration_ms"));
        }
        if gap_ms > 8000 {
            return Err(Refused::OutOfRange("gap_ms"));
        }
        if self.digits.len().saturating_add(digits.len()) > DIGITS_MAX {
            return Err(Refused::DigitsFull);
        }
        self.digits.extend(digits.chars().map(|digit| Digit { key: digit, duration_ms, gap_ms }));
        Ok(())
    }

    /// Drop what waits. A digit under way is finished. Gives the milliseconds played of what was cut.
    pub(crate) fn clear(&mut self) -> Option<u64> {
        let dropped = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.discarded_samples = self.discarded_samples.saturating_add(dropped);
        self.queue.clear();
        self.downsampler = None;
        self.digits.clear();
        self.run.take().map(to_ms)
    }

    /// Let the application of a stream be heard.
    pub(crate) fn add_voice(&mut self, tap: TapId, format: AppFormat, heard: bool) {
        let mut voice = Voice::new(format, LEG_RATE_HZ);
        if !heard {
            voice.mute();
        }
        self.voices.push((tap, voice));
    }

    /// The queue of a stream, if its application may be heard.
    pub(crate) fn voice(&mut self, tap: TapId) -> Option<&mut Voice> {
        self.voices.iter_mut().find(|(id, _)| *id == tap).map(|(_, voice)| voice)
    }

    /// Forget a stream and all it had queued; what it counted goes into `stats`.
    pub(crate) fn remove_voice(&mut self, tap: TapId, stats: &mut TapStats) {
        if let Some(voice) = self.voice(tap) {
            let _ = voice.clear();
            voice.count_into(stats);
            self.voices.retain(|(id, _)| *id != tap);
        }
    }

    /// Write what the voice of a tap has counted where it is told.
    pub(crate) fn count_voice(&self, tap: TapId, stats: &mut TapStats) {
        if let Some((_, voice)) = self.voices.iter().find(|(id, _)| *id == tap) {
            voice.count_into(stats);
        }
    }

    /// The next mark that may go back, and the stream it came from.
    pub(crate) fn next_mark(&mut self) -> Option<(TapId, String)> {
        self.voices.iter_mut().find_map(|(tap, voice)| voice.next_mark().map(|name| (*tap, name)))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for (_, voice) in &mut self.voices {
            voice.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.voices.iter().filter_map(|(_, voice)| voice.poll_timeout()).min()
    }

    /// Whether a packet of `ptime_ms` would carry anything.
    pub(crate) fn has_work(&self, ptime_ms: u32) -> bool {
        let wanted = packet_samples(ptime_ms);
        self.run.is_some()
            || !self.digits.is_empty()
            || self.sending.is_some()
            || self.pause_ms > 0
            || self.voices.iter().any(|(_, voice)| voice.is_ready(wanted))
    }

    pub(crate) fn queued_ms(&self) -> u64 {
        to_ms(u64::try_from(self.queue.len()).unwrap_or(u64::MAX))
    }

    /// Fill `payload` (appending) with what is due for one ptime, at `due`.
    pub(crate) fn next(&mut self, due: Instant, ptime_ms: u32, codec: Codec, payload: &mut Vec<u8>) -> Tick {
        if self.pause_ms > 0 {
            self.pause_ms = self.pause_ms.saturating_sub(ptime_ms);
            return Tick::Pause;
        }
        if self.sending.is_none()
            && let Some(next) = self.digits.pop_front()
        {
            let sender =
                TelephoneEventSender::new(next.key, next.duration_ms, ptime_ms, codec.sample_rate_hz());
            self.sending = sender.map(|sender| (sender, next.gap_ms));
        }
        if let Some((sender, gap_ms)) = &mut self.sending
            && let Some(packet) = sender.next_packet()
        {
            payload.extend_from_slice(&packet.payload);
            if packet.last {
                self.pause_ms = *gap_ms;
                self.sending = None;
                self.digits_sent = self.digits_sent.saturating_add(1);
            }
            return Tick::Event { first: packet.marker };
        }
        self.next_audio(due, ptime_ms, codec, payload)
    }

    /// After a tick: what was played in milliseconds, if it has just come to its end.
    pub(crate) fn take_ended(&mut self) -> Option<u64> {
        if self.queue.is_empty() && self.downsampler.is_none() { self.run.take().map(to_ms) } else { None }
    }

    fn next_audio(&mut self, due: Instant, ptime_ms: u32, codec: Codec, payload: &mut Vec<u8>) -> Tick {
        self.mix.clear();
        self.mix.resize(packet_samples(ptime_ms), 0);
        let mut heard = self.run.is_some();
        if heard {
            self.mix_played();
        }
        for (_, voice) in &mut self.voices {
            heard |= voice.mix_into(&mut self.mix, due);
        }
        if !heard {
            return Tick::Idle;
        }
        codec.encode(&self.mix, payload);
        Tick::Audio
    }

    fn mix_played(&mut self) {
        if self.queue.len() <= self.mix.len() {
            self.drain_downsampler();
        }
        let count = self.queue.len().min(self.mix.len());
        for (slot, sample) in self.mix.iter_mut().zip(self.queue.drain(..count)) {
            *slot = sample;
        }
        let count = u64::try_from(count).unwrap_or(0);
        self.run = self.run.map(|run| run.saturating_add(count));
        self.played_samples = self.played_samples.saturating_add(count);
    }

    fn drain_downsampler(&mut self) {
        if let Some(mut downsampler) = self.downsampler.take() {
            let mut tail = Vec::new();
            downsampler.finish(&mut tail);
            self.queue.extend(tail);
        }
    }
}

fn packet_samples(ptime_ms: u32) -> usize {
    usize::try_from(samples(u64::from(ptime_ms))).unwrap_or(160)
}
