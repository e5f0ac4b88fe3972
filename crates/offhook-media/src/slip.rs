//! Takes one sample out of audio, or puts one in, where it is heard least.

use offhook_codec::{ByteOrder, Format};

/// Payloads shorter than this are left alone.
const BYTES_MIN: usize = 16;

/// Which way a track is moved by one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// One sample more: the far end is slow.
    In,
    /// One sample less: the far end is fast.
    Out,
}

impl Slip {
    /// The other length.
    pub(crate) const fn apply(self, length: u64, sample: u64) -> u64 {
        match self {
            Self::In => length.saturating_add(sample),
            Self::Out => length.saturating_sub(sample),
        }
    }
}

/// Whether payloads of this format can be slipped as they are.
pub(crate) fn slips_bytes(format: Format) -> bool {
    format.payload_bytes(20).is_some()
}

/// Write `payload` to `out` with one sample more or less, or as it is if that cannot be done (false).
///
/// In G.722 it is one byte, two samples: one that says least, so that the far decoder follows.
pub(crate) fn slip_payload(format: Format, payload: &[u8], slip: Slip, out: &mut Vec<u8>) -> bool {
    out.clear();
    let width = if matches!(format, Format::L16 { .. }) { 2 } else { 1 };
    let calmest = match format {
        Format::G711(codec) => calmest(payload.windows(2).filter_map(|pair| {
            let (&first, &second) = (pair.first()?, pair.last()?);
            Some(apart(codec.decode_sample(first), codec.decode_sample(second)))
        })),
        Format::L16 { byte_order, .. } => {
            let value = |pair: [u8; 2]| match byte_order {
                ByteOrder::Big => i16::from_be_bytes(pair),
                ByteOrder::Little => i16::from_le_bytes(pair),
            };
            let (pairs, _) = payload.as_chunks::<2>();
            calmest(pairs.windows(2).filter_map(|two| Some(apart(value(*two.first()?), value(*two.last()?)))))
        }
        Format::G722 => calmest(payload.iter().map(|&byte| g722_loudness(byte))),
        Format::Opus { .. } | Format::AmrWb { .. } => None,
    };
    let cut = calmest.filter(|_| payload.len() >= BYTES_MIN).and_then(|at| {
        let (head, tail) = payload.split_at_checked(at * width)?;
        Some((head, tail.split_at_checked(width)?))
    });
    let Some((head, (sample, tail))) = cut else {
        out.extend_from_slice(payload);
        return false;
    };
    out.extend_from_slice(head);
    if slip == Slip::In {
        out.extend_from_slice(sample);
        out.extend_from_slice(sample);
    }
    out.extend_from_slice(tail);
    true
}

/// Take one sample out of `pcm` or put one in.
pub(crate) fn slip_pcm(pcm: &mut Vec<i16>, slip: Slip) {
    let steps = pcm.windows(2).filter_map(|pair| Some(apart(*pair.first()?, *pair.last()?)));
    let Some(at) = calmest(steps) else { return };
    match slip {
        Slip::Out => {
            pcm.remove(at);
        }
        Slip::In => {
            let sample = pcm.get(at).copied().unwrap_or(0);
            pcm.insert(at, sample);
        }
    }
}

/// Where the least value is.
fn calmest(values: impl Iterator<Item = u32>) -> Option<usize> {
    values.enumerate().min_by_key(|(_, value)| *value).map(|(at, _)| at)
}

fn apart(one: i16, other: i16) -> u32 {
    i32::from(one).abs_diff(i32::from(other))
}

/// How much a byte moves both predictors of a G.722 decoder, by the order of its quantisers.
fn g722_loudness(byte: u8) -> u32 {
    let low = u32::from(byte >> 2 & 15);
    let low = match low {
        0 => 0,
        1..8 => 8 - low,
        _ => 15 - low,
    };
    // The smaller step of the high band has its lower bit set.
    let high = if byte >> 6 & 1 == 1 { 0 } else { 2 };
    low * 2 + high
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test signals")]
mod tests {
    use super::*;
    use offhook_codec::{Codec, Decoder, Encoder};

    const L16: Format = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Big };

    fn tone(format: Format, ms: u32) -> Vec<u8> {
        let step = 2.0 * std::f64::consts::PI * 400.0 / f64::from(format.sample_rate_hz());
        let pcm: Vec<i16> =
            (0..format.samples(ms)).map(|n| ((n as f64 * step).sin() * 10_000.0) as i16).collect();
        let mut bytes = Vec::new();
        Encoder::new(format).unwrap().encode(&pcm, &mut bytes).unwrap();
        bytes
    }

    fn steepest(format: Format, payload: &[u8]) -> u32 {
        let mut pcm = Vec::new();
        Decoder::new(format).unwrap().decode(payload, &mut pcm).unwrap();
        pcm.windows(2).map(|pair| apart(pair[0], pair[1])).max().unwrap()
    }

    #[test]
    fn one_sample_goes_or_comes_where_nothing_steps() {
        for (format, width) in
            [(Format::G711(Codec::Pcmu), 1), (Format::G711(Codec::Pcma), 1), (L16, 2), (Format::G722, 1)]
        {
            let payload = tone(format, 100);
            let mut out = Vec::new();
            for (slip, length) in [(Slip::Out, payload.len() - width), (Slip::In, payload.len() + width)] {
                assert!(slip_payload(format, &payload, slip, &mut out));
                assert_eq!(out.len(), length, "{format:?}");
                let (before, after) = (steepest(format, &payload), steepest(format, &out));
                assert!(after <= before + before / 3, "{format:?} {slip:?}: {before} became {after}");
            }
        }
    }

    #[test]
    fn samples_are_slipped_as_payloads_are() {
        let mut pcm: Vec<i16> = (0..100).map(|n| n * n).collect();
        slip_pcm(&mut pcm, Slip::In);
        assert_eq!((pcm.len(), &pcm[..3]), (101, &[0, 0, 1][..]));
        slip_pcm(&mut pcm, Slip::Out);
        slip_pcm(&mut pcm, Slip::Out);
        assert_eq!((pcm.len(), &pcm[..3]), (99, &[1, 4, 9][..]));
        slip_pcm(&mut Vec::new(), Slip::Out);
    }

    #[test]
    fn what_cannot_be_slipped_stays_as_it_is() {
        let mut out = Vec::new();
        for (format, payload) in [
            (Format::G711(Codec::Pcmu), vec![7; 10]),
            (Format::G722, Vec::new()),
            (Format::Opus { sample_rate_hz: 48_000 }, vec![1; 50]),
        ] {
            assert!(!slip_payload(format, &payload, Slip::Out, &mut out));
            assert_eq!(out, payload);
        }
    }
}
