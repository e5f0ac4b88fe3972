//! Whole mp3 files: taken apart when they come, decoded frame by frame when they are needed.
//!
//! MPEG 1, 2 and 2.5, layer III, of any bit rate, constant or not; tags are skipped. What the
//! encoder put before and behind the audio is cut off where its Info frame tells how much it was.

use std::fmt;

use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::codecs::audio::well_known::CODEC_ID_MP3;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

/// Bytes that are looked through for a frame, in one file, besides its tags.
pub(crate) const JUNK_BYTES_MAX: usize = 64 << 10;
/// Samples by which every decoder is late, counted from the encoder's own delay.
const DECODER_DELAY: u64 = 529;
/// kbit/s of MPEG 1 and of MPEG 2 and 2.5 by their number in the header; 0 stands for none of ours.
const BIT_RATES: [[u32; 16]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],
];

/// An mp3 file, of which some has been decoded perhaps.
pub struct Mp3 {
    sample_rate_hz: u32,
    /// Its frames, one behind the other, and nothing else.
    frames: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
    /// Samples that come out first and are none of the audio.
    skip: u64,
    left: u64,
    coder: Option<Coder>,
}

/// Decodes frames of one kind, mono or stereo.
pub(crate) struct Coder {
    inner: MpaDecoder,
    pub(crate) channels: usize,
    pcm: Vec<i16>,
}

impl Mp3 {
    /// Take a file apart; nothing if it has no audio. Takes no longer than reading it through.
    pub fn new(file: &[u8]) -> Option<Self> {
        let start = first_frame(file)?;
        let first = Header::at(file, start)?;
        let info = Info::read(file.get(start..start + first.bytes)?, first);
        let from = if info.is_some() { start + first.bytes } else { start };
        let (frames, count) = collect_frames(file, from, first);
        let whole = u64::try_from(count).ok()? * u64::from(first.samples);
        let (skip, padding) = info.map_or((0, 0), |info| info.cut(count));
        let left = whole.saturating_sub(skip).saturating_sub(padding);
        (left > 0).then_some(Self {
            sample_rate_hz: first.sample_rate_hz,
            frames,
            at: 0,
            skip,
            left,
            coder: None,
        })
    }

    /// Samples per second.
    pub fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// Samples that are still to be decoded, of one channel.
    pub fn samples_left(&self) -> u64 {
        self.left
    }

    /// What it takes to keep the file.
    pub fn size_bytes(&self) -> usize {
        self.frames.len()
    }

    /// Append the samples of the next frame, its channels made one; false at the end. A frame that is
    /// damaged is silence.
    pub fn decode(&mut self, pcm: &mut Vec<i16>) -> bool {
        let Some(header) = Header::at(&self.frames, self.at).filter(|_| self.left > 0) else {
            self.coder = None;
            return false;
        };
        let frame = self.frames.get(self.at..self.at + header.bytes).unwrap_or_default();
        self.at += header.bytes;
        let from = pcm.len();
        if self.coder.as_ref().is_none_or(|coder| coder.channels != header.channels) {
            self.coder = Coder::new(header.channels);
        }
        if let Some(coder) = &mut self.coder {
            coder.decode(frame, pcm);
        }
        pcm.resize(from + usize::from(header.samples), 0);
        let skipped = self.skip.min(u64::from(header.samples));
        self.skip -= skipped;
        pcm.drain(from..from + usize::try_from(skipped).unwrap_or(0));
        let kept = (u64::from(header.samples) - skipped).min(self.left);
        self.left -= kept;
        pcm.truncate(from + usize::try_from(kept).unwrap_or(0));
        true
    }
}

impl fmt::Debug for Mp3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mp3")
            .field("sample_rate_hz", &self.sample_rate_hz)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Coder {
    pub(crate) fn new(channels: usize) -> Option<Self> {
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_MP3);
        let inner = MpaDecoder::try_new(&params, &AudioDecoderOptions::default()).ok()?;
        Some(Self { inner, channels, pcm: Vec::new() })
    }

    /// Append the samples of a frame; nothing when it is damaged.
    pub(crate) fn decode(&mut self, frame: &[u8], pcm: &mut Vec<i16>) {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, frame);
        let Ok(decoded) = self.inner.decode_ref(&packet) else { return };
        decoded.copy_to_vec_interleaved(&mut self.pcm);
        if self.channels == 2 {
            let (pairs, _) = self.pcm.as_chunks::<2>();
            pcm.extend(pairs.iter().map(|[left, right]| left.midpoint(*right)));
        } else {
            pcm.extend_from_slice(&self.pcm);
        }
    }
}

/// What the four bytes in front of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Version, layer and rate: the same in all frames of a file.
    pub(crate) kind: [u8; 2],
    pub(crate) sample_rate_hz: u32,
    pub(crate) channels: usize,
    pub(crate) samples: u16,
    pub(crate) bytes: usize,
    /// Between the header and the audio: the checksum and the side information.
    side_bytes: usize,
}

impl Header {
    /// The header at a place, if there is one, and a bit rate in it.
    pub(crate) fn at(file: &[u8], at: usize) -> Option<Self> {
        let &[sync, kind, rates, mode] = file.get(at..)?.first_chunk::<4>()?;
        let (version, layer) = (kind >> 3 & 3, kind >> 1 & 3);
        if sync != 0xff || kind >> 5 != 7 || version == 1 || layer != 1 {
            return None;
        }
        let first_version = version == 3;
        let halved = match version {
            3 => 1,
            2 => 2,
            _ => 4,
        };
        let sample_rate_hz = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? / halved;
        let kilobits = BIT_RATES.get(usize::from(!first_version))?.get(usize::from(rates >> 4))?;
        let samples: u16 = if first_version { 1152 } else { 576 };
        let padding = u32::from(rates >> 1 & 1);
        let bytes = u32::from(samples) / 8 * kilobits * 1000 / sample_rate_hz + padding;
        let channels = if mode >> 6 == 3 { 1 } else { 2 };
        let side_bytes = match (first_version, channels) {
            (true, 2) => 32,
            (true, _) | (false, 2) => 17,
            (false, _) => 9,
        };
        (*kilobits > 0).then_some(Self {
            kind: [kind & 0xfe, rates & 0x0c],
            sample_rate_hz,
            channels,
            samples,
            bytes: usize::try_from(bytes).ok()?,
            side_bytes: side_bytes + if kind & 1 == 0 { 2 } else { 0 },
        })
    }
}

/// What the encoder tells in a frame of its own, before the audio.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Info {
    /// Frames of audio, if told.
    frames: Option<u32>,
    /// Samples the encoder put before and behind the audio.
    delay: u32,
    padding: u32,
}

impl Info {
    /// Read the frame of Xing and LAME, or of Fraunhofer; nothing when it is a frame of audio.
    pub(crate) fn read(frame: &[u8], header: Header) -> Option<Self> {
        if frame.get(36..40) == Some(b"VBRI") {
            return Some(Self::default());
        }
        let (mark, rest) = frame.get(4 + header.side_bytes..)?.split_first_chunk::<4>()?;
        if mark != b"Xing" && mark != b"Info" {
            return None;
        }
        Some(Self::read_fields(rest).unwrap_or_default())
    }

    /// The fields behind the mark: those there are by the flags, then those of LAME.
    fn read_fields(rest: &[u8]) -> Option<Self> {
        let (&[.., flags], rest) = rest.split_first_chunk::<4>()?;
        let frames = (flags & 1 != 0).then(|| rest.first_chunk::<4>().copied().map(u32::from_be_bytes));
        let lengths = [(1, 4), (2, 4), (4, 100), (8, 4)];
        let skipped: usize =
            lengths.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, bytes)| bytes).sum();
        let lame = rest.get(skipped..).filter(|lame| lame.first().is_some_and(|byte| *byte != 0));
        let trim = lame.and_then(|lame| lame.get(21..24));
        let [delay, padding] = trim.map_or([0, 0], |trim| {
            let number = trim.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            [number >> 12, number & 0xfff]
        });
        Some(Self { frames: frames.flatten(), delay, padding })
    }

    /// Samples to cut off before and behind so many frames.
    pub(crate) fn cut(self, frames: usize) -> (u64, u64) {
        if self.delay == 0 && self.padding == 0 {
            return (0, 0);
        }
        // A file that was cut short has its padding no more.
        let whole = self.frames.is_none_or(|told| usize::try_from(told) == Ok(frames));
        let padding = if whole { u64::from(self.padding).saturating_sub(DECODER_DELAY) } else { 0 };
        (u64::from(self.delay) + DECODER_DELAY, padding)
    }
}

/// Where the first frame begins: one that another like it follows, or the end of the audio.
fn first_frame(file: &[u8]) -> Option<usize> {
    let start = id3v2_bytes(file);
    let places = start..file.len().min(start.saturating_add(JUNK_BYTES_MAX));
    places.into_iter().find(|&at| Header::at(file, at).is_some_and(|header| is_followed(file, at, header)))
}

fn is_followed(file: &[u8], at: usize, header: Header) -> bool {
    let end = at + header.bytes;
    let behind = file.get(end..).unwrap_or(b"?");
    behind.is_empty()
        || behind.starts_with(b"TAG")
        || behind.starts_with(b"APETAGEX")
        || Header::at(file, end).is_some_and(|next| next.kind == header.kind)
}

/// The whole frames like `first` from a place on, joined, and how many they are.
fn collect_frames(file: &[u8], from: usize, first: Header) -> (Vec<u8>, usize) {
    let (mut frames, mut count) = (Vec::with_capacity(file.len().saturating_sub(from)), 0);
    let (mut at, mut junk) = (from, 0);
    let mut in_step = true;
    while at < file.len() && junk < JUNK_BYTES_MAX {
        let header = Header::at(file, at).filter(|header| header.kind == first.kind);
        let header = header.filter(|header| in_step || is_followed(file, at, *header));
        if let Some(frame) = header.and_then(|header| file.get(at..at + header.bytes)) {
            frames.extend_from_slice(frame);
            count += 1;
            at += frame.len();
            in_step = true;
        } else {
            at += 1;
            junk += 1;
            in_step = false;
        }
    }
    frames.shrink_to_fit();
    (frames, count)
}

/// Bytes of the `ID3v2` tags at the beginning.
fn id3v2_bytes(file: &[u8]) -> usize {
    let mut at = 0;
    while let Some(bytes) = file.get(at..).and_then(id3v2_tag_bytes) {
        at += bytes;
    }
    at
}

/// Bytes of the `ID3v2` tag that begins here.
pub(crate) fn id3v2_tag_bytes(file: &[u8]) -> Option<usize> {
    let &[b'I', b'D', b'3', _, _, flags, a, b, c, d] = file.first_chunk::<10>()? else { return None };
    let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
    Some(10 + size + if flags & 0x10 != 0 { 10 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tones::snr_db;
    use proptest::prelude::*;

    const FILES: [(&str, u32, &[u8]); 8] = [
        ("44100", 44_100, include_bytes!("../../../tests/data/mp3/tone-44100-stereo.mp3")),
        ("48000", 48_000, include_bytes!("../../../tests/data/mp3/tone-48000-mono-vbr.mp3")),
        ("32000", 32_000, include_bytes!("../../../tests/data/mp3/tone-32000-mono.mp3")),
        ("24000", 24_000, include_bytes!("../../../tests/data/mp3/tone-24000-mono.mp3")),
        ("22050", 22_050, include_bytes!("../../../tests/data/mp3/tone-22050-stereo-vbr.mp3")),
        ("16000", 16_000, include_bytes!("../../../tests/data/mp3/tone-16000-mono.mp3")),
        ("11025", 11_025, include_bytes!("../../../tests/data/mp3/tone-11025-mono.mp3")),
        ("8000", 8_000, include_bytes!("../../../tests/data/mp3/tone-8000-mono.mp3")),
    ];
    const BARE: &[u8] = include_bytes!("../../../tests/data/mp3/tone-24000-bare.mp3");

    fn decoded(file: &[u8]) -> Vec<i16> {
        let mut mp3 = Mp3::new(file).unwrap();
        let left = usize::try_from(mp3.samples_left()).unwrap();
        let mut pcm = Vec::new();
        while mp3.decode(&mut pcm) {}
        assert_eq!((pcm.len(), mp3.samples_left()), (left, 0));
        pcm
    }

    #[test]
    fn every_rate_gives_the_tone_and_exactly_its_second() {
        for (name, rate_hz, file) in FILES {
            let mp3 = Mp3::new(file).unwrap();
            assert_eq!((mp3.sample_rate_hz(), mp3.samples_left()), (rate_hz, u64::from(rate_hz)), "{name}");
            let pcm = decoded(file);
            let snr = snr_db(&pcm[pcm.len() / 10..pcm.len() * 9 / 10], 440.0, rate_hz);
            assert!(snr > 25.0, "{name}: {snr:.1} dB");
        }
    }

    #[test]
    fn a_file_that_does_not_tell_is_decoded_whole() {
        assert_eq!(BARE.len() % 96, 0, "frames of 96 bytes");
        assert_eq!(decoded(BARE).len(), BARE.len() / 96 * 576);
    }

    #[test]
    fn tags_are_skipped() {
        let (_, _, file) = FILES[3];
        let mut tagged = b"ID3\x04\x00\x00\x00\x00\x02\x00".to_vec();
        // A picture that looks like frames.
        tagged.extend(BARE.iter().cycle().take(256));
        tagged.extend_from_slice(file);
        tagged.extend_from_slice(b"TAG");
        tagged.resize(tagged.len() + 125, 0);
        assert_eq!(decoded(&tagged), decoded(file));
    }

    #[test]
    fn junk_inside_is_skipped_and_a_cut_file_is_decoded_as_far_as_it_goes() {
        let (head, tail) = BARE.split_at(96 * 20);
        assert_eq!(decoded(&[head, &[0; 1000], tail].concat()).len(), decoded(BARE).len());
        assert_eq!(decoded(&BARE[..96 * 20 + 50]).len(), 20 * 576);
        let (_, _, told) = FILES[3];
        // All but the last frame: nothing is left of the padding.
        assert_eq!(decoded(&told[..told.len() - 1]).len() % 576, (2 * 576 - 1105 % 576) % 576);
    }

    #[test]
    fn what_is_no_mp3_is_refused() {
        let wav = b"RIFF\x24\x00\x00\x00WAVEfmt ".repeat(100);
        let ramp: Vec<u8> = (0..=255).cycle().take(40_000).collect();
        for file in [&[][..], b"ID3", &[0; 4000], &[0xff; 4000], &wav, &ramp, &BARE[..90]] {
            assert!(Mp3::new(file).is_none());
        }
        // Layers I and II, no bit rate, a reserved rate.
        for header in
            [[0xff, 0xff, 0x90, 0], [0xff, 0xfd, 0x90, 0], [0xff, 0xfb, 0, 0], [0xff, 0xfb, 0x9c, 0]]
        {
            assert!(Mp3::new(&header.repeat(2000)).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(file in proptest::collection::vec(any::<u8>(), 0..2000)) {
            if let Some(mut mp3) = Mp3::new(&file) {
                while mp3.decode(&mut Vec::new()) {}
            }
        }

        #[test]
        fn damage_keeps_the_time(
            which in 0..FILES.len(),
            damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..60),
        ) {
            let mut file = FILES[which].2.to_vec();
            for (at, byte) in damage {
                let at = at % file.len();
                file[at] = byte;
            }
            if Mp3::new(&file).is_some() {
                decoded(&file);
            }
        }
    }
}
