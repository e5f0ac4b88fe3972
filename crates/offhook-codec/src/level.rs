//! How loud samples are.

/// Root mean square in dB below full scale; -96 for silence and for no samples at all.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a meter, not a measure")]
pub fn rms_dbfs(pcm: &[i16]) -> f32 {
    const FLOOR: f32 = -96.0;
    if pcm.is_empty() {
        return FLOOR;
    }
    let power: f64 = pcm.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / pcm.len() as f64;
    let dbfs = 10.0 * (power / f64::from(1_u32 << 30)).log10();
    (dbfs as f32).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::rms_dbfs;

    #[test]
    fn full_scale_is_zero_and_half_is_six_below() {
        assert!(rms_dbfs(&[i16::MIN; 100]).abs() < 0.001);
        assert!((rms_dbfs(&[16384; 100]) + 6.02).abs() < 0.01);
    }

    #[test]
    fn silence_is_the_floor() {
        assert!((rms_dbfs(&[0; 10]) + 96.0).abs() < f32::EPSILON);
        assert!((rms_dbfs(&[]) + 96.0).abs() < f32::EPSILON);
    }
}
