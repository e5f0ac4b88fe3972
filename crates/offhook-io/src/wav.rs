//! WAV files of 16-bit samples, and what mp3 files are made of them.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use offhook_codec::Mp3Encoder;

/// Bytes before the first sample.
pub(crate) const WAV_HEADER_BYTES: u64 = 44;
/// The most audio a header can tell of.
pub(crate) const WAV_DATA_BYTES_MAX: u64 = u32::MAX as u64 - WAV_HEADER_BYTES;
/// Read at once where a file is encoded.
const BLOCK_BYTES: usize = 64 * 1024;

/// Why no mp3 file was made.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is none of ours.
    #[error("the file is not a WAV file of 16-bit samples that can be encoded")]
    Foreign,
}

/// The header of a file of so many bytes of audio.
pub(crate) fn wav_header((channels, sample_rate_hz): (u16, u32), data_bytes: u64) -> [u8; 44] {
    let data_bytes = u32::try_from(data_bytes.min(WAV_DATA_BYTES_MAX)).unwrap_or(u32::MAX);
    let frame_bytes = channels * 2;
    let mut header = [0_u8; 44];
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &data_bytes.saturating_add(36).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &channels.to_le_bytes(),
        &sample_rate_hz.to_le_bytes(),
        &(sample_rate_hz * u32::from(frame_bytes)).to_le_bytes(),
        &frame_bytes.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data_bytes.to_le_bytes(),
    ];
    for (slot, byte) in header.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    header
}

/// Encode a WAV file of ours as mp3. What it says of its length is not believed: a file that was never closed
/// is read to its end.
///
/// # Errors
/// When one of the files cannot be read or written, or the first is none of ours.
pub fn wav_to_mp3(wav: &Path, mp3: &Path) -> Result<u64, WavError> {
    let mut input = File::open(wav)?;
    let mut header = [0_u8; 44];
    input.read_exact(&mut header).map_err(|_| WavError::Foreign)?;
    let (channels, sample_rate_hz) = read_header(&header).ok_or(WavError::Foreign)?;
    let mut encoder = Mp3Encoder::new(sample_rate_hz, channels).ok_or(WavError::Foreign)?;
    let mut output = BufWriter::new(File::create(mp3)?);
    let (mut block, mut frames) = (vec![0_u8; BLOCK_BYTES], Vec::new());
    loop {
        let count = read_full(&mut input, &mut block)?;
        encoder.encode(block.get(..count).unwrap_or_default(), &mut frames);
        output.write_all(&frames)?;
        frames.clear();
        if count < block.len() {
            break;
        }
    }
    let head = encoder.finish(&mut frames);
    output.write_all(&frames)?;
    output.seek(SeekFrom::Start(0))?;
    output.write_all(&head)?;
    let file = output.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(file.metadata()?.len())
}

/// Channels and sample rate.
fn read_header(header: &[u8; 44]) -> Option<(u16, u32)> {
    let [.., c0, c1, r0, r1, r2, r3] = header.get(..28)? else { return None };
    let format = (u16::from_le_bytes([*c0, *c1]), u32::from_le_bytes([*r0, *r1, *r2, *r3]));
    let ours = wav_header(format, 0);
    let same = |range: std::ops::Range<usize>| header.get(range.clone()) == ours.get(range);
    (format.0 > 0 && format.0 <= 2 && same(0..4) && same(8..40)).then_some(format)
}

fn read_full(input: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_codec::Mp3;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(read_header(&wav_header((2, 16_000), 400)), Some((2, 16_000)));
        let mut other = wav_header((1, 8000), 400);
        other[20] = 7;
        assert_eq!(read_header(&other), None, "mu-law");
        assert_eq!(read_header(&[0; 44]), None);
    }

    #[test]
    fn a_file_becomes_mp3_of_the_same_length_whatever_its_header_says() {
        let folder = std::env::temp_dir().join(format!("offhook-wav-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (wav, mp3) = (folder.join("a.wav"), folder.join("a.mp3"));
        let mut bytes = wav_header((2, 8000), 0).to_vec();
        bytes.extend(std::iter::repeat_n([0x10, 0x20, 0xf0, 0xdf], 100_000).flatten());
        std::fs::write(&wav, &bytes).unwrap();
        let size = wav_to_mp3(&wav, &mp3).unwrap();
        let file = std::fs::read(&mp3).unwrap();
        assert_eq!(size, file.len() as u64);
        let decoded = Mp3::new(&file).unwrap();
        assert_eq!((decoded.sample_rate_hz(), decoded.samples_left()), (8000, 100_000));
        std::fs::write(&wav, b"RIFF").unwrap();
        assert!(matches!(wav_to_mp3(&wav, &mp3), Err(WavError::Foreign)));
        assert!(matches!(wav_to_mp3(&folder.join("none.wav"), &mp3), Err(WavError::Io(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
