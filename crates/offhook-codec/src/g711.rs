//! G.711: mu-law and A-law, bit for bit as the recommendation defines them on 14 and 13 bits.
//!
//! Linear samples are 16 bits wide here; the low 2 (mu) or 3 (A) bits are dropped by the coder as
//! in ITU-T G.191. Negative samples are taken as one's complement there, and so here.

/// Linear value of every mu-law byte.
pub(crate) static MU_LAW: [i16; 256] = decode_all_mu();
/// Linear value of every A-law byte.
pub(crate) static A_LAW: [i16; 256] = decode_all_a();

/// Encode one sample as mu-law.
#[expect(clippy::cast_possible_truncation, reason = "a segment number has three bits")]
pub(crate) const fn encode_mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = (one_s_complement_abs(sample) >> 2) + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    // Bits above the sixth tell the segment: 33..63 is segment 0, 4096..8191 is segment 7.
    let segment = 10 - magnitude.leading_zeros();
    let step = (magnitude >> (segment + 1)) & 0x0f;
    let [_, low] = ((segment as u16) << 4 | step).to_be_bytes();
    (!low & 0x7f) | sign
}

/// Encode one sample as A-law.
#[expect(clippy::cast_possible_truncation, reason = "a segment number has three bits")]
pub(crate) const fn encode_a_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    let magnitude = one_s_complement_abs(sample) >> 4;
    let code = if magnitude < 32 {
        // The two lowest segments share one step size.
        magnitude
    } else {
        let shift = 11 - magnitude.leading_zeros();
        ((shift as u16) << 4) + (magnitude >> shift)
    };
    let [_, low] = code.to_be_bytes();
    (low | sign) ^ 0x55
}

const fn one_s_complement_abs(sample: i16) -> u16 {
    if sample < 0 { (!sample).cast_unsigned() } else { sample.cast_unsigned() }
}

const fn decode_mu_law(encoded: u8) -> i16 {
    let bits = !encoded;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i16;
    let magnitude = (((step << 1) + 33) << segment) - 33;
    if bits & 0x80 != 0 { -(magnitude << 2) } else { magnitude << 2 }
}

const fn decode_a_law(encoded: u8) -> i16 {
    let bits = encoded ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i16;
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    if bits & 0x80 != 0 { magnitude } else { -magnitude }
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated by the compiler")]
const fn decode_all_mu() -> [i16; 256] {
    let mut values = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        values[byte] = decode_mu_law(byte as u8);
        byte += 1;
    }
    values
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated by the compiler")]
const fn decode_all_a() -> [i16; 256] {
    let mut values = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        values[byte] = decode_a_law(byte as u8);
        byte += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use crate::Codec;

    /// Decision values of the positive half, from tables 1a and 2a of the recommendation: the
    /// lowest value and the number of intervals of each step size.
    fn decisions(first: &[i32], steps: &[(i32, usize)]) -> Vec<i32> {
        let mut values = first.to_vec();
        for &(step, count) in steps {
            for _ in 0..count {
                values.push(values.last().unwrap() + step);
            }
        }
        values
    }

    fn mu_decisions() -> Vec<i32> {
        let steps: Vec<_> = (1..8).map(|segment| (2 << segment, 16)).collect();
        decisions(&[0, 1], &[&[(2, 15)][..], &steps].concat())
    }

    fn a_decisions() -> Vec<i32> {
        let steps: Vec<_> = (1..7).map(|segment| (2 << segment, 16)).collect();
        decisions(&[0], &[&[(2, 32)][..], &steps].concat())
    }

    /// The number of the interval that holds `magnitude`, the last one for anything larger.
    fn interval(decisions: &[i32], magnitude: i32) -> u8 {
        let at = decisions.iter().rposition(|&low| low <= magnitude).unwrap();
        u8::try_from(at.min(127)).unwrap()
    }

    #[test]
    fn the_decision_values_end_where_the_recommendation_says() {
        assert_eq!((mu_decisions().len(), *mu_decisions().last().unwrap()), (129, 8159));
        assert_eq!((a_decisions().len(), *a_decisions().last().unwrap()), (129, 4096));
    }

    #[test]
    fn every_sample_is_encoded_by_the_decision_values() {
        let (mu, a) = (mu_decisions(), a_decisions());
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(if sample < 0 { !sample } else { sample });
            let sign = if sample < 0 { 0 } else { 0x80 };
            let mu_code = !interval(&mu, magnitude >> 2) & 0x7f | sign;
            assert_eq!(Codec::Pcmu.encode_sample(sample), mu_code, "mu-law of {sample}");
            // A-law counts on 13 bits with a sign: 12 bits of magnitude.
            let a_code = (interval(&a, magnitude >> 3) | sign) ^ 0x55;
            assert_eq!(Codec::Pcma.encode_sample(sample), a_code, "A-law of {sample}");
        }
    }

    #[test]
    fn every_byte_is_decoded_to_the_middle_of_its_interval() {
        let (mu, a) = (mu_decisions(), a_decisions());
        for byte in 0..=255_u8 {
            let n = usize::from(!byte & 0x7f);
            let middle = if n == 0 { 0 } else { i32::midpoint(mu[n], mu[n + 1]) };
            let sign = if byte & 0x80 == 0 { -4 } else { 4 };
            assert_eq!(i32::from(Codec::Pcmu.decode_sample(byte)), middle * sign, "mu-law {byte:#x}");
            let n = usize::from((byte ^ 0x55) & 0x7f);
            let middle = i32::midpoint(a[n], a[n + 1]);
            let sign = if byte & 0x80 == 0 { -8 } else { 8 };
            assert_eq!(i32::from(Codec::Pcma.decode_sample(byte)), middle * sign, "A-law {byte:#x}");
        }
    }

    #[test]
    fn the_ends_of_the_scale_are_those_of_the_recommendation() {
        assert_eq!(Codec::Pcmu.decode_sample(0x80), 32124);
        assert_eq!(Codec::Pcmu.decode_sample(0x00), -32124);
        assert_eq!(Codec::Pcma.decode_sample(0xaa), 32256);
        assert_eq!(Codec::Pcma.decode_sample(0x2a), -32256);
        assert_eq!(Codec::Pcmu.decode_sample(Codec::Pcmu.silence()), 0);
        assert_eq!(Codec::Pcma.decode_sample(Codec::Pcma.silence()), 8);
    }

    #[test]
    fn coding_twice_changes_nothing() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for byte in 0..=255_u8 {
                let again = codec.encode_sample(codec.decode_sample(byte));
                // Mu-law has two zeros; the negative one becomes the positive one.
                let expected = if codec == Codec::Pcmu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(again, expected, "{codec:?} {byte:#x}");
            }
        }
    }
}
