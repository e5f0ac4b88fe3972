//! Audio that waits to be played, at the rates it came in.

use std::collections::VecDeque;

use crate::clock::wide;
use crate::rate::Rate;

/// A queue in front of one resampler, which works as the audio is sent, packet by packet, so that
/// much audio at once costs no other call a moment.
#[derive(Debug)]
pub(crate) struct Player {
    leg_rate_hz: u32,
    /// Rate and samples of each stretch.
    waiting: VecDeque<(u32, VecDeque<i16>)>,
    rate: Option<Rate>,
    /// What is at the rate of the leg already.
    ready: VecDeque<i16>,
    block: Vec<i16>,
    resampled: Vec<i16>,
}

impl Player {
    pub(crate) const fn new(leg_rate_hz: u32) -> Self {
        Self {
            leg_rate_hz,
            waiting: VecDeque::new(),
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

    /// How many samples of the leg so many of another rate make, rounded up.
    pub(crate) fn scaled(&self, count: usize, rate_hz: u32) -> u64 {
        wide(count).saturating_mul(u64::from(self.leg_rate_hz)).div_ceil(u64::from(rate_hz.max(1)))
    }

    /// Samples that wait, at the rate of the leg.
    pub(crate) fn queued(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(rate_hz, pcm)| self.scaled(pcm.len(), *rate_hz));
        waiting.sum::<u64>().saturating_add(wide(self.ready.len()))
    }

    /// Whether there is nothing left, not even what a resampler holds.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty() && self.rate.is_none()
    }

    pub(crate) fn push(&mut self, pcm: &[i16], rate_hz: u32) {
        match self.waiting.back_mut() {
            Some((last_hz, waiting)) if *last_hz == rate_hz => waiting.extend(pcm),
            _ => self.waiting.push_back((rate_hz, pcm.iter().copied().collect())),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.ready = VecDeque::new();
        self.rate = None;
    }

    /// Write what comes next into `slots`; gives back how many samples that were.
    pub(crate) fn take(&mut self, slots: &mut [i16]) -> usize {
        while self.ready.len() < slots.len() && self.resample() {}
        let count = self.ready.len().min(slots.len());
        for (slot, sample) in slots.iter_mut().zip(self.ready.drain(..count)) {
            *slot = sample;
        }
        count
    }

    /// Make some more ready; false when there is nothing left.
    fn resample(&mut self) -> bool {
        let Some((rate_hz, waiting)) = self.waiting.front_mut() else { return self.finish() };
        let rate_hz = *rate_hz;
        if self.rate.as_ref().is_some_and(|rate| rate.input_hz() != rate_hz) {
            return self.finish();
        }
        let count = waiting.len().min(usize::try_from(rate_hz / 50).unwrap_or(160).max(1));
        self.block.clear();
        self.block.extend(waiting.drain(..count));
        if waiting.is_empty() {
            self.waiting.pop_front();
        }
        if rate_hz == self.leg_rate_hz {
            self.ready.extend(&self.block);
            return true;
        }
        self.resampled.clear();
        let leg_rate_hz = self.leg_rate_hz;
        let rate = self.rate.get_or_insert_with(|| Rate::new(rate_hz, leg_rate_hz));
        rate.process(&self.block, &mut self.resampled);
        self.ready.extend(&self.resampled);
        true
    }

    /// Make ready what the resampler holds; false when there is none.
    fn finish(&mut self) -> bool {
        let Some(mut rate) = self.rate.take() else { return false };
        self.resampled.clear();
        rate.finish(&mut self.resampled);
        self.ready.extend(&self.resampled);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(player: &mut Player) -> Vec<i16> {
        let (mut all, mut slots) = (Vec::new(), [0; 160]);
        while !player.is_empty() {
            let count = player.take(&mut slots);
            all.extend_from_slice(&slots[..count]);
        }
        all
    }

    #[test]
    fn stretches_of_other_rates_come_one_after_the_other_and_whole() {
        let mut player = Player::new(8000);
        for (count, rate_hz) in [(8000, 8000), (16_000, 16_000), (48_000, 48_000), (8000, 8000)] {
            player.push(&vec![1000; count], rate_hz);
        }
        assert_eq!(player.queued(), 32_000);
        let all = drained(&mut player);
        // Each of the two resamplers lets its last samples ring on.
        assert!((32_000..32_000 + 2 * 60).contains(&all.len()), "{}", all.len());
        assert!(all[..8000].iter().chain(&all[all.len() - 8000..]).all(|&sample| sample == 1000));
        assert!(all[8100..15_900].iter().all(|&sample| sample.abs_diff(1000) < 10));
    }

    #[test]
    fn another_rate_of_the_leg_keeps_what_waits() {
        let mut player = Player::new(8000);
        player.push(&vec![500; 16_000], 16_000);
        player.take(&mut [0; 80]);
        player.set_leg_rate(48_000);
        assert!((47_000..48_000).contains(&player.queued()), "{}", player.queued());
        let all = drained(&mut player);
        assert!(all[1000..47_000].iter().all(|&sample| sample.abs_diff(500) < 10));
    }
}
