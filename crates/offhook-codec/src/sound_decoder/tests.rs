use super::*;
use crate::decode_sound;
use crate::tones::{snr_db, tone};
use proptest::prelude::*;

const MP3: [&[u8]; 3] = [
    include_bytes!("../../../../tests/data/mp3/tone-22050-stereo-vbr.mp3"),
    include_bytes!("../../../../tests/data/mp3/tone-24000-bare.mp3"),
    include_bytes!("../../../../tests/data/mp3/tone-48000-mono-vbr.mp3"),
];

fn wav(tag: u16, channels: u16, rate_hz: u32, bits: u16, size: Option<u32>, data: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
    let frame = channels * bits / 8;
    file.extend_from_slice(&tag.to_le_bytes());
    file.extend_from_slice(&channels.to_le_bytes());
    file.extend_from_slice(&rate_hz.to_le_bytes());
    file.extend_from_slice(&(rate_hz * u32::from(frame)).to_le_bytes());
    file.extend_from_slice(&frame.to_le_bytes());
    file.extend_from_slice(&bits.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&size.unwrap_or(u32::try_from(data.len()).unwrap()).to_le_bytes());
    file.extend_from_slice(data);
    file
}

fn bytes_of(pcm: &[i16]) -> Vec<u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Feed a decoder piece by piece, to the end.
fn decoded(mut decoder: SoundDecoder, data: &[u8], piece: usize) -> Result<Vec<Vec<i16>>, SoundError> {
    let mut all: Vec<Vec<i16>> = Vec::new();
    let mut add = |found: Vec<Vec<i16>>| {
        all.resize(all.len().max(found.len()), Vec::new());
        all.iter_mut().zip(found).for_each(|(all, found)| all.extend(found));
    };
    for piece in data.chunks(piece) {
        add(decoder.push(piece)?);
    }
    add(decoder.finish()?);
    Ok(all)
}

fn open(format: SoundFormat, rate_hz: u32, to_hz: u32, mix: bool) -> SoundDecoder {
    SoundDecoder::new(format, rate_hz, to_hz, mix).unwrap()
}

#[test]
fn bare_samples_of_every_kind_come_out_as_they_are() {
    let pcm = [0, 1, -1, 1000, -1000, i16::MAX, i16::MIN];
    let wide: Vec<u8> = pcm.iter().flat_map(|&sample| (i32::from(sample) << 16).to_le_bytes()).collect();
    for piece in [1, 3, 100] {
        let linear16 = open(SoundFormat::Linear16, 8000, 8000, true);
        assert_eq!(decoded(linear16, &bytes_of(&pcm), piece).unwrap(), [pcm.to_vec()]);
        let linear32 = open(SoundFormat::Linear32, 8000, 8000, true);
        assert_eq!(decoded(linear32, &wide, piece).unwrap(), [pcm.to_vec()]);
    }
    for (format, codec) in [(SoundFormat::Mulaw, Codec::Pcmu), (SoundFormat::Alaw, Codec::Pcma)] {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut expected = Vec::new();
        codec.decode(&bytes, &mut expected);
        assert_eq!(decoded(open(format, 8000, 8000, true), &bytes, 7).unwrap(), [expected]);
    }
}

#[test]
fn every_rate_becomes_the_one_that_is_wanted() {
    for (from_hz, to_hz) in [(8000, 16_000), (44_100, 16_000), (48_000, 8000), (11_025, 16_000)] {
        let said = bytes_of(&tone(440.0, from_hz, from_hz as usize));
        let heard = decoded(open(SoundFormat::Linear16, from_hz, to_hz, true), &said, 333).unwrap();
        let snr = snr_db(&heard[0][to_hz as usize / 20..to_hz as usize / 2], 440.0, to_hz);
        assert!(snr > 50.0, "{from_hz} to {to_hz}: {snr:.1} dB");
    }
    for rate_hz in [0, 7999, 8001, 48_001] {
        let refused = SoundDecoder::new(SoundFormat::Linear16, rate_hz, 16_000, true).unwrap_err();
        assert_eq!(refused, SoundError::Rate(rate_hz));
    }
}

#[test]
fn a_wav_file_is_heard_mixed_or_channel_by_channel() {
    let (left, right) = (tone(440.0, 16_000, 4000), tone(1000.0, 16_000, 4000));
    let both: Vec<i16> = left.iter().zip(&right).flat_map(|(l, r)| [*l, *r]).collect();
    let file = wav(1, 2, 16_000, 16, None, &bytes_of(&both));
    assert_eq!(decoded(open(SoundFormat::File, 0, 16_000, false), &file, 5).unwrap(), [left, right]);
    let mixed = decoded(open(SoundFormat::Wav, 0, 16_000, true), &file, 1000).unwrap();
    assert_eq!(mixed, [decode_sound(&file, 4000).unwrap().pcm]);
}

#[test]
fn a_wav_file_without_a_length_goes_on_and_one_with_it_ends_there() {
    let data = bytes_of(&[1, 2, 3, 4]);
    for size in UNMEASURED {
        let file = wav(1, 1, 8000, 16, Some(size), &data);
        assert_eq!(decoded(open(SoundFormat::Wav, 0, 8000, true), &file, 9).unwrap(), [vec![1, 2, 3, 4]]);
    }
    let file = wav(1, 1, 8000, 16, Some(4), &data);
    assert_eq!(decoded(open(SoundFormat::Wav, 0, 8000, true), &file, 9).unwrap(), [vec![1, 2]]);
    let fast = wav(7, 1, 96_000, 8, None, &[0xff; 960]);
    assert_eq!(decoded(open(SoundFormat::Wav, 0, 8000, true), &fast, 11).unwrap()[0].len(), 80 + 24);
}

#[test]
fn mp3_in_pieces_is_the_same_as_whole() {
    for file in MP3 {
        let whole = decode_sound(file, 1_000_000).unwrap();
        for piece in [1, 100, 5000] {
            let decoder = open(SoundFormat::Mp3, 0, whole.sample_rate_hz, true);
            let pieces = decoded(decoder, file, piece).unwrap().remove(0);
            // The padding behind stays: whoever hears it live does not know where the end is.
            assert!(pieces.len() >= whole.pcm.len() && pieces.len() < whole.pcm.len() + 3000);
            assert_eq!(pieces[..whole.pcm.len()], whole.pcm);
        }
    }
}

#[test]
fn what_is_no_sound_is_refused() {
    let heard = |format, data: &[u8]| decoded(open(format, 0, 8000, true), data, 1000).unwrap_err();
    assert_eq!(heard(SoundFormat::File, b""), SoundError::Unknown);
    assert_eq!(heard(SoundFormat::File, &vec![b'x'; 100_000]), SoundError::Unknown);
    assert_eq!(heard(SoundFormat::Wav, b"RIFF____AVI "), SoundError::Unknown);
    assert_eq!(heard(SoundFormat::Wav, b"RIFF____WAVEdata\0\0\0\0"), SoundError::Damaged);
    assert_eq!(heard(SoundFormat::Wav, b"RIFF____WAVE"), SoundError::Damaged);
    assert_eq!(heard(SoundFormat::Wav, &wav(2, 1, 8000, 4, None, &[0; 8])), SoundError::Encoding);
    assert_eq!(heard(SoundFormat::Wav, &wav(1, 1, 4000, 16, None, &[0; 8])), SoundError::Rate(4000));
    assert_eq!(heard(SoundFormat::Mp3, b"ID3"), SoundError::Unknown);
}

proptest! {
    #[test]
    fn no_bytes_harm_it_and_pieces_make_no_difference(
        kind in 0usize..4, damage in proptest::collection::vec((0usize..4000, any::<u8>()), 0..20), piece in 1usize..2000,
    ) {
        let (format, mut data) = match kind {
            0 => (SoundFormat::File, wav(1, 2, 44_100, 16, None, &[7; 3000])),
            1 => (SoundFormat::File, MP3[0].to_vec()),
            2 => (SoundFormat::Mp3, MP3[1].to_vec()),
            _ => (SoundFormat::Linear32, vec![3; 3001]),
        };
        for (at, byte) in damage {
            if let Some(place) = data.get_mut(at) { *place = byte; }
        }
        let open = || SoundDecoder::new(format, 16_000, 8000, false).unwrap();
        let whole = decoded(open(), &data, data.len());
        prop_assert_eq!(decoded(open(), &data, piece), whole);
    }
}
