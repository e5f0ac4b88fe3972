//! One shape for every codec: payloads to samples, samples to payloads, and losses filled.

use std::fmt;

use crate::conceal::Concealer;
use crate::{ByteOrder, Codec, Format, OpusSettings, amr_wb, g722, opus};

/// Longest stretch one call conceals, in milliseconds.
pub const LONGEST_CONCEALED_MS: u32 = 120;

/// Why a payload was not decoded, samples were not encoded, or a coder was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The payload is not one of this format; treat it as lost.
    #[error("the payload is not one of this format")]
    BadPayload,
    /// The number of samples is not that of a frame of this format.
    #[error("the number of samples makes no frame of this format")]
    BadFrame,
    /// The format does not have this sample rate.
    #[error("the format does not have this sample rate")]
    Unsupported,
    /// This codec needs a library of the system that is not there.
    #[error("a library this codec needs is not installed")]
    Unavailable,
}

/// Decodes the payloads of one track, in order, to mono samples.
pub struct Decoder {
    format: Format,
    inner: Inner,
}

enum Inner {
    G711(Codec, Concealer),
    G722(Box<g722::Decoder>, Concealer),
    L16(ByteOrder, Concealer),
    Opus(Box<opus::Decoder>),
    AmrWb(Box<amr_wb::Decoder>),
}

impl Decoder {
    /// A decoder that has heard nothing yet.
    pub fn new(format: Format) -> Result<Self, CodecError> {
        let concealer = Concealer::new(format.sample_rate_hz());
        let inner = match format {
            Format::G711(codec) => Inner::G711(codec, concealer),
            Format::G722 => Inner::G722(Box::new(g722::Decoder::new()), concealer),
            Format::L16 { sample_rate_hz, byte_order } => {
                supported(sample_rate_hz, &crate::format::L16_RATES_HZ)?;
                Inner::L16(byte_order, concealer)
            }
            Format::Opus { sample_rate_hz } => Inner::Opus(Box::new(opus::Decoder::new(sample_rate_hz)?)),
            Format::AmrWb { octet_align } => Inner::AmrWb(Box::new(amr_wb::Decoder::new(octet_align)?)),
        };
        Ok(Self { format, inner })
    }

    /// What this decodes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Append the samples of one payload, of whatever length it has; nothing when it is refused.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), CodecError> {
        let from = pcm.len();
        let heard = |concealer: &mut Concealer, pcm: &mut Vec<i16>| {
            concealer.heard(pcm.get_mut(from..).unwrap_or_default());
        };
        match &mut self.inner {
            _ if payload.is_empty() => return Err(CodecError::BadPayload),
            Inner::G711(codec, concealer) => {
                codec.decode(payload, pcm);
                heard(concealer, pcm);
            }
            Inner::G722(decoder, concealer) => {
                decoder.decode(payload, pcm);
                heard(concealer, pcm);
            }
            Inner::L16(byte_order, concealer) => {
                if !payload.len().is_multiple_of(2) {
                    return Err(CodecError::BadPayload);
                }
                byte_order.read(payload, pcm);
                heard(concealer, pcm);
            }
            Inner::Opus(decoder) => decoder.decode(payload, pcm)?,
            Inner::AmrWb(decoder) => decoder.decode(payload, pcm)?,
        }
        Ok(())
    }

    /// Append audio in place of a lost payload of `ptime_ms`, at most [`LONGEST_CONCEALED_MS`].
    ///
    /// `next` is the payload after the gap if it has come already: Opus may carry a copy of the
    /// lost frame in it. It is to be decoded all the same, after this.
    pub fn conceal(&mut self, ptime_ms: u32, next: Option<&[u8]>, pcm: &mut Vec<i16>) {
        let ptime_ms = ptime_ms.min(LONGEST_CONCEALED_MS);
        let count = self.format.samples(ptime_ms);
        match &mut self.inner {
            Inner::G711(_, concealer) | Inner::G722(_, concealer) | Inner::L16(_, concealer) => {
                concealer.conceal(count, pcm);
            }
            Inner::Opus(decoder) => decoder.conceal(count, next, pcm),
            Inner::AmrWb(decoder) => decoder.conceal(count, pcm),
        }
    }

    /// The AMR-WB mode the sender last asked us for, to be given to [`Encoder::set_amr_wb_mode`].
    pub fn amr_wb_mode_request(&self) -> Option<u8> {
        match &self.inner {
            Inner::AmrWb(decoder) => decoder.mode_request,
            _ => None,
        }
    }
}

/// Encodes mono samples, in order, to the payloads of one track.
pub struct Encoder {
    format: Format,
    inner: EncoderInner,
}

enum EncoderInner {
    G711(Codec),
    G722(Box<g722::Encoder>),
    L16(ByteOrder),
    Opus(Box<opus::Encoder>),
    AmrWb(Box<amr_wb::Encoder>),
}

impl Encoder {
    /// An encoder with the defaults of its format.
    pub fn new(format: Format) -> Result<Self, CodecError> {
        Self::with_opus_settings(format, OpusSettings::default())
    }

    /// An encoder that uses `settings` if `format` is Opus.
    pub fn with_opus_settings(format: Format, settings: OpusSettings) -> Result<Self, CodecError> {
        let inner = match format {
            Format::G711(codec) => EncoderInner::G711(codec),
            Format::G722 => EncoderInner::G722(Box::new(g722::Encoder::new())),
            Format::L16 { sample_rate_hz, byte_order } => {
                supported(sample_rate_hz, &crate::format::L16_RATES_HZ)?;
                EncoderInner::L16(byte_order)
            }
            Format::Opus { sample_rate_hz } => {
                EncoderInner::Opus(Box::new(opus::Encoder::new(sample_rate_hz, settings)?))
            }
            Format::AmrWb { octet_align } => {
                EncoderInner::AmrWb(Box::new(amr_wb::Encoder::new(octet_align)?))
            }
        };
        Ok(Self { format, inner })
    }

    /// What this encodes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Append one payload that holds `pcm`.
    ///
    /// Opus takes 2.5, 5, 10, 20, 40, 60, 80, 100 or 120 ms, AMR-WB 20 to 240 ms in steps of 20; the
    /// others any number of samples, of which G.722 keeps an odd one for the next call.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
        match &mut self.inner {
            EncoderInner::G711(codec) => codec.encode(pcm, payload),
            EncoderInner::G722(encoder) => encoder.encode(pcm, payload),
            EncoderInner::L16(byte_order) => byte_order.write(pcm, payload),
            EncoderInner::Opus(encoder) => encoder.encode(pcm, payload)?,
            EncoderInner::AmrWb(encoder) => encoder.encode(pcm, payload)?,
        }
        Ok(())
    }

    /// Use an AMR-WB mode from here on, 0 (6.6 kbit/s) to 8 (23.85); other formats have none.
    ///
    /// The caller keeps to the `mode-set` that was negotiated.
    pub fn set_amr_wb_mode(&mut self, mode: u8) {
        if let EncoderInner::AmrWb(encoder) = &mut self.inner {
            encoder.set_mode(mode);
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("format", &self.format).finish_non_exhaustive()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("format", &self.format).finish_non_exhaustive()
    }
}

fn supported(rate_hz: u32, of: &[u32]) -> Result<(), CodecError> {
    if of.contains(&rate_hz) { Ok(()) } else { Err(CodecError::Unsupported) }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "test signals")]
mod tests {
    use super::*;
    use crate::format::{L16_RATES_HZ, OPUS_RATES_HZ};
    use crate::tones::{level_db, snr_db, tone};
    use proptest::prelude::*;

    pub(crate) fn formats() -> Vec<Format> {
        let mut formats = vec![Codec::Pcmu.into(), Codec::Pcma.into(), Format::G722];
        for octet_align in [false, true] {
            if offhook_amrwb::can_decode() && offhook_amrwb::can_encode() {
                formats.push(Format::AmrWb { octet_align });
            }
        }
        formats.extend(OPUS_RATES_HZ.map(|sample_rate_hz| Format::Opus { sample_rate_hz }));
        for byte_order in [ByteOrder::Little, ByteOrder::Big] {
            formats.extend(L16_RATES_HZ.map(|sample_rate_hz| Format::L16 { sample_rate_hz, byte_order }));
        }
        formats
    }

    /// The payloads of a second of a tone, 20 ms each.
    fn payloads(format: Format, frequency: f64) -> Vec<Vec<u8>> {
        let rate_hz = format.sample_rate_hz();
        let mut encoder = Encoder::new(format).unwrap();
        let pcm = tone(frequency, rate_hz, rate_hz as usize);
        let frames = pcm.chunks(format.samples(20));
        frames
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload).unwrap();
                payload
            })
            .collect()
    }

    #[test]
    fn a_tone_comes_through_every_codec_at_its_level() {
        for format in formats() {
            let mut decoder = Decoder::new(format).unwrap();
            let mut pcm = Vec::new();
            for payload in payloads(format, 440.0) {
                if let Some(bytes) = format.payload_bytes(20) {
                    assert_eq!(payload.len(), bytes, "{format:?}");
                }
                decoder.decode(&payload, &mut pcm).unwrap();
            }
            let rate_hz = format.sample_rate_hz();
            assert_eq!(pcm.len(), rate_hz as usize, "{format:?}");
            let settled = &pcm[rate_hz as usize / 2..];
            let (snr, level) = (snr_db(settled, 440.0, rate_hz), level_db(settled, 440.0, rate_hz, 10_000.0));
            let least = match format {
                Format::Opus { .. } | Format::AmrWb { .. } => 12.0,
                _ => 30.0,
            };
            assert!(snr > least && level.abs() < 1.0, "{format:?}: {snr:.1} dB, level {level:.2} dB");
        }
    }

    #[test]
    fn a_lost_payload_keeps_the_time_and_the_tone() {
        for format in formats() {
            let mut decoder = Decoder::new(format).unwrap();
            let mut pcm = Vec::new();
            for (number, payload) in payloads(format, 440.0).iter().enumerate() {
                if number == 30 {
                    decoder.conceal(20, None, &mut pcm);
                } else {
                    decoder.decode(payload, &mut pcm).unwrap();
                }
            }
            let rate_hz = format.sample_rate_hz();
            assert_eq!(pcm.len(), rate_hz as usize, "{format:?}");
            let lost = &pcm[30 * format.samples(20)..31 * format.samples(20)];
            let level = level_db(lost, 440.0, rate_hz, 10_000.0);
            // These two conceal by themselves: Opus takes a lone tone for noise at some rates, and
            // opencore-amrwb fades whatever it was.
            let least = match format {
                Format::Opus { .. } | Format::AmrWb { .. } => -25.0,
                _ => -6.0,
            };
            assert!((least..1.0).contains(&level), "{format:?}: {level:.1} dB");
        }
    }

    #[test]
    fn a_lost_frame_of_a_voice_keeps_its_level_and_its_pitch() {
        // A buzz: pulses 8 ms apart, rounded off, as a voice makes them. At its higher rates Opus
        // does not take it for one.
        let voices = |format: &Format| match format {
            Format::Opus { sample_rate_hz } => *sample_rate_hz == 8000,
            format => !matches!(format, Format::AmrWb { .. }),
        };
        for format in formats().into_iter().filter(voices) {
            let period = format.samples(8);
            let width = format.samples(1) as f64 / 3.0;
            let buzz: Vec<i16> = (0..period * 125)
                .map(|n| ((n % period) as f64 - period as f64 / 2.0) / width)
                .map(|across| (12_000.0 * (1.0 - across * across) * (-across * across / 2.0).exp()) as i16)
                .collect();
            let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
            let (mut sent, mut pcm) = (Vec::new(), Vec::new());
            for (number, frame) in buzz.chunks(format.samples(20)).enumerate() {
                sent.clear();
                encoder.encode(frame, &mut sent).unwrap();
                if number == 40 {
                    decoder.conceal(20, None, &mut pcm);
                } else {
                    decoder.decode(&sent, &mut pcm).unwrap();
                }
            }
            let at = 40 * format.samples(20);
            let lost = &pcm[at..at + format.samples(20)];
            let before = &pcm[at - 3 * period..][..lost.len()];
            let product = |a: &[i16], b: &[i16]| -> f64 {
                a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            let level = 10.0 * (product(lost, lost) / product(before, before)).log10();
            let likeness = product(lost, before) / (product(lost, lost) * product(before, before)).sqrt();
            assert!(level.abs() < 4.0 && likeness > 0.4, "{format:?}: {level:.1} dB, likeness {likeness:.2}");
        }
    }

    #[test]
    fn amr_wb_without_its_libraries_is_a_clear_refusal() {
        let format = Format::AmrWb { octet_align: true };
        let decoder = Decoder::new(format).map(|_| ());
        assert_eq!(decoder.is_ok(), offhook_amrwb::can_decode());
        assert!(matches!(decoder, Ok(()) | Err(CodecError::Unavailable)));
        let encoder = Encoder::new(format).map(|_| ());
        assert_eq!(encoder.is_ok(), offhook_amrwb::can_encode());
        assert!(matches!(encoder, Ok(()) | Err(CodecError::Unavailable)));
    }

    #[test]
    fn opus_takes_a_lost_frame_out_of_the_next_packet() {
        let format = Format::Opus { sample_rate_hz: 16_000 };
        let settings =
            OpusSettings { inband_fec: true, bitrate_bps: Some(24_000), ..OpusSettings::default() };
        let mut encoder = Encoder::with_opus_settings(format, settings).unwrap();
        // A tone that jumps is what no concealment can guess.
        let pcm: Vec<i16> = (0..50)
            .flat_map(|frame| tone(if frame % 2 == 0 { 400.0 } else { 1100.0 }, 16_000, 320))
            .collect();
        let packets: Vec<Vec<u8>> = pcm
            .chunks(320)
            .map(|frame| {
                let mut packet = Vec::new();
                encoder.encode(frame, &mut packet).unwrap();
                packet
            })
            .collect();
        let decode = |lose: Option<bool>| {
            let (mut decoder, mut out) = (Decoder::new(format).unwrap(), Vec::new());
            for (at, packet) in packets.iter().enumerate() {
                match lose {
                    Some(fec) if at == 41 => {
                        decoder.conceal(20, fec.then_some(&packets[42][..]), &mut out);
                    }
                    _ => decoder.decode(packet, &mut out).unwrap(),
                }
            }
            out
        };
        let whole = decode(None);
        let off = |lossy: Vec<i16>| -> f64 {
            let lost = 41 * 320..42 * 320;
            whole[lost.clone()].iter().zip(&lossy[lost]).map(|(&a, &b)| f64::from(a - b).powi(2)).sum()
        };
        let (with, without) = (off(decode(Some(true))), off(decode(Some(false))));
        assert!(with * 2.0 < without, "{with:.0} with the copy, {without:.0} without");
    }

    #[test]
    fn what_makes_no_frame_is_refused_and_changes_nothing() {
        let opus = Format::Opus { sample_rate_hz: 16_000 };
        let mut payload = vec![7];
        assert_eq!(Encoder::new(opus).unwrap().encode(&[0; 100], &mut payload), Err(CodecError::BadFrame));
        assert_eq!(payload, [7]);
        let mut pcm = vec![7];
        for format in formats() {
            let mut decoder = Decoder::new(format).unwrap();
            assert_eq!(decoder.decode(&[], &mut pcm), Err(CodecError::BadPayload));
        }
        let mut decoder = Decoder::new(Format::from_name("L16", None).unwrap()).unwrap();
        assert_eq!(decoder.decode(&[1, 2, 3], &mut pcm), Err(CodecError::BadPayload));
        assert_eq!(pcm, [7]);
        for format in [
            Format::Opus { sample_rate_hz: 44_100 },
            Format::L16 { sample_rate_hz: 1, byte_order: ByteOrder::Big },
        ] {
            assert_eq!(Decoder::new(format).err(), Some(CodecError::Unsupported));
            assert_eq!(Encoder::new(format).err(), Some(CodecError::Unsupported));
        }
    }

    proptest! {
        #[test]
        fn no_payload_does_harm(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..8),
            which in any::<usize>(),
        ) {
            let formats = formats();
            let format = formats[which % formats.len()];
            let mut decoder = Decoder::new(format).unwrap();
            for payload in payloads {
                let mut pcm = vec![1, 2];
                if decoder.decode(&payload, &mut pcm).is_err() {
                    prop_assert_eq!(&pcm, &[1, 2]);
                    decoder.conceal(20, Some(&payload), &mut pcm);
                    prop_assert_eq!(pcm.len(), 2 + format.samples(20));
                } else if matches!(format, Format::Opus { .. }) {
                    prop_assert!(pcm.len() <= 2 + format.samples(120));
                }
            }
        }
    }
}
