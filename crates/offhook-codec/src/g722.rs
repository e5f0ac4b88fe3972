//! G.722 at 64 kbit/s: two bands of 8 kHz, each coded as an adaptive difference (ITU-T G.722).
//!
//! The arithmetic is that of the recommendation to the bit; names in brackets are its own. One
//! byte stands for two samples of 16 kHz, and RTP counts it as one tick of 8 kHz (RFC 3551 4.5.2).
//! The codec delays by 22 samples of 16 kHz, 11 in each direction.

/// Decision levels of the six-bit quantizer of the lower band (Q6).
const LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Steps of the logarithmic scale by the four-bit code of the lower band (WL of RL42).
const LOW_LOG_STEPS: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// The same by the two-bit code of the higher band (WH of RH2).
const HIGH_LOG_STEPS: [i32; 4] = [798, -214, 798, -214];
/// Quantized values: of two (QM2), four (QM4) and six bits (QM6).
const TWO_BITS: [i32; 4] = [-7408, -1616, 7408, 1616];
const FOUR_BITS: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const SIX_BITS: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
/// One octave of the scale in 32 parts (ILB).
const OCTAVE: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Half of the mirror filter that parts the bands and joins them again; the rest is symmetric.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

fn saturate(value: i32) -> i32 {
    value.clamp(-32768, 32767)
}

#[expect(clippy::cast_possible_truncation, reason = "saturated before")]
fn to_i16(value: i32) -> i16 {
    saturate(value) as i16
}

/// The entry of a code, which has no more bits than the table needs.
fn of<const N: usize>(table: &[i32; N], code: u8) -> i32 {
    table.get(usize::from(code)).copied().unwrap_or(0)
}

/// Linear scale of a logarithmic one (SCALEL, SCALEH); `top` is its highest octave.
fn scale(log: i32, top: i32) -> i32 {
    let part = usize::try_from((log >> 6) & 31).unwrap_or(0);
    let value = OCTAVE.get(part).copied().unwrap_or(0);
    let shift = top - (log >> 11);
    (if shift < 0 { value << -shift } else { value >> shift }) << 2
}

/// One band: the predictor (two poles, six zeros) and the scale, the same in coder and decoder.
#[derive(Clone, Debug)]
struct Band {
    prediction: i32,
    zeros_part: i32,
    /// Logarithmic scale and its linear value.
    log: i32,
    step: i32,
    poles: [i32; 2],
    zeros: [i32; 6],
    differences: [i32; 6],
    /// The last signals rebuilt, and the last sums with the part of the zeros alone.
    rebuilt: [i32; 2],
    partial: [i32; 2],
}

impl Band {
    fn new(step: i32) -> Self {
        Self {
            prediction: 0,
            zeros_part: 0,
            log: 0,
            step,
            poles: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
            rebuilt: [0; 2],
            partial: [0; 2],
        }
    }

    fn adapt_scale(&mut self, log_step: i32, highest: i32, top: i32) {
        self.log = (((self.log * 127) >> 7) + log_step).clamp(0, highest);
        self.step = scale(self.log, top);
    }

    /// Take one quantized difference into account (block 4 of the recommendation).
    fn adapt(&mut self, difference: i32) {
        let rebuilt = saturate(self.prediction + difference);
        let partial = saturate(self.zeros_part + difference);
        self.adapt_poles(partial);
        self.adapt_zeros(difference);
        self.partial = [partial, self.partial[0]];
        self.rebuilt = [rebuilt, self.rebuilt[0]];
        let [a1, a2] = self.poles;
        let [r1, r2] = self.rebuilt.map(|value| saturate(2 * value));
        let poles_part = saturate(((a1 * r1) >> 15) + ((a2 * r2) >> 15));
        self.zeros_part = saturate(
            self.zeros.iter().zip(&self.differences).map(|(b, &d)| (b * saturate(2 * d)) >> 15).sum(),
        );
        self.prediction = saturate(poles_part + self.zeros_part);
    }

    fn adapt_poles(&mut self, partial: i32) {
        let [a1, a2] = self.poles;
        let same = |earlier: i32| (partial < 0) == (earlier < 0);
        let (first, second) = (same(self.partial[0]), same(self.partial[1]));
        let lean = saturate(4 * a1);
        let lean = if first { -lean } else { lean }.min(32767) >> 7;
        let push = if second { 128 } else { -128 };
        let a2 = (lean + push + ((a2 * 32512) >> 15)).clamp(-12288, 12288);
        let limit = 15360 - a2;
        let push = if first { 192 } else { -192 };
        self.poles = [(push + ((a1 * 32640) >> 15)).clamp(-limit, limit), a2];
    }

    fn adapt_zeros(&mut self, difference: i32) {
        for (zero, &earlier) in self.zeros.iter_mut().zip(&self.differences) {
            let push = match difference {
                0 => 0,
                _ if (difference < 0) == (earlier < 0) => 128,
                _ => -128,
            };
            *zero = saturate(push + ((*zero * 32640) >> 15));
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
    }
}

/// Both bands' state.
#[derive(Clone, Debug)]
struct Bands {
    low: Band,
    high: Band,
}

impl Bands {
    fn new() -> Self {
        Self { low: Band::new(32), high: Band::new(8) }
    }

    /// Adapt the lower band to its code, of which only the upper four bits count.
    fn adapt_low(&mut self, code: u8) {
        let code = code >> 2;
        let difference = (self.low.step * of(&FOUR_BITS, code)) >> 15;
        self.low.adapt_scale(of(&LOW_LOG_STEPS, code), 18432, 8);
        self.low.adapt(difference);
    }

    fn adapt_high(&mut self, code: u8) {
        let difference = (self.high.step * of(&TWO_BITS, code)) >> 15;
        self.high.adapt_scale(of(&HIGH_LOG_STEPS, code), 22528, 10);
        self.high.adapt(difference);
    }
}

/// The last 24 values of the mirror filter, two at a time.
#[derive(Clone, Debug)]
struct Mirror([[i32; 2]; 12]);

impl Mirror {
    /// Take a pair in; give the filtered sums of the first and of the second ones.
    fn turn(&mut self, pair: [i32; 2]) -> (i32, i32) {
        self.0.copy_within(1.., 0);
        self.0[11] = pair;
        let first = self.0.iter().zip(&MIRROR).map(|(pair, weight)| pair[0] * weight).sum();
        let second = self.0.iter().zip(MIRROR.iter().rev()).map(|(pair, weight)| pair[1] * weight).sum();
        (first, second)
    }
}

/// G.722 coder of 16 kHz samples.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    bands: Bands,
    mirror: Mirror,
    waiting: Option<i16>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { bands: Bands::new(), mirror: Mirror([[0; 2]; 12]), waiting: None }
    }

    /// Append a byte for each two samples; an odd one waits for the next call.
    pub(crate) fn encode(&mut self, pcm: &[i16], encoded: &mut Vec<u8>) {
        encoded.reserve(pcm.len().div_ceil(2));
        for &sample in pcm {
            match self.waiting.take() {
                None => self.waiting = Some(sample),
                Some(first) => {
                    let (one, other) = self.mirror.turn([i32::from(first), i32::from(sample)]);
                    let low = self.low_code((one + other) >> 14);
                    encoded.push(self.high_code((other - one) >> 14) << 6 | low);
                }
            }
        }
    }

    fn low_code(&mut self, sample: i32) -> u8 {
        let low = &self.bands.low;
        let error = saturate(sample - low.prediction);
        let magnitude = if error < 0 { !error } else { error };
        let step = low.step;
        let level = LEVELS.partition_point(|&level| magnitude >= (level * step) >> 12);
        let level = u8::try_from(level).unwrap_or(29);
        // Codes fall with the level; the two smallest negative ones stand apart.
        let code = match (error < 0, level) {
            (true, 0) => 63,
            (true, 1) => 62,
            (true, _) => 33 - level,
            (false, _) => 61 - level,
        };
        self.bands.adapt_low(code);
        code
    }

    fn high_code(&mut self, sample: i32) -> u8 {
        let high = &self.bands.high;
        let error = saturate(sample - high.prediction);
        let magnitude = if error < 0 { !error } else { error };
        let large = magnitude >= (564 * high.step) >> 12;
        let code = match (error < 0, large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.bands.adapt_high(code);
        code
    }
}

/// G.722 decoder to 16 kHz samples.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    bands: Bands,
    mirror: Mirror,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { bands: Bands::new(), mirror: Mirror([[0; 2]; 12]) }
    }

    /// Append two samples for each byte.
    pub(crate) fn decode(&mut self, encoded: &[u8], pcm: &mut Vec<i16>) {
        pcm.reserve(encoded.len() * 2);
        for &byte in encoded {
            let (low_code, high_code) = (byte & 63, byte >> 6);
            let (low, high) = (&self.bands.low, &self.bands.high);
            let limit = |value: i32| value.clamp(-16384, 16383);
            let low = limit(low.prediction + ((low.step * of(&SIX_BITS, low_code)) >> 15));
            let high = limit(high.prediction + ((high.step * of(&TWO_BITS, high_code)) >> 15));
            self.bands.adapt_low(low_code);
            self.bands.adapt_high(high_code);
            let (second, first) = self.mirror.turn([low + high, low - high]);
            pcm.extend([to_i16(first >> 11), to_i16(second >> 11)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tones::{level_db, snr_db, tone};

    /// Noise that takes every value, the same everywhere.
    struct Noise(u32);

    impl Noise {
        fn next(&mut self) -> u16 {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 16) as u16
        }
    }

    /// Two seconds each of: full noise, quiet noise, noise with a slope, slow squares of full scale.
    fn signal() -> Vec<i16> {
        let mut noise = Noise(1);
        let mut pcm: Vec<i16> = (0..32_000).map(|_| noise.next().cast_signed()).collect();
        pcm.extend((0..32_000).map(|_| noise.next().cast_signed() / 256));
        let mut slope = 0_i32;
        pcm.extend((0..32_000).map(|_| {
            slope += (i32::from(noise.next().cast_signed()) - slope) / 8;
            i16::try_from(slope).unwrap()
        }));
        pcm.extend((0..32_000).map(|n| if n / 37 % 2 == 0 { i16::MAX } else { i16::MIN }));
        pcm
    }

    fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn encode(pcm: &[i16]) -> Vec<u8> {
        let mut encoded = Vec::new();
        Encoder::new().encode(pcm, &mut encoded);
        encoded
    }

    fn decode(encoded: &[u8]) -> Vec<i16> {
        let mut pcm = Vec::new();
        Decoder::new().decode(encoded, &mut pcm);
        pcm
    }

    #[test]
    fn the_bits_are_those_of_other_implementations() {
        // The sums are of what libg722 1.2.8 makes of the same input, and ffmpeg's own G.722.
        let encoded = encode(&signal());
        assert_eq!(encoded.len(), 64_000);
        assert_eq!(fnv(encoded.iter().copied()), 0xb506_100d_f910_2379);
        let pcm = decode(&encoded);
        assert_eq!(fnv(pcm.iter().flat_map(|sample| sample.to_le_bytes())), 0xd521_d557_b523_14c5);
        let mut noise = Noise(7);
        let any: Vec<u8> = (0..64_000).map(|_| noise.next().to_le_bytes()[1]).collect();
        assert_eq!(fnv(decode(&any).iter().flat_map(|sample| sample.to_le_bytes())), 0x1e8d_73ec_61d2_0ecf);
    }

    #[test]
    fn a_tone_of_either_band_survives() {
        for (frequency, least) in
            [(300.0, 35.0), (1000.0, 35.0), (3000.0, 30.0), (5000.0, 18.0), (6800.0, 15.0)]
        {
            let pcm = decode(&encode(&tone(frequency, 16_000, 16_000)));
            let (snr, level) =
                (snr_db(&pcm[800..], frequency, 16_000), level_db(&pcm[800..], frequency, 16_000, 10_000.0));
            assert!(snr > least && level.abs() < 1.0, "{frequency} Hz: {snr:.1} dB, level {level:.2} dB");
        }
    }

    #[test]
    fn pieces_make_no_difference() {
        let pcm = &signal()[..2001];
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let (mut bytes, mut samples) = (Vec::new(), Vec::new());
        for piece in pcm.chunks(33) {
            encoder.encode(piece, &mut bytes);
        }
        assert_eq!(bytes, encode(pcm));
        for piece in bytes.chunks(7) {
            decoder.decode(piece, &mut samples);
        }
        assert_eq!(samples, decode(&bytes));
    }

    #[test]
    fn silence_stays_silent() {
        assert!(decode(&encode(&[0; 3200])).iter().all(|sample| sample.abs() <= 8));
    }
}
