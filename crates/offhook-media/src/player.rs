//! Audio that waits to be played, one after the other, at the rates it came in.

use std::collections::VecDeque;

use crate::clock::wide;
use crate::params::{PlayId, PlayParams};
use crate::rate::Rate;

/// What has become of a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its first sample is in the packet that goes out.
    Started(PlayId),
    /// It has ended, after so many milliseconds; completed or not.
    Ended(PlayId, u64, bool),
}

/// One sound, of which some has been taken perhaps.
#[derive(Debug)]
struct Play {
    id: PlayId,
    sample_rate_hz: u32,
    pcm: Vec<i16>,
    /// The next sample, in this round.
    at: usize,
    /// Rounds after this one; `None` for ever.
    rounds: Option<u32>,
    /// Samples taken in all rounds.
    taken: u64,
    started: bool,
}

impl Play {
    fn new(id: PlayId, params: PlayParams) -> Self {
        let PlayParams { pcm, sample_rate_hz, loops, .. } = params;
        Self { id, sample_rate_hz, pcm, at: 0, rounds: loops.checked_sub(1), taken: 0, started: false }
    }

    /// Append the next samples to `block`, `count` at most; nothing at the end.
    fn take(&mut self, count: usize, block: &mut Vec<i16>) {
        let full = block.len().saturating_add(count);
        while block.len() < full {
            if self.is_over() {
                return;
            }
            if self.at == self.pcm.len() {
                self.rounds = self.rounds.map(|rounds| rounds.saturating_sub(1));
                self.at = 0;
            }
            let rest = self.pcm.get(self.at..).unwrap_or_default();
            let part = rest.get(..full.saturating_sub(block.len())).unwrap_or(rest);
            block.extend_from_slice(part);
            self.at = self.at.saturating_add(part.len());
            self.taken = self.taken.saturating_add(wide(part.len()));
        }
    }

    /// Whether the last sample of the last round was taken.
    fn is_over(&self) -> bool {
        self.pcm.is_empty() || (self.at == self.pcm.len() && self.rounds == Some(0))
    }

    /// Samples that are still to be taken; of an endless one those of this round.
    fn left(&self) -> u64 {
        let rounds = wide(self.pcm.len()).saturating_mul(u64::from(self.rounds.unwrap_or(0)));
        wide(self.pcm.len().saturating_sub(self.at)).saturating_add(rounds)
    }

    /// How much was taken, in milliseconds.
    fn taken_ms(&self) -> u64 {
        self.taken.saturating_mul(1000) / u64::from(self.sample_rate_hz.max(1))
    }
}

/// A queue of sounds in front of one resampler, which works as the audio is sent, packet by packet, so
/// that much audio at once costs no other call a moment. Sounds of one rate follow without a seam.
#[derive(Debug)]
pub(crate) struct Player {
    leg_rate_hz: u32,
    plays: VecDeque<Play>,
    rate: Option<Rate>,
    /// What is at the rate of the leg already, of the first play.
    ready: VecDeque<i16>,
    block: Vec<i16>,
    resampled: Vec<i16>,
}

impl Player {
    pub(crate) const fn new(leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            plays: VecDeque::new(),
            rate: None,
            ready: VecDeque::new(),
            block: Vec::new(),
            resampled: Vec::new(),
        }
    }

    /// The rate of the leg is another from here on.
    pub(crate) fn set_leg_rate(&mut self, leg_rate_hz: u32) {
        self.finish();
        let ready = Vec::from(std::mem::take(&mut self.ready));
        let mut rate = Rate::new(self.leg_rate_hz, leg_rate_hz);
        self.resampled.clear();
        rate.process(&ready, &mut self.resampled);
        rate.finish(&mut self.resampled);
        self.ready.extend(&self.resampled);
        self.leg_rate_hz = leg_rate_hz;
    }

    /// Samples that wait, at the rate of the leg; of what is repeated for ever one round.
    pub(crate) fn queued(&self) -> u64 {
        let waiting = self.plays.iter().map(|play| self.scaled(play.left(), play.sample_rate_hz));
        waiting.fold(wide(self.ready.len()), u64::saturating_add)
    }

    /// Plays that have not ended.
    pub(crate) fn len(&self) -> usize {
        self.plays.len()
    }

    /// Bytes that are kept for them.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.plays.iter().map(|play| play.pcm.len().saturating_mul(2)).fold(0, usize::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plays.is_empty()
    }

    pub(crate) fn has(&self, id: PlayId) -> bool {
        self.plays.iter().any(|play| play.id == id)
    }

    pub(crate) fn push(&mut self, id: PlayId, params: PlayParams) {
        self.plays.push_back(Play::new(id, params));
    }

    /// End a play that has not ended; tells how long it was heard and drops the rest, counted in
    /// samples of the leg.
    pub(crate) fn stop(&mut self, id: PlayId) -> Option<(u64, u64)> {
        let index = self.plays.iter().position(|play| play.id == id)?;
        let play = self.plays.remove(index)?;
        let mut dropped = self.scaled(play.left(), play.sample_rate_hz);
        let mut heard_ms = play.taken_ms();
        if index == 0 {
            let ready = wide(std::mem::take(&mut self.ready).len());
            self.rate = None;
            dropped = dropped.saturating_add(ready);
            let ready_ms = ready.saturating_mul(1000).div_ceil(u64::from(self.leg_rate_hz.max(1)));
            heard_ms = heard_ms.saturating_sub(ready_ms);
        }
        Some((heard_ms, dropped))
    }

    /// The plays in their order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PlayId> {
        self.plays.iter().map(|play| play.id)
    }

    /// Mix what comes next into `mix`; gives back how many samples that were, and tells what began and
    /// ended with them.
    pub(crate) fn mix_into(&mut self, mix: &mut [i16], told: &mut VecDeque<Told>) -> usize {
        let mut at = 0;
        loop {
            let slots = mix.get_mut(at..).unwrap_or_default();
            let count = self.ready.len().min(slots.len());
            for (slot, sample) in slots.iter_mut().zip(self.ready.drain(..count)) {
                *slot = slot.saturating_add(sample);
            }
            at = at.saturating_add(count);
            if !self.ready.is_empty() {
                return at;
            }
            self.end_over(told);
            if at == mix.len() || !self.refill(told) {
                return at;
            }
        }
    }

    /// End the plays of which nothing is to come any more.
    fn end_over(&mut self, told: &mut VecDeque<Told>) {
        while self.plays.front().is_some_and(Play::is_over) {
            if self.plays.len() == 1 && self.rate.is_some() {
                // Its end is in the resampler still.
                return;
            }
            if let Some(play) = self.plays.pop_front() {
                told.push_back(Told::Ended(play.id, play.taken_ms(), true));
            }
        }
    }

    /// Make more of the first play ready; false when there is none.
    fn refill(&mut self, told: &mut VecDeque<Told>) -> bool {
        let Some(play) = self.plays.front_mut() else { return false };
        let rate_hz = play.sample_rate_hz;
        let changes = self.rate.as_ref().is_some_and(|rate| rate.input_hz() != rate_hz);
        if changes || play.is_over() {
            self.finish();
            return true;
        }
        self.block.clear();
        play.take(usize::try_from(rate_hz / 50).unwrap_or(160).max(1), &mut self.block);
        if !std::mem::replace(&mut play.started, true) {
            told.push_back(Told::Started(play.id));
        }
        self.resample(rate_hz);
        true
    }

    /// Bring the block to the rate of the leg.
    fn resample(&mut self, rate_hz: u32) {
        if rate_hz == self.leg_rate_hz {
            self.ready.extend(&self.block);
            return;
        }
        self.resampled.clear();
        let leg_rate_hz = self.leg_rate_hz;
        let rate = self.rate.get_or_insert_with(|| Rate::new(rate_hz, leg_rate_hz));
        rate.process(&self.block, &mut self.resampled);
        self.ready.extend(&self.resampled);
    }

    /// Make ready what the resampler holds.
    fn finish(&mut self) {
        if let Some(mut rate) = self.rate.take() {
            self.resampled.clear();
            rate.finish(&mut self.resampled);
            self.ready.extend(&self.resampled);
        }
    }

    /// How many samples of the leg so many of another rate make, rounded up.
    fn scaled(&self, count: u64, rate_hz: u32) -> u64 {
        count.saturating_mul(u64::from(self.leg_rate_hz)).div_ceil(u64::from(rate_hz.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(pcm: Vec<i16>, sample_rate_hz: u32, loops: u32) -> PlayParams {
        PlayParams { pcm, sample_rate_hz, loops, overlay: false }
    }

    fn drained(player: &mut Player) -> (Vec<i16>, Vec<(usize, Told)>) {
        let (mut all, mut told, mut queue) = (Vec::new(), Vec::new(), VecDeque::new());
        while !player.is_empty() {
            let mut slots = [0; 160];
            let before = all.len();
            let count = player.mix_into(&mut slots, &mut queue);
            all.extend_from_slice(&slots[..count]);
            told.extend(queue.drain(..).map(|told| (before, told)));
        }
        (all, told)
    }

    #[test]
    fn plays_of_other_rates_come_one_after_the_other_and_whole() {
        let mut player = Player::new(8000);
        for (id, rate_hz) in [(1, 8000), (2, 16_000), (3, 48_000), (4, 8000), (5, 44_100), (6, 11_025)] {
            player.push(PlayId(id), params(vec![1000; rate_hz as usize], rate_hz, 1));
        }
        assert_eq!((player.queued(), player.len()), (48_000, 6));
        let (all, told) = drained(&mut player);
        // Each of the resamplers lets its last samples ring on.
        assert!((48_000..48_000 + 4 * 60).contains(&all.len()), "{}", all.len());
        assert!(all[..8000].iter().chain(&all[24_200..31_900]).all(|&sample| sample == 1000));
        assert!(all[8100..15_900].iter().all(|&sample| sample.abs_diff(1000) < 10));
        let started = told.iter().filter(|(_, told)| matches!(told, Told::Started(_))).count();
        assert_eq!((started, told.len()), (6, 12));
        let mut ended = told.iter().filter(|(_, told)| matches!(told, Told::Ended(..)));
        for id in 1..=6 {
            assert_eq!(ended.next().map(|(_, told)| *told), Some(Told::Ended(PlayId(id), 1000, true)));
        }
    }

    #[test]
    fn a_play_begins_and_ends_with_the_packet_of_its_first_and_last_sample() {
        let mut player = Player::new(8000);
        player.push(PlayId(1), params(vec![1; 320], 8000, 1));
        player.push(PlayId(2), params(vec![2; 80], 8000, 2));
        player.push(PlayId(3), params(vec![3; 10], 8000, 1));
        let (all, told) = drained(&mut player);
        assert_eq!(all, [vec![1; 320], vec![2; 160], vec![3; 10]].concat());
        let expected = [
            (0, Told::Started(PlayId(1))),
            (160, Told::Ended(PlayId(1), 40, true)),
            (320, Told::Started(PlayId(2))),
            (320, Told::Ended(PlayId(2), 20, true)),
            (480, Told::Started(PlayId(3))),
            (480, Told::Ended(PlayId(3), 1, true)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn rounds_follow_without_a_seam_at_any_rate() {
        let period: Vec<i16> = (0..441).map(|n| if n < 220 { 3000 } else { -3000 }).collect();
        let mut whole = Player::new(8000);
        whole.push(PlayId(1), params(period.repeat(7), 44_100, 1));
        let mut rounds = Player::new(8000);
        rounds.push(PlayId(1), params(period, 44_100, 7));
        assert_eq!((rounds.kept_bytes(), rounds.queued()), (882, whole.queued()));
        assert_eq!(drained(&mut rounds).0, drained(&mut whole).0);
    }

    #[test]
    fn what_is_repeated_for_ever_ends_when_it_is_stopped() {
        let mut player = Player::new(8000);
        player.push(PlayId(1), params(vec![7], 8000, 0));
        player.push(PlayId(2), params(vec![8; 160], 8000, 1));
        let (mut slots, mut told) = ([0; 160], VecDeque::new());
        for _ in 0..1000 {
            assert_eq!(player.mix_into(&mut slots, &mut told), 160);
            assert_eq!(slots, [7; 160]);
            slots.fill(0);
        }
        assert_eq!(player.stop(PlayId(1)).map(|(heard_ms, _)| heard_ms), Some(20_000));
        assert_eq!(player.stop(PlayId(1)), None);
        player.mix_into(&mut slots, &mut told);
        assert_eq!(slots, [8; 160]);
        let ended = Told::Ended(PlayId(2), 20, true);
        assert_eq!(told, [Told::Started(PlayId(1)), Told::Started(PlayId(2)), ended]);
    }

    #[test]
    fn what_is_stopped_while_it_waits_was_not_heard_and_leaves_no_trace() {
        let mut player = Player::new(8000);
        player.push(PlayId(1), params(vec![500; 3200], 16_000, 1));
        player.push(PlayId(2), params(vec![900; 16_000], 16_000, 1));
        player.push(PlayId(3), params(vec![500; 3200], 16_000, 1));
        assert_eq!(player.stop(PlayId(2)), Some((0, 8000)));
        let (all, _) = drained(&mut player);
        assert!(all[50..3100].iter().all(|&sample| sample.abs_diff(500) < 5), "no seam between the others");
    }

    #[test]
    fn another_rate_of_the_leg_keeps_what_waits() {
        let mut player = Player::new(8000);
        player.push(PlayId(1), params(vec![500; 16_000], 16_000, 1));
        player.mix_into(&mut [0; 80], &mut VecDeque::new());
        player.set_leg_rate(48_000);
        assert!((47_000..48_000).contains(&player.queued()), "{}", player.queued());
        let (all, told) = drained(&mut player);
        assert!(all[1000..47_000].iter().all(|&sample| sample.abs_diff(500) < 10));
        assert_eq!(told.last().map(|(_, told)| *told), Some(Told::Ended(PlayId(1), 1000, true)));
    }

    /// What a player of one rate should do: the simplest way to say it.
    #[derive(Default)]
    struct Model(Vec<(u64, Vec<i16>, usize)>);

    impl Model {
        fn take(&mut self, count: usize) -> (Vec<i16>, Vec<u64>) {
            let (mut out, mut ended) = (Vec::new(), Vec::new());
            while out.len() < count && !self.0.is_empty() {
                let (id, pcm, at) = &mut self.0[0];
                let part = &pcm[*at..pcm.len().min(*at + count - out.len())];
                out.extend_from_slice(part);
                *at += part.len();
                if *at == pcm.len() {
                    ended.push(*id);
                    self.0.remove(0);
                }
            }
            (out, ended)
        }
    }

    proptest! {
        #[test]
        fn any_plays_and_stops_are_heard_as_they_were_queued(
            steps in proptest::collection::vec((0_u8..4, 1_usize..700, 1_u32..4), 1..80),
        ) {
            let (mut player, mut model) = (Player::new(8000), Model::default());
            let (mut open, mut told) = (Vec::new(), VecDeque::new());
            for (id, (step, size, loops)) in (0_u64..).zip(steps) {
                match step {
                    0 | 1 => {
                        let pcm: Vec<i16> = (1_i16..=10_000).cycle().skip(size).take(size).collect();
                        model.0.push((id, pcm.repeat(loops as usize), 0));
                        player.push(PlayId(id), params(pcm, 8000, loops));
                        open.push(id);
                    }
                    2 if !open.is_empty() => {
                        let id = open.remove(size % open.len());
                        prop_assert!(player.stop(PlayId(id)).is_some());
                        model.0.retain(|(other, ..)| *other != id);
                    }
                    _ => {
                        let mut slots = vec![0; size];
                        let count = player.mix_into(&mut slots, &mut told);
                        let (expected, ended) = model.take(size);
                        prop_assert_eq!(&slots[..count], &expected);
                        prop_assert!(slots[count..].iter().all(|&sample| sample == 0));
                        let all: Vec<Told> = told.drain(..).collect();
                        let ends = all.iter().filter_map(|told| match told {
                            Told::Ended(id, _, completed) => Some((id.0, *completed)),
                            Told::Started(_) => None,
                        });
                        let expected: Vec<(u64, bool)> = ended.iter().map(|id| (*id, true)).collect();
                        prop_assert_eq!(ends.collect::<Vec<_>>(), expected);
                        open.retain(|id| !ended.contains(id));
                    }
                }
                prop_assert_eq!(player.len(), open.len());
            }
        }
    }
}
