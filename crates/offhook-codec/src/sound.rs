//! Whole sound files made into samples: wav and mp3, told apart by what they hold.

use crate::mp3::Mp3;
use crate::wav::Wav;

/// Rates that can be resampled as they are; a higher one is halved until it can.
pub(crate) const RATE_HZ_MAX: u32 = 48_000;
/// Rates of wav files; those of mp3 files are among them.
const RATES_HZ: [u32; 12] =
    [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000];

/// A file's audio, its channels made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Mono.
    pub pcm: Vec<i16>,
    /// 8000 to 48000.
    pub sample_rate_hz: u32,
}

/// Why a file cannot be played. The text is one sentence for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoundError {
    /// It has not the beginning of a kind that is known, or nothing behind it.
    #[error("the file is neither a wav nor an mp3 file")]
    Unknown,
    /// It is a wav file without the parts of one.
    #[error("the wav file is damaged: it has no format or no data")]
    Damaged,
    /// Its samples are of a kind that nobody knows.
    #[error("the wav file is not PCM, float or G.711 of 1 to 8 channels")]
    Encoding,
    /// So many samples a second.
    #[error("audio of {0} Hz is not taken here")]
    Rate(u32),
    /// There is no sample in it.
    #[error("the file holds no audio")]
    Empty,
    /// It would need more memory than it may.
    #[error("the file is too long")]
    TooLong,
}

/// Decode a file of `samples_max` samples at most.
///
/// A file that was cut off is decoded as far as it goes, and a frame of mp3 that is damaged is silence.
///
/// # Errors
/// When it is not a sound, or too long; that is found before any of it is decoded.
pub fn decode_sound(file: &[u8], samples_max: usize) -> Result<Sound, SoundError> {
    if file.starts_with(b"RIFF") { decode_wav(file, samples_max) } else { decode_mp3(file, samples_max) }
}

fn decode_wav(file: &[u8], samples_max: usize) -> Result<Sound, SoundError> {
    let wav = Wav::new(file)?;
    let mut sample_rate_hz = wav.sample_rate_hz;
    if !RATES_HZ.contains(&sample_rate_hz) {
        return Err(SoundError::Rate(sample_rate_hz));
    }
    check_length(wav.samples(), samples_max)?;
    let mut pcm = wav.decode();
    while sample_rate_hz > RATE_HZ_MAX {
        let (pairs, _) = pcm.as_chunks::<2>();
        pcm = pairs.iter().map(|[one, other]| one.midpoint(*other)).collect();
        sample_rate_hz /= 2;
    }
    if pcm.is_empty() { Err(SoundError::Empty) } else { Ok(Sound { pcm, sample_rate_hz }) }
}

fn decode_mp3(file: &[u8], samples_max: usize) -> Result<Sound, SoundError> {
    let mut mp3 = Mp3::new(file).ok_or(SoundError::Unknown)?;
    let samples = usize::try_from(mp3.samples_left()).unwrap_or(usize::MAX);
    check_length(samples, samples_max)?;
    let mut pcm = Vec::with_capacity(samples);
    while mp3.decode(&mut pcm) {}
    Ok(Sound { pcm, sample_rate_hz: mp3.sample_rate_hz() })
}

fn check_length(samples: usize, max: usize) -> Result<(), SoundError> {
    match samples {
        0 => Err(SoundError::Empty),
        _ if samples > max => Err(SoundError::TooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MP3: &[u8] = include_bytes!("../../../tests/data/mp3/tone-22050-stereo-vbr.mp3");

    fn wav(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        let frame = channels * bits / 8;
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&channels.to_le_bytes());
        file.extend_from_slice(&rate_hz.to_le_bytes());
        file.extend_from_slice(&(rate_hz * u32::from(frame)).to_le_bytes());
        file.extend_from_slice(&frame.to_le_bytes());
        file.extend_from_slice(&bits.to_le_bytes());
        file.extend_from_slice(b"LIST\x03\0\0\0abc\0data");
        file.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        file.extend_from_slice(data);
        file
    }

    fn pcm(file: &[u8]) -> Vec<i16> {
        decode_sound(file, 1000).unwrap().pcm
    }

    #[test]
    fn every_depth_gives_the_same_samples() {
        let wanted = [0_i16, 256, -256, 32_512, -32_768];
        let eight: Vec<u8> = wanted.iter().map(|&sample| sample.to_be_bytes()[0] ^ 0x80).collect();
        assert_eq!(pcm(&wav(1, 1, 8000, 8, &eight)), wanted);
        let sixteen: Vec<u8> = wanted.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(pcm(&wav(1, 1, 8000, 16, &sixteen)), wanted);
        let wide = |zeros: usize| -> Vec<u8> {
            let sample = |sample: &i16| [vec![0x55; zeros], sample.to_le_bytes().to_vec()].concat();
            wanted.iter().flat_map(sample).collect()
        };
        assert_eq!(pcm(&wav(1, 1, 8000, 24, &wide(1))), wanted);
        assert_eq!(pcm(&wav(1, 1, 8000, 32, &wide(2))), wanted);
        let float: Vec<u8> =
            wanted.iter().flat_map(|&sample| (f32::from(sample) / 32_768.0).to_le_bytes()).collect();
        assert_eq!(pcm(&wav(3, 1, 8000, 32, &float)), wanted);
        let double: Vec<u8> =
            wanted.iter().flat_map(|&sample| (f64::from(sample) / 32_768.0).to_le_bytes()).collect();
        assert_eq!(pcm(&wav(3, 1, 8000, 64, &double)), wanted);
    }

    #[test]
    fn floats_beyond_full_scale_and_none_at_all_are_bounded() {
        let float: Vec<u8> =
            [2.0, -2.0, f32::NAN, f32::INFINITY].iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(pcm(&wav(3, 1, 8000, 32, &float)), [32_767, -32_768, 0, 32_767]);
    }

    #[test]
    fn g711_is_what_the_codec_says() {
        let bytes: Vec<u8> = (0..=255).collect();
        for (tag, codec) in [(6, crate::Codec::Pcma), (7, crate::Codec::Pcmu)] {
            let mut expected = Vec::new();
            codec.decode(&bytes, &mut expected);
            assert_eq!(pcm(&wav(tag, 1, 8000, 8, &bytes)), expected);
        }
    }

    #[test]
    fn channels_become_one_and_high_rates_are_halved() {
        let stereo: Vec<u8> =
            [100_i16, 300, -100, -300].iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(pcm(&wav(1, 2, 44_100, 16, &stereo)), [200, -200]);
        let sound = decode_sound(&wav(1, 1, 192_000, 16, &stereo), 4).unwrap();
        assert_eq!((sound.sample_rate_hz, sound.pcm), (48_000, vec![0]));
        // The format can be told in a longer way.
        let mut long = wav(0xfffe, 1, 8000, 16, &stereo);
        long[16] = 40;
        let rest = long.split_off(36);
        long.extend_from_slice(&[22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        long.extend_from_slice(&[0; 14]);
        long.extend_from_slice(&rest);
        assert_eq!(pcm(&long), [100, 300, -100, -300]);
    }

    #[test]
    fn a_cut_or_unmeasured_file_is_decoded_as_far_as_it_goes() {
        let whole = wav(1, 1, 8000, 16, &[1, 0, 2, 0, 3, 0]);
        assert_eq!(pcm(&whole[..whole.len() - 1]), [1, 2]);
        let mut unmeasured = whole;
        let at = unmeasured.len() - 10;
        unmeasured[at..at + 4].copy_from_slice(&[0xff; 4]);
        assert_eq!(pcm(&unmeasured), [1, 2, 3]);
    }

    #[test]
    fn an_mp3_file_is_known_by_what_it_holds() {
        let sound = decode_sound(MP3, 22_050).unwrap();
        assert_eq!((sound.sample_rate_hz, sound.pcm.len()), (22_050, 22_050));
        assert_eq!(decode_sound(MP3, 22_049), Err(SoundError::TooLong));
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_reason() {
        let refused = |file: &[u8]| decode_sound(file, 2).unwrap_err();
        assert_eq!(refused(b""), SoundError::Unknown);
        assert_eq!(refused(b"<!doctype html>"), SoundError::Unknown);
        assert_eq!(refused(b"RIFF\0\0\0\0AVI LIST"), SoundError::Unknown);
        assert_eq!(refused(&wav(1, 1, 8000, 16, &[0; 4])[..40]), SoundError::Damaged);
        assert_eq!(refused(&wav(1, 1, 8000, 16, &[])), SoundError::Empty);
        assert_eq!(refused(&wav(1, 1, 8000, 16, &[0; 6])), SoundError::TooLong);
        assert_eq!(refused(&wav(1, 1, 7999, 16, &[0; 4])), SoundError::Rate(7999));
        for (tag, channels, bits) in [(2, 1, 4), (1, 0, 16), (1, 9, 16), (1, 1, 12), (3, 1, 16), (6, 1, 16)] {
            assert_eq!(refused(&wav(tag, channels, 8000, bits, &[0; 4])), SoundError::Encoding);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(mut file in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_usize..3) {
            let starts = [b"".to_vec(), b"RIFF\0\0\0\0WAVE".to_vec(), wav(1, 2, 8000, 16, &[])];
            let start = &starts[kind];
            file.splice(0..0, start.iter().copied());
            if let Ok(sound) = decode_sound(&file, 500) {
                prop_assert!((1..=500).contains(&sound.pcm.len()));
            }
        }
    }
}
