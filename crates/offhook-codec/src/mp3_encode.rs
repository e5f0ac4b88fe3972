//! Samples to an mp3 file, block by block.

use std::fmt;

use rusty_mp3::{Mp3Encoder as Inner, Mp3EncoderConfig};

/// Rates of speech that MPEG 2 and 2.5 have; at those no frame leans on another, so that what is encoded needs not
/// be kept.
const RATES_HZ: [u32; 3] = [8000, 16_000, 24_000];

/// Encodes at a constant bit rate: 32 kbit/s a channel, 64 above telephone quality.
pub struct Mp3Encoder {
    inner: Inner,
    sample_rate_hz: u32,
    channels: u16,
}

impl fmt::Debug for Mp3Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mp3Encoder").field("sample_rate_hz", &self.sample_rate_hz).finish_non_exhaustive()
    }
}

impl Mp3Encoder {
    /// An encoder of 8, 16 or 24 kHz audio of one channel or two; nothing for others.
    pub fn new(sample_rate_hz: u32, channels: u16) -> Option<Self> {
        if !RATES_HZ.contains(&sample_rate_hz) || !(1..=2).contains(&channels) {
            return None;
        }
        let bitrate_kbps = if sample_rate_hz == 8000 { 32 } else { 64 } * u32::from(channels);
        let inner = Inner::new(Mp3EncoderConfig { bitrate_kbps, vbr_quality: None });
        Some(Self { inner, sample_rate_hz, channels })
    }

    /// Append the frames that `pcm` (s16le, interleaved, whole samples) fills.
    pub fn encode(&mut self, pcm: &[u8], out: &mut Vec<u8>) {
        // It refuses rates it does not have, and `new` knows those.
        let _ = self.inner.push_pcm_s16le(pcm, self.channels, self.sample_rate_hz);
        self.take(out);
    }

    /// Append what is left, and give back what is to take the place of the file's first bytes: a frame that tells
    /// players how long the file is and what to cut off.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Vec<u8> {
        self.encode(&[], out);
        self.inner.finish();
        self.take(out);
        self.inner.lame_tag_frame().map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        while let Ok(frame) = self.inner.next_packet() {
            out.extend_from_slice(&frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mp3;
    use std::f64::consts::TAU;

    fn tone(hz: f64, rate_hz: u32, count: usize) -> Vec<i16> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test tone")]
        let sample = |n| ((n as f64 * hz * TAU / f64::from(rate_hz)).sin() * 8000.0) as i16;
        (0..count).map(sample).collect()
    }

    /// Signal to noise of a tone in `pcm`, in dB.
    fn snr(pcm: &[i16], hz: f64, rate_hz: u32) -> f64 {
        let angle = |n: usize| {
            #[expect(clippy::cast_precision_loss, reason = "short")]
            let n = n as f64;
            n * hz * TAU / f64::from(rate_hz)
        };
        #[expect(clippy::cast_precision_loss, reason = "short")]
        let count = pcm.len() as f64;
        let along = |f: fn(f64) -> f64| {
            2.0 * pcm.iter().enumerate().map(|(n, s)| f64::from(*s) * f(angle(n))).sum::<f64>() / count
        };
        let (a, b) = (along(f64::sin), along(f64::cos));
        let noise: f64 = pcm
            .iter()
            .enumerate()
            .map(|(n, s)| (f64::from(*s) - a * angle(n).sin() - b * angle(n).cos()).powi(2))
            .sum::<f64>()
            / count;
        10.0 * (f64::midpoint(a * a, b * b) / noise.max(1e-9)).log10()
    }

    fn file(pcm: &[i16], rate_hz: u32, channels: u16) -> Vec<u8> {
        let mut encoder = Mp3Encoder::new(rate_hz, channels).unwrap();
        let mut file = Vec::new();
        for block in pcm.chunks(usize::from(channels) * 777) {
            let bytes: Vec<u8> = block.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            encoder.encode(&bytes, &mut file);
        }
        let head = encoder.finish(&mut file);
        file[..head.len()].copy_from_slice(&head);
        file
    }

    #[test]
    fn a_tone_comes_back_as_itself_and_as_long_as_it_was() {
        for rate_hz in RATES_HZ {
            let pcm = tone(440.0, rate_hz, rate_hz as usize * 2);
            for channels in [1_u16, 2] {
                let all: Vec<i16> =
                    pcm.iter().flat_map(|&sample| vec![sample; usize::from(channels)]).collect();
                let mut mp3 = Mp3::new(&file(&all, rate_hz, channels)).unwrap();
                assert_eq!(mp3.sample_rate_hz(), rate_hz);
                let mut back = Vec::new();
                while mp3.decode(&mut back) {}
                assert_eq!(back.len(), pcm.len(), "{rate_hz} Hz, {channels} channels");
                let middle = &back[back.len() / 4..back.len() / 4 * 3];
                assert!(snr(middle, 440.0, rate_hz) > 30.0, "{rate_hz} Hz: {}", snr(middle, 440.0, rate_hz));
            }
        }
    }

    #[test]
    fn no_audio_and_little_audio_make_a_file_too() {
        for count in [0, 1, 100] {
            let file = file(&vec![0; count], 8000, 1);
            assert!(!file.is_empty(), "{count}");
        }
    }

    #[test]
    fn what_speech_never_has_is_refused() {
        assert!(Mp3Encoder::new(11_025, 1).is_none());
        assert!(Mp3Encoder::new(8000, 3).is_none());
        assert!(Mp3Encoder::new(8000, 0).is_none());
    }
}
