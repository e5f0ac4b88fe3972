//! Any of the usual sample rates to any other, by one polyphase filter of linear phase.

use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

use crate::resample::{bessel_i0, to_i16};

/// Delay of every [`Resampler`], in samples of the lower of its two rates: 3 ms at 8 kHz.
pub const POLYPHASE_DELAY: usize = 24;
/// Rates a [`Resampler`] takes, lowest and highest.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8000..=48_000;
/// Most phases a filter may have; 11025 to 16000 Hz needs 640.
const PHASES: usize = 640;
/// Filters kept for the next resampler of the same rates.
const KEPT_BANKS: usize = 32;
const LANES: usize = 8;

static BANKS: Mutex<Vec<Arc<Bank>>> = Mutex::new(Vec::new());

/// Changes the sample rate of one mono signal, which may come in any pieces.
///
/// The signal comes out [`POLYPHASE_DELAY`] samples of the lower rate later (rounded up to a
/// multiple of four input samples, see [`Self::delay`]), with less than -60 dB of anything else.
/// `n` samples in make `n * to_hz / from_hz` samples out, rounded up over the whole signal: 20 ms
/// in are 20 ms out, always. Equal rates pass through unchanged and at once.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Absent where the rates are equal.
    bank: Option<Arc<Bank>>,
    /// The samples that still matter, followed by the new ones.
    history: Vec<f32>,
    /// Position of the next output: how many `from_hz / steps` parts after the window's start.
    phase: usize,
}

impl Resampler {
    /// A resampler between two rates, each of 8000, 16000, 22050, 24000, 44100, 48000 Hz or some
    /// other between them with a simple enough ratio; else nothing.
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        if !RATES_HZ.contains(&from_hz) || !RATES_HZ.contains(&to_hz) {
            return None;
        }
        let bank = if from_hz == to_hz { None } else { Some(Bank::shared(from_hz, to_hz)?) };
        let history = bank.as_ref().map(|bank| vec![0.0; bank.taps - 1]).unwrap_or_default();
        Some(Self { bank, history, phase: 0 })
    }

    /// Exact delay, in samples of the input.
    pub fn delay(&self) -> usize {
        self.bank.as_ref().map_or(0, |bank| bank.taps / 2)
    }

    /// Append to `out` what `pcm` completes.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        let Some(bank) = &self.bank else { return out.extend_from_slice(pcm) };
        self.history.extend(pcm.iter().map(|&sample| f32::from(sample)));
        out.reserve(pcm.len() * bank.phases / bank.step + 1);
        let mut at = 0;
        while let Some(window) = self.history.get(at..at + bank.taps) {
            out.push(to_i16(dot(bank.weights(self.phase), window)));
            self.phase += bank.step;
            at += self.phase / bank.phases;
            self.phase %= bank.phases;
        }
        self.history.drain(..at);
    }

    /// Append what the delay still holds; begins anew after that.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        self.process(&vec![0; self.delay()], out);
        self.reset();
    }

    /// Forget the signal so far.
    pub fn reset(&mut self) {
        self.phase = 0;
        self.history.clear();
        self.history.resize(self.bank.as_ref().map_or(0, |bank| bank.taps - 1), 0.0);
    }
}

/// The filter of one pair of rates: for each fraction of an input sample its own weights.
#[derive(Debug)]
struct Bank {
    rates_hz: (u32, u32),
    phases: usize,
    step: usize,
    taps: usize,
    weights: Vec<f32>,
}

impl Bank {
    fn shared(from_hz: u32, to_hz: u32) -> Option<Arc<Self>> {
        let mut banks = BANKS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bank) = banks.iter().find(|bank| bank.rates_hz == (from_hz, to_hz)) {
            return Some(Arc::clone(bank));
        }
        let bank = Arc::new(Self::new(from_hz, to_hz)?);
        if banks.len() < KEPT_BANKS {
            banks.push(Arc::clone(&bank));
        }
        Some(bank)
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts")]
    fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        const KAISER_BETA: f64 = 7.0;
        /// Middle of the edge as a part of the lower rate: 8 kHz audio is whole up to 3.4 kHz.
        const CUTOFF: f64 = 0.475;
        let divisor = greatest_common_divisor(from_hz, to_hz);
        let phases = usize::try_from(to_hz / divisor).ok()?;
        let step = usize::try_from(from_hz / divisor).ok()?;
        if phases > PHASES {
            return None;
        }
        let half = (POLYPHASE_DELAY * step.max(phases)).div_ceil(phases).next_multiple_of(LANES / 2);
        let cutoff = CUTOFF * f64::from(to_hz.min(from_hz)) / f64::from(from_hz);
        let mut weights = Vec::with_capacity(phases * 2 * half);
        for phase in 0..phases {
            let middle = (half - 1) as f64 + phase as f64 / phases as f64;
            let raw = (0..2 * half).map(|tap| {
                let distance = tap as f64 - middle;
                let across = distance / half as f64;
                let window = bessel_i0(KAISER_BETA * (1.0 - across * across).max(0.0).sqrt());
                sinc(2.0 * cutoff * distance) * window
            });
            let raw: Vec<f64> = raw.collect();
            let sum: f64 = raw.iter().sum();
            weights.extend(raw.into_iter().map(|weight| (weight / sum) as f32));
        }
        Some(Self { rates_hz: (from_hz, to_hz), phases, step, taps: 2 * half, weights })
    }

    fn weights(&self, phase: usize) -> &[f32] {
        self.weights.get(phase * self.taps..(phase + 1) * self.taps).unwrap_or_default()
    }
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Sum of the products; both have a multiple of `LANES` values.
fn dot(weights: &[f32], samples: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    // A sum for every lane: the order of additions is what keeps a compiler from using vectors.
    for (weights, samples) in weights.as_chunks::<LANES>().0.iter().zip(samples.as_chunks::<LANES>().0) {
        for ((sum, weight), sample) in sums.iter_mut().zip(weights).zip(samples) {
            *sum += weight * sample;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]
mod tests {
    use super::*;
    use crate::tones::{level_db, snr_db, tone};
    use proptest::prelude::*;

    const RATES: [u32; 5] = [8000, 16_000, 22_050, 24_000, 48_000];

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES.into_iter().flat_map(|from| RATES.into_iter().map(move |to| (from, to)))
    }

    fn resample(from_hz: u32, to_hz: u32, pcm: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        Resampler::new(from_hz, to_hz).unwrap().process(pcm, &mut out);
        out
    }

    #[test]
    fn a_tone_survives_every_pair_of_rates() {
        for (from, to) in pairs() {
            let edge = 0.425 * f64::from(from.min(to));
            for frequency in [300.0, 1000.0, edge / 2.0, edge] {
                let out = resample(from, to, &tone(frequency, from, from as usize / 2));
                let settled = &out[to as usize / 20..to as usize * 9 / 20];
                let (snr, level) =
                    (snr_db(settled, frequency, to), level_db(settled, frequency, to, 10_000.0));
                assert!(snr > 60.0, "{from} to {to}: {frequency} Hz has {snr:.1} dB");
                assert!(level.abs() < 0.1, "{from} to {to}: {frequency} Hz is {level:.2} dB off");
            }
        }
    }

    #[test]
    fn what_would_alias_is_filtered_away() {
        for (from, to) in pairs().filter(|(from, to)| to < from) {
            for part in [0.53, 0.6, 0.8, 0.97] {
                let frequency = part * f64::from(to);
                if frequency * 2.0 < f64::from(from) {
                    let out = resample(from, to, &tone(frequency, from, from as usize / 5));
                    let peak = out[200..out.len()].iter().map(|s| s.unsigned_abs()).max().unwrap();
                    assert!(peak < 10, "{from} to {to}: {frequency} Hz leaves {peak}");
                }
            }
        }
    }

    #[test]
    fn the_delay_is_the_one_that_is_named() {
        for (from, to) in pairs().filter(|(from, to)| to != from) {
            let delay = Resampler::new(from, to).unwrap().delay();
            let least = POLYPHASE_DELAY as f64 * f64::from(from) / f64::from(from.min(to));
            assert!((0.0..4.0).contains(&(delay as f64 - least)), "{from} to {to}: {delay} against {least}");
            let mut pulse = vec![0; from as usize / 10];
            // A pulse narrow enough to find and wide enough for the lower rate.
            for (at, sample) in pulse.iter_mut().enumerate().take(400) {
                let across = (at as f64 - 200.0) / (f64::from(from) / 4000.0);
                *sample = (20_000.0 * (-across * across).exp()) as i16;
            }
            let out = resample(from, to, &pulse);
            let weight: f64 = out.iter().map(|&s| f64::from(s)).sum();
            let centre =
                out.iter().enumerate().map(|(at, &s)| at as f64 * f64::from(s)).sum::<f64>() / weight;
            let expected = (200.0 + delay as f64) * f64::from(to) / f64::from(from);
            assert!((centre - expected).abs() < 0.05, "{from} to {to}: {centre:.3} is not {expected:.3}");
        }
    }

    #[test]
    fn twenty_milliseconds_in_are_twenty_milliseconds_out() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            for _ in 0..100 {
                let mut out = Vec::new();
                resampler.process(&vec![1000; from as usize / 50], &mut out);
                assert_eq!(out.len(), to as usize / 50, "{from} to {to}");
            }
        }
    }

    #[test]
    fn constant_level_stays_and_full_scale_saturates() {
        for (from, to) in pairs() {
            let out = resample(from, to, &vec![12_345; from as usize / 10]);
            assert!(
                out[out.len() / 2..].iter().all(|&sample| (sample - 12_345).abs() <= 1),
                "{from} to {to}"
            );
        }
        let square: Vec<i16> = (0..800).map(|n| if n / 7 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let out = resample(8000, 22_050, &square);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }

    #[test]
    fn finishing_gives_out_the_tail_and_begins_anew() {
        let mut resampler = Resampler::new(48_000, 8000).unwrap();
        let mut out = Vec::new();
        resampler.process(&[5000; 960], &mut out);
        resampler.finish(&mut out);
        assert_eq!(out.iter().filter(|&&sample| sample > 2500).count(), 160);
        let mut again = Vec::new();
        resampler.process(&[5000; 960], &mut again);
        assert_eq!(again[..], out[..160]);
    }

    #[test]
    fn rates_out_of_reach_are_refused() {
        for (from, to) in [(0, 8000), (8000, 0), (8000, 96_000), (7999, 8000), (8000, 8001), (u32::MAX, 8000)]
        {
            assert!(Resampler::new(from, to).is_none(), "{from} to {to}");
        }
        assert_eq!(Resampler::new(44_100, 48_000).unwrap().delay(), POLYPHASE_DELAY);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            pcm in proptest::collection::vec(any::<i16>(), 0..600),
            cuts in proptest::collection::vec(0usize..600, 0..5),
            from in 0..RATES.len(),
            to in 0..RATES.len(),
        ) {
            let (from, to) = (RATES[from], RATES[to]);
            let whole = resample(from, to, &pcm);
            let expected = (pcm.len() as u64 * u64::from(to)).div_ceil(u64::from(from));
            prop_assert_eq!(whole.len() as u64, expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(pcm.len())).collect();
            cuts.extend([0, pcm.len()]);
            cuts.sort_unstable();
            let (mut resampler, mut pieces) = (Resampler::new(from, to).unwrap(), Vec::new());
            for pair in cuts.windows(2) {
                resampler.process(&pcm[pair[0]..pair[1]], &mut pieces);
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
