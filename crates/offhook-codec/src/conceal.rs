//! Concealment of lost audio for codecs that have none of their own.
//!
//! What was last heard is repeated at its own pitch and fades out, silent after 60 ms; when audio
//! comes again it is faded in over the repetition. The idea is that of G.711 Appendix I, without
//! its added delay.

use crate::resample::to_i16;

/// Shortest and longest period taken for a pitch, in tenths of a millisecond: 400 and 66 Hz.
const PERIODS: (usize, usize) = (25, 150);
/// How much is compared to find it.
const COMPARED: usize = 100;
/// How much is kept: one comparison behind the longest period, and two of these for the joint.
const KEPT: usize = 300;
/// Full level until here, silence from there.
const FADE: (usize, usize) = (100, 600);
/// Length of the joints at both ends of a loss.
const JOINT: usize = 40;

/// Repeats what was heard while nothing comes.
#[derive(Clone, Debug)]
pub(crate) struct Concealer {
    /// Samples in a tenth of a millisecond; a fraction for 22.05 kHz.
    unit: f32,
    history: Vec<i16>,
    /// The period that is repeated, empty while nothing is lost.
    period: Vec<f32>,
    /// Step between what was heard and the repetition, taken away over the first joint.
    step: f32,
    /// Samples made up since the loss began.
    lost: usize,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts"
)]
impl Concealer {
    pub(crate) fn new(sample_rate_hz: u32) -> Self {
        Self {
            unit: sample_rate_hz as f32 / 10_000.0,
            history: Vec::new(),
            period: Vec::new(),
            step: 0.0,
            lost: 0,
        }
    }

    fn samples(&self, tenths: usize) -> usize {
        (tenths as f32 * self.unit) as usize
    }

    /// Take decoded audio note, and smooth its beginning if it follows a loss.
    pub(crate) fn heard(&mut self, pcm: &mut [i16]) {
        if self.lost > 0 && !pcm.is_empty() {
            let joint = self.samples(JOINT).min(pcm.len());
            for (at, sample) in pcm.iter_mut().take(joint).enumerate() {
                let part = (at + 1) as f32 / (joint + 1) as f32;
                *sample = to_i16(f32::from(*sample) * part + self.made_up(self.lost + at) * (1.0 - part));
            }
            self.lost = 0;
            self.period.clear();
        }
        self.keep(pcm);
    }

    /// Append `count` samples in place of lost ones.
    pub(crate) fn conceal(&mut self, count: usize, out: &mut Vec<i16>) {
        if self.lost == 0 {
            self.begin();
        }
        out.extend((self.lost..self.lost + count).map(|at| to_i16(self.made_up(at))));
        self.lost += count;
    }

    fn keep(&mut self, pcm: &[i16]) {
        let kept = self.samples(KEPT);
        let new = pcm.get(pcm.len().saturating_sub(kept)..).unwrap_or_default();
        let surplus = (self.history.len() + new.len()).saturating_sub(kept);
        self.history.drain(..surplus.min(self.history.len()));
        self.history.extend_from_slice(new);
    }

    /// Sample number `at` of the repetition, faded.
    fn made_up(&self, at: usize) -> f32 {
        let (full, silent) = (self.samples(FADE.0), self.samples(FADE.1));
        if at >= silent || self.period.is_empty() {
            return 0.0;
        }
        let sample = self.period.get(at % self.period.len()).copied().unwrap_or(0.0);
        let step = self.step * (1.0 - at as f32 / self.samples(JOINT) as f32).max(0.0);
        let fade = 1.0 - at.saturating_sub(full) as f32 / (silent - full) as f32;
        (sample + step) * fade
    }

    /// Cut the last period out, its end bent so that it leads into its own beginning.
    fn begin(&mut self) {
        let Some(length) = self.pitch() else { return };
        let end = self.history.len();
        let sample = |back: usize| end.checked_sub(back).and_then(|at| self.history.get(at));
        let sample = |back: usize| sample(back).copied().map_or(0.0, f32::from);
        let joint = length / 4;
        let period = (0..length).map(|at| {
            let (here, earlier) = (sample(length - at), sample(2 * length - at));
            let part = (at + joint + 1).saturating_sub(length) as f32 / (joint + 1) as f32;
            here * (1.0 - part) + earlier * part
        });
        let period = period.collect();
        self.step = sample(1) - sample(length + 1);
        self.period = period;
    }

    /// The lag at which the last 10 ms are most like what came before; none before 30 ms are heard.
    fn pitch(&self) -> Option<usize> {
        if self.history.len() < self.samples(KEPT) {
            return None;
        }
        // About 8000 comparisons a second are enough to find the pitch; the rate refines it.
        let stride = (self.unit / 0.8) as usize;
        let (shortest, longest) = (self.samples(PERIODS.0), self.samples(PERIODS.1));
        let coarse = self.best_lag((shortest..=longest).step_by(stride.max(1)), stride.max(1))?;
        let near = coarse.saturating_sub(stride).max(shortest)..=(coarse + stride).min(longest);
        self.best_lag(near, 1)
    }

    fn best_lag(&self, lags: impl Iterator<Item = usize>, stride: usize) -> Option<usize> {
        let likeness = |lag: usize| {
            let compared = self.samples(COMPARED);
            let recent = self.history.get(self.history.len() - compared..)?;
            let earlier = self.history.get(self.history.len() - compared - lag..)?;
            let (mut product, mut energy) = (0.0_f32, 1.0_f32);
            for (&a, &b) in recent.iter().zip(earlier).step_by(stride) {
                product += f32::from(a) * f32::from(b);
                energy += f32::from(b) * f32::from(b);
            }
            Some(product / energy.sqrt())
        };
        lags.filter_map(|lag| Some((likeness(lag)?, lag)))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, lag)| lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tones::{snr_db, tone};

    const RATES: [u32; 5] = [8000, 16_000, 22_050, 24_000, 48_000];

    /// 100 ms of a tone, then `lost_ms` of loss, then the tone again, in its own phase.
    fn with_a_loss(frequency: f64, rate_hz: u32, lost_ms: usize) -> (Vec<i16>, usize) {
        let frame = rate_hz as usize / 50;
        let pcm = tone(frequency, rate_hz, frame * (10 + lost_ms / 20));
        let (mut concealer, mut out) = (Concealer::new(rate_hz), Vec::new());
        for (number, frame) in pcm.chunks(frame).enumerate() {
            if (5..5 + lost_ms / 20).contains(&number) {
                concealer.conceal(frame.len(), &mut out);
            } else {
                let mut heard = frame.to_vec();
                concealer.heard(&mut heard);
                out.extend(heard);
            }
        }
        (out, frame)
    }

    #[test]
    fn a_lost_frame_of_a_tone_is_filled_without_a_click() {
        for rate_hz in RATES {
            for frequency in [150.0, 312.5, 440.0] {
                let (out, frame) = with_a_loss(frequency, rate_hz, 20);
                assert_eq!(out.len(), 11 * frame);
                let filled = snr_db(&out[5 * frame..5 * frame + frame / 2], frequency, rate_hz);
                assert!(filled > 20.0, "{frequency} Hz at {rate_hz}: {filled:.1} dB");
                let steepest = 10_000.0 * std::f64::consts::TAU * frequency / f64::from(rate_hz);
                let step = out.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
                assert!(f64::from(step) < 1.6 * steepest + 50.0, "{frequency} Hz at {rate_hz}: {step}");
            }
        }
    }

    #[test]
    fn a_long_loss_ends_in_silence_and_comes_back() {
        for rate_hz in RATES {
            let (out, frame) = with_a_loss(300.0, rate_hz, 200);
            assert!(out[8 * frame + 1..15 * frame].iter().all(|&sample| sample == 0), "{rate_hz}");
            assert!(snr_db(&out[16 * frame..], 300.0, rate_hz) > 60.0);
        }
    }

    #[test]
    fn a_loss_before_anything_was_heard_is_silence() {
        let mut out = Vec::new();
        Concealer::new(8000).conceal(160, &mut out);
        assert_eq!(out, [0; 160]);
    }

    #[test]
    fn what_is_not_lost_is_not_touched() {
        let (mut concealer, mut pcm) = (Concealer::new(8000), tone(700.0, 8000, 800));
        for frame in pcm.chunks_mut(100) {
            concealer.heard(frame);
        }
        assert_eq!(pcm, tone(700.0, 8000, 800));
    }
}
