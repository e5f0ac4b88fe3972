//! Silence in codecs whose silence comes out of an encoder, without encoding it for ever.

use offhook_codec::{Encoder, Format};

/// After so many payloads of silence an encoder has come to rest.
const SETTLED: u32 = 25;

/// Encodes zeros until the encoder has come to rest, then repeats the last payload.
///
/// The encoder stays meanwhile in the state of silence, and so does the far end's decoder: what follows fits.
/// Only G.722 is encoded for ever: it costs next to nothing, and its decoder would run away from its encoder.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    payload: Vec<u8>,
    ptime_ms: u32,
    /// Payloads since the last sound.
    sent: u32,
    zeros: Vec<i16>,
}

impl Silence {
    /// The encoder was used for something else, or is another one.
    pub(crate) const fn interrupt(&mut self) {
        self.sent = 0;
    }

    /// Append one payload of silence to `out`.
    pub(crate) fn write(&mut self, encoder: &mut Encoder, format: Format, ptime_ms: u32, out: &mut Vec<u8>) {
        if self.sent >= SETTLED && self.ptime_ms == ptime_ms && format != Format::G722 {
            out.extend_from_slice(&self.payload);
            return;
        }
        let from = out.len();
        self.zeros.clear();
        self.zeros.resize(format.samples(ptime_ms), 0);
        // A whole number of frames, by the check of the parameters.
        let _ = encoder.encode(&self.zeros, out);
        self.payload.clear();
        self.payload.extend_from_slice(out.get(from..).unwrap_or_default());
        let sent = if self.ptime_ms == ptime_ms { self.sent } else { 0 };
        (self.ptime_ms, self.sent) = (ptime_ms, sent.saturating_add(1));
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test signals")]
mod tests {
    use super::*;
    use offhook_codec::Decoder;

    fn tone(format: Format, frame: usize) -> Vec<i16> {
        let (count, rate) = (format.samples(20), f64::from(format.sample_rate_hz()));
        let at = |n: usize| (std::f64::consts::TAU * 440.0 * n as f64 / rate).sin() * 8000.0;
        (frame * count..(frame + 1) * count).map(|n| at(n) as i16).collect()
    }

    fn power(pcm: &[i16]) -> f64 {
        pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / pcm.len() as f64
    }

    /// What is heard of a tone, ten seconds of silence and the tone again; and how much was made anew.
    fn heard(format: Format, cheap: bool) -> (Vec<i16>, u32) {
        let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
        let (mut silence, mut pcm, mut made) = (Silence::default(), Vec::new(), 0);
        for frame in 0..600 {
            let mut payload = Vec::new();
            if (50..550).contains(&frame) {
                made += u32::from(silence.sent < SETTLED || format == Format::G722);
                silence.write(&mut encoder, format, 20, &mut payload);
                if !cheap {
                    silence.interrupt();
                }
            } else {
                silence.interrupt();
                encoder.encode(&tone(format, frame), &mut payload).unwrap();
            }
            decoder.decode(&payload, &mut pcm).unwrap();
        }
        (pcm, made)
    }

    #[test]
    fn silence_costs_little_and_what_follows_it_is_heard_as_it_would_be() {
        let mut formats = vec![Format::G722];
        formats.extend([8000, 16_000, 48_000].map(|sample_rate_hz| Format::Opus { sample_rate_hz }));
        let amr_wb = Format::AmrWb { octet_align: true };
        formats.extend(amr_wb.transcodable().then_some(amr_wb));
        for format in formats {
            let ((cheap, made), (dear, _)) = (heard(format, true), heard(format, false));
            let frame = format.samples(20);
            let silent = &cheap[75 * frame..550 * frame];
            assert!(power(silent) < 16.0, "{format:?}: {} in silence", power(silent));
            // Samples need not be the same, but no ear and no recogniser may tell.
            let (one, other) = (&cheap[550 * frame..], &dear[550 * frame..]);
            let off: Vec<i16> = one.iter().zip(other).map(|(a, b)| a.saturating_sub(*b)).collect();
            let snr_db = 10.0 * (power(other) / power(&off).max(1e-3)).log10();
            assert!(snr_db > 20.0, "{format:?}: {snr_db:.1} dB");
            let expected = if format == Format::G722 { 500 } else { SETTLED };
            assert_eq!(made, expected, "{format:?}");
        }
    }
}
