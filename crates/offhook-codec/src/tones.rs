//! Test signals, and what is left of them.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]

use std::f64::consts::TAU;

/// A sine of amplitude 10000.
pub(crate) fn tone(frequency: f64, rate_hz: u32, count: usize) -> Vec<i16> {
    let step = TAU * frequency / f64::from(rate_hz);
    (0..count).map(|n| (10_000.0 * (step * n as f64).sin()).round() as i16).collect()
}

/// Power of the tone that fits best, and all power, by least squares: any length will do.
fn fit(pcm: &[i16], frequency: f64, rate_hz: u32) -> (f64, f64) {
    let step = TAU * frequency / f64::from(rate_hz);
    let (mut ss, mut cc, mut sc, mut xs, mut xc, mut power) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, &sample) in pcm.iter().enumerate() {
        let (sine, cosine) = (step * at as f64).sin_cos();
        let x = f64::from(sample);
        ss += sine * sine;
        cc += cosine * cosine;
        sc += sine * cosine;
        xs += x * sine;
        xc += x * cosine;
        power += x * x;
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / determinant, (xc * ss - xs * sc) / determinant);
    (a * xs + b * xc, power)
}

/// Ratio of the power at `frequency` to all other power, in dB.
pub(crate) fn snr_db(pcm: &[i16], frequency: f64, rate_hz: u32) -> f64 {
    let (signal, power) = fit(pcm, frequency, rate_hz);
    10.0 * (signal / (power - signal).max(1e-9)).log10()
}

/// Level of the tone against a sine of `amplitude`, in dB.
pub(crate) fn level_db(pcm: &[i16], frequency: f64, rate_hz: u32, amplitude: f64) -> f64 {
    let (signal, _) = fit(pcm, frequency, rate_hz);
    10.0 * (2.0 * signal / (pcm.len() as f64 * amplitude * amplitude)).log10()
}
