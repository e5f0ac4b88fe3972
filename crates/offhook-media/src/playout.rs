//! What is due to be sent next: played audio, what applications say, digits, silence.

use std::collections::VecDeque;
use std::time::Instant;

use offhook_rtp::{TelephoneEventSender, event_of};

use crate::backlog::AppFormat;
use crate::clock::{tick_of, to_ms, wide};
use crate::limits::{DIGITS_MAX, PLAYS_BYTES_MAX, PLAYS_MAX};
use crate::params::{LegParams, PlayId, PlayParams, Refused, TapId};
use crate::player::{Player, Told};
use crate::relay::{Relay, add};
use crate::relayed::AppHeard;
use crate::stats::TapStats;
use crate::voice::Voice;

#[derive(Clone, Copy, Debug)]
struct Digit {
    key: char,
    duration_ms: u32,
    gap_ms: u32,
}

/// What one ptime carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Audio, in [`Playout::mix`].
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
/// What is played, what is played over it and what each application says are queues of their own, mixed
/// as they are sent.
#[derive(Debug)]
pub(crate) struct Playout {
    leg_rate_hz: u32,
    voices: Vec<(TapId, Voice)>,
    mix: Vec<i16>,
    /// What the other leg of the bridge is to send.
    said: Vec<i16>,
    /// What an application says to both.
    both: Vec<i16>,
    /// What the other leg's far end says in `mix`; empty when it says nothing.
    far: Vec<i16>,
    /// There while the leg is bridged.
    pub(crate) relay: Option<Box<Relay>>,
    player: Player,
    /// What is mixed over the others.
    overlay: Player,
    told: VecDeque<Told>,
    digits: VecDeque<Digit>,
    sending: Option<(TelephoneEventSender, u32)>,
    pause_ms: u32,
    /// Ticks of plays that were sent, and that were stopped before.
    pub(crate) played: u64,
    pub(crate) discarded: u64,
    pub(crate) digits_sent: u64,
}

impl Playout {
    pub(crate) const fn new(leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            voices: Vec::new(),
            mix: Vec::new(),
            said: Vec::new(),
            both: Vec::new(),
            far: Vec::new(),
            relay: None,
            player: Player::new(leg_rate_hz),
            overlay: Player::new(leg_rate_hz),
            told: VecDeque::new(),
            digits: VecDeque::new(),
            sending: None,
            pause_ms: 0,
            played: 0,
            discarded: 0,
            digits_sent: 0,
        }
    }

    /// The leg has this sample rate from here on; what waits is kept.
    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        if leg_rate_hz != self.leg_rate_hz {
            self.leg_rate_hz = leg_rate_hz;
            self.player.set_leg_rate(leg_rate_hz);
            self.overlay.set_leg_rate(leg_rate_hz);
            for (_, voice) in &mut self.voices {
                voice.set_leg_rate(leg_rate_hz);
            }
            if let Some(relay) = &mut self.relay {
                relay.set_leg_rate(leg_rate_hz);
            }
        }
    }

    /// Queue a play behind those that wait, or behind those that are mixed over them.
    pub(crate) fn play(&mut self, id: PlayId, params: PlayParams) -> Result<(), Refused> {
        params.check()?;
        if self.player.has(id) || self.overlay.has(id) {
            return Err(Refused::PlayExists);
        }
        let plays = self.player.len().saturating_add(self.overlay.len());
        let kept = self.player.kept_bytes().saturating_add(self.overlay.kept_bytes());
        if plays >= PLAYS_MAX || kept.saturating_add(params.bytes()) > PLAYS_BYTES_MAX {
            return Err(Refused::PlayoutFull);
        }
        let queue = if params.overlay { &mut self.overlay } else { &mut self.player };
        queue.push(id, params);
        Ok(())
    }

    /// End a play; false when there is none of this id.
    pub(crate) fn stop_play(&mut self, id: PlayId) -> bool {
        let stopped = self.player.stop(id).or_else(|| self.overlay.stop(id));
        if let Some((heard_ms, dropped)) = stopped {
            self.discarded = self.discarded.saturating_add(self.in_ticks(dropped));
            self.told.push_back(Told::Ended(id, heard_ms, false));
        }
        stopped.is_some()
    }

    /// Drop every play and every digit that waits. A digit under way is finished.
    pub(crate) fn clear(&mut self) {
        let ids: Vec<PlayId> = self.player.ids().chain(self.overlay.ids()).collect();
        for id in ids {
            self.stop_play(id);
        }
        self.digits.clear();
    }

    /// What has become of the plays, in order.
    pub(crate) fn next_told(&mut self) -> Option<Told> {
        self.told.pop_front()
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

    /// Let the application of a stream be heard.
    pub(crate) fn add_voice(&mut self, tap: TapId, format: AppFormat, heard: AppHeard) {
        let mut voice = Voice::new(format, self.leg_rate_hz);
        voice.heard = heard;
        voice.mute(heard.by(self.is_bridged()) == (false, false));
        self.voices.push((tap, voice));
    }

    /// There is another leg now, or there is none any more.
    pub(crate) fn bridge(&mut self, bridged: bool) {
        self.relay = bridged.then(|| Box::new(Relay::new(self.leg_rate_hz)));
        for (_, voice) in &mut self.voices {
            voice.mute(voice.heard.by(bridged) == (false, false));
        }
    }

    pub(crate) const fn is_bridged(&self) -> bool {
        self.relay.is_some()
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
            stats.marks_waiting = voice.marks_waiting();
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
        let wanted = self.packet_samples(ptime_ms);
        self.is_playing()
            || self.has_digits()
            || self.voices.iter().any(|(_, voice)| voice.is_ready(wanted))
            || self.relay.as_ref().is_some_and(|relay| relay.is_ready(wanted))
    }

    /// Whether digits of our own are under way.
    pub(crate) fn has_digits(&self) -> bool {
        !self.digits.is_empty() || self.sending.is_some() || self.pause_ms > 0
    }

    /// Whether an application has something to say to the other leg's far end.
    pub(crate) fn has_said(&self, ptime_ms: u32) -> bool {
        let wanted = self.packet_samples(ptime_ms);
        let bridged = self.is_bridged();
        self.voices.iter().any(|(_, voice)| voice.heard.by(bridged).1 && voice.is_ready(wanted))
    }

    pub(crate) fn queued_ms(&self) -> u64 {
        to_ms(self.in_ticks(self.player.queued().saturating_add(self.overlay.queued())))
    }

    fn is_playing(&self) -> bool {
        !self.player.is_empty() || !self.overlay.is_empty()
    }

    /// What is due for one ptime, at `due`. A telephone-event is appended to `payload`.
    pub(crate) fn next(&mut self, due: Instant, params: &LegParams, payload: &mut Vec<u8>) -> Tick {
        let ptime_ms = params.ptime_ms;
        self.said.clear();
        if self.has_digits() {
            let count = self.packet_samples(ptime_ms);
            if let Some(relay) = &mut self.relay {
                relay.skip(count);
            }
        }
        if self.pause_ms > 0 {
            self.pause_ms = self.pause_ms.saturating_sub(ptime_ms);
            return Tick::Pause;
        }
        if self.sending.is_none()
            && let Some(next) = self.digits.pop_front()
        {
            let clock_rate_hz = params.dtmf_clock_rate_hz;
            let sender = TelephoneEventSender::new(next.key, next.duration_ms, ptime_ms, clock_rate_hz);
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
        self.next_audio(due, ptime_ms)
    }

    /// The samples of the last audio.
    pub(crate) fn mix(&self) -> &[i16] {
        &self.mix
    }

    /// What of the last audio the other leg's far end has said.
    pub(crate) fn far(&self) -> &[i16] {
        &self.far
    }

    /// The last audio was sent.
    pub(crate) fn forget_far(&mut self) {
        self.far.clear();
    }

    fn next_audio(&mut self, due: Instant, ptime_ms: u32) -> Tick {
        self.mix.clear();
        self.mix.resize(self.packet_samples(ptime_ms), 0);
        let mut heard = self.is_playing();
        if heard {
            let count = self.player.mix_into(&mut self.mix, &mut self.told);
            let count = count.max(self.overlay.mix_into(&mut self.mix, &mut self.told));
            self.played = self.played.saturating_add(self.in_ticks(wide(count)));
        }
        heard |= self.mix_voices(due, true);
        if let Some(relay) = &mut self.relay {
            if heard {
                relay.mix(due);
            }
            heard |= relay.mix_into(&mut self.mix, &mut self.far, due);
        }
        if heard { Tick::Audio } else { Tick::Idle }
    }

    /// What applications say to the other leg alone, while this one may not send.
    pub(crate) fn next_said(&mut self, due: Instant, ptime_ms: u32) {
        self.mix.clear();
        self.mix.resize(self.packet_samples(ptime_ms), 0);
        self.said.clear();
        self.mix_voices(due, false);
    }

    /// Mix what applications say, each for those who hear it. True when the own far end hears something.
    fn mix_voices(&mut self, due: Instant, own: bool) -> bool {
        let (bridged, count, mut heard) = (self.is_bridged(), self.mix.len(), false);
        for (_, voice) in &mut self.voices {
            let by = voice.heard.by(bridged);
            if !by.1 {
                heard |= own && voice.mix_into(&mut self.mix, due);
                continue;
            }
            self.both.clear();
            self.both.resize(count, 0);
            if voice.mix_into(&mut self.both, due) {
                self.said.resize(count, 0);
                add(&mut self.said, &self.both);
                if by.0 && own {
                    add(&mut self.mix, &self.both);
                    heard = true;
                }
            }
        }
        heard
    }

    /// What the other leg is to send of the last packet's time.
    pub(crate) fn said(&self) -> (u32, &[i16]) {
        (self.leg_rate_hz, &self.said)
    }

    pub(crate) fn packet_samples(&self, ptime_ms: u32) -> usize {
        usize::try_from(u64::from(self.leg_rate_hz) * u64::from(ptime_ms) / 1000).unwrap_or(160)
    }

    /// So many samples of the leg as ticks.
    fn in_ticks(&self, samples: u64) -> u64 {
        samples.saturating_mul(tick_of(self.leg_rate_hz))
    }
}
