//! Doubling of the sample rate by a half-band filter of linear phase, a fifth of the work of the
//! general one.
//!
//! The filter has 63 taps, every second one zero. It delays by [`RESAMPLER_DELAY`] samples of the
//! lower rate and keeps its state, so that a signal may come in any pieces.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Taps on each side of the middle that are not zero.
const HALF: usize = 16;
const TAPS: usize = 2 * HALF;
/// Delay of doubling, in samples of the lower rate (2 ms at 8 kHz).
pub const RESAMPLER_DELAY: usize = HALF;

/// Weights of the neighbours at distance 1, 3, 5 ...; twice their sum is one.
static WEIGHTS: LazyLock<[f32; HALF]> = LazyLock::new(weights);

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small counts and weights")]
fn weights() -> [f32; HALF] {
    const KAISER_BETA: f64 = 8.0;
    let raw: [f64; HALF] = std::array::from_fn(|k| {
        let distance = (2 * k + 1) as f64;
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        let across = distance / TAPS as f64;
        let window =
            bessel_i0(KAISER_BETA * (1.0 - across * across).max(0.0).sqrt()) / bessel_i0(KAISER_BETA);
        sign * 2.0 / (PI * distance) * window
    });
    let sum: f64 = raw.iter().sum();
    raw.map(|weight| (weight / (2.0 * sum)) as f32)
}

pub(crate) fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..50 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// The samples that still matter, followed by the new ones.
#[derive(Clone, Debug)]
struct History(Vec<f32>);

impl History {
    fn new() -> Self {
        Self(vec![0.0; TAPS - 1])
    }

    /// Sample number `offset` of the window of each new sample.
    fn from(&self, offset: usize) -> &[f32] {
        self.0.get(offset..).unwrap_or_default()
    }

    /// For each new sample the value half way between the two in the middle of its window.
    fn between(&self, values: &mut Vec<f32>) {
        values.clear();
        values.resize(self.0.len() - (TAPS - 1), 0.0);
        // Weight by weight over all samples: that is what a compiler can turn into vectors.
        for (k, weight) in WEIGHTS.iter().enumerate() {
            let pairs = self.from(HALF - 1 - k).iter().zip(self.from(HALF + k));
            for (value, (before, after)) in values.iter_mut().zip(pairs) {
                *value += weight * (before + after);
            }
        }
    }

    /// Keep what the next samples need.
    fn forget(&mut self) {
        let seen = self.0.len() - (TAPS - 1);
        self.0.drain(..seen);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast to an integer saturates")]
pub(crate) fn to_i16(value: f32) -> i16 {
    // Half away from zero, as `round` does, but without a call.
    (value + 0.5_f32.copysign(value)) as i16
}

/// Doubles the sample rate, as from 8 to 16 kHz.
#[derive(Clone, Debug)]
pub struct Upsampler {
    history: History,
    between: Vec<f32>,
}

impl Default for Upsampler {
    fn default() -> Self {
        Self { history: History::new(), between: Vec::new() }
    }
}

impl Upsampler {
    /// Append two samples to `out` for each of `pcm`.
    pub fn process(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.history.0.extend(pcm.iter().map(|&sample| f32::from(sample)));
        self.history.between(&mut self.between);
        out.reserve(pcm.len() * 2);
        for (&middle, &between) in self.history.from(HALF - 1).iter().zip(&self.between) {
            out.extend([to_i16(middle), to_i16(between)]);
        }
        self.history.forget();
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(frequency: f64, rate: f64, count: usize) -> Vec<i16> {
        (0..count)
            .map(|n| (10_000.0 * (2.0 * PI * frequency * n as f64 / rate).sin()).round() as i16)
            .collect()
    }

    /// Ratio of the power at `frequency` to all other power, in dB, after the filter has settled.
    fn snr_db(pcm: &[i16], frequency: f64, rate: f64) -> f64 {
        let pcm = &pcm[200..200 + 1600];
        let n = pcm.len() as f64;
        let (mut sine, mut cosine, mut power) = (0.0, 0.0, 0.0);
        for (at, &sample) in pcm.iter().enumerate() {
            let phase = 2.0 * PI * frequency * at as f64 / rate;
            sine += f64::from(sample) * phase.sin();
            cosine += f64::from(sample) * phase.cos();
            power += f64::from(sample).powi(2);
        }
        let signal = 2.0 * (sine * sine + cosine * cosine) / n;
        10.0 * (signal / (power - signal).max(1e-9)).log10()
    }

    #[test]
    fn a_tone_survives_doubling() {
        for frequency in [300.0, 1000.0, 2500.0, 3300.0] {
            let mut out = Vec::new();
            Upsampler::default().process(&tone(frequency, 8000.0, 2000), &mut out);
            let snr = snr_db(&out, frequency, 16000.0);
            assert!(snr > 60.0, "{frequency} Hz: {snr:.1} dB");
        }
    }

    #[test]
    fn the_delay_is_the_one_that_is_named() {
        let mut impulse = vec![0; 64];
        impulse[0] = 10_000;
        let mut out = Vec::new();
        Upsampler::default().process(&impulse, &mut out);
        let peak = (0..out.len()).max_by_key(|&at| out[at]).unwrap();
        assert_eq!((peak, out[peak]), (2 * RESAMPLER_DELAY, 10_000));
    }

    #[test]
    fn constant_level_stays_and_full_scale_saturates() {
        let mut out = Vec::new();
        Upsampler::default().process(&[12_345; 200], &mut out);
        assert!(out[100..].iter().all(|&sample| (sample - 12_345).abs() <= 1));
        let square: Vec<i16> = (0..400).map(|n| if n / 7 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        out.clear();
        Upsampler::default().process(&square, &mut out);
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pcm in proptest::collection::vec(any::<i16>(), 0..300), cut in 0usize..300) {
            let (left, right) = pcm.split_at(cut.min(pcm.len()));
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            Upsampler::default().process(&pcm, &mut whole);
            let mut up = Upsampler::default();
            up.process(left, &mut pieces);
            up.process(right, &mut pieces);
            prop_assert_eq!(&whole, &pieces);
            prop_assert_eq!(whole.len(), pcm.len() * 2);
        }
    }
}
