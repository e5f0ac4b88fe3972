//! Wav files: PCM of 8 to 32 bits, floats and G.711.

use crate::Codec;
use crate::sound::SoundError;

const CHANNELS_MAX: u16 = 8;
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
/// The tag stands further behind.
const EXTENSIBLE: u16 = 0xfffe;

/// A wav file that was taken apart.
#[derive(Debug)]
pub(crate) struct Wav<'a> {
    pub(crate) sample_rate_hz: u32,
    channels: usize,
    kind: Kind,
    /// Whole frames: a sample of each channel.
    data: &'a [u8],
}

/// How one sample is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Unsigned8,
    /// Bytes of one sample, of which the last two matter.
    Signed(usize),
    Float32,
    Float64,
    G711(Codec),
}

impl Kind {
    fn of(tag: u16, bits: u16) -> Option<Self> {
        Some(match (tag, bits) {
            (PCM, 8) => Self::Unsigned8,
            (PCM, 16 | 24 | 32) => Self::Signed(usize::from(bits / 8)),
            (FLOAT, 32) => Self::Float32,
            (FLOAT, 64) => Self::Float64,
            (A_LAW, 8) => Self::G711(Codec::Pcma),
            (MU_LAW, 8) => Self::G711(Codec::Pcmu),
            _ => return None,
        })
    }

    /// Bytes of one sample.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 | Self::G711(_) => 1,
            Self::Signed(bytes) => bytes,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a float cast to an integer saturates")]
    pub(crate) fn sample(self, bytes: &[u8]) -> i16 {
        let last_two = |bytes: &[u8]| bytes.last_chunk().copied().map_or(0, i16::from_le_bytes);
        let float = |value: f64| (value * 32_768.0) as i16;
        match self {
            Self::Unsigned8 => bytes.first().map_or(0, |byte| (i16::from(*byte) - 128) << 8),
            Self::Signed(_) => last_two(bytes),
            Self::Float32 => {
                bytes.first_chunk().map_or(0, |bytes| float(f64::from(f32::from_le_bytes(*bytes))))
            }
            Self::Float64 => bytes.first_chunk().map_or(0, |bytes| float(f64::from_le_bytes(*bytes))),
            Self::G711(codec) => bytes.first().map_or(0, |byte| codec.decode_sample(*byte)),
        }
    }
}

impl<'a> Wav<'a> {
    /// Take a file apart.
    pub(crate) fn new(file: &'a [u8]) -> Result<Self, SoundError> {
        if file.get(8..12) != Some(b"WAVE") {
            return Err(SoundError::Unknown);
        }
        let mut format = None;
        let mut rest = file.get(12..).unwrap_or_default();
        while let Some((&[a, b, c, d, s0, s1, s2, s3], behind)) = rest.split_first_chunk::<8>() {
            let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).unwrap_or(usize::MAX);
            // What was cut off, or never measured, goes to the end of the file.
            let content = behind.get(..size).unwrap_or(behind);
            match &[a, b, c, d] {
                b"fmt " => format = Some(Format::read(content)?),
                b"data" => return Ok(format.ok_or(SoundError::Damaged)?.with(content)),
                _ => {}
            }
            rest = behind.get(size.saturating_add(size % 2)..).unwrap_or_default();
        }
        Err(SoundError::Damaged)
    }

    /// Samples of one channel.
    pub(crate) fn samples(&self) -> usize {
        self.data.len() / (self.channels * self.kind.bytes())
    }

    /// The samples, those of all channels made one.
    pub(crate) fn decode(&self) -> Vec<i16> {
        let (kind, bytes) = (self.kind, self.kind.bytes());
        if self.channels == 1 {
            return self.data.chunks_exact(bytes).map(|sample| kind.sample(sample)).collect();
        }
        let channels = i32::try_from(self.channels).unwrap_or(1);
        let mixed = |frame: &[u8]| {
            let sum: i32 = frame.chunks_exact(bytes).map(|sample| i32::from(kind.sample(sample))).sum();
            i16::try_from(sum / channels).unwrap_or(0)
        };
        self.data.chunks_exact(self.channels * bytes).map(mixed).collect()
    }
}

/// What the chunk "fmt " says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) sample_rate_hz: u32,
    pub(crate) channels: u16,
    pub(crate) kind: Kind,
}

impl Format {
    pub(crate) fn read(content: &[u8]) -> Result<Self, SoundError> {
        let &[t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, _, _, b0, b1] =
            content.first_chunk::<16>().ok_or(SoundError::Damaged)?;
        let mut tag = u16::from_le_bytes([t0, t1]);
        if tag == EXTENSIBLE {
            let further = content.get(24..26).and_then(<[u8]>::first_chunk::<2>);
            tag = further.copied().map_or(0, u16::from_le_bytes);
        }
        let channels = u16::from_le_bytes([c0, c1]);
        let kind = Kind::of(tag, u16::from_le_bytes([b0, b1]));
        let kind = kind.filter(|_| (1..=CHANNELS_MAX).contains(&channels)).ok_or(SoundError::Encoding)?;
        Ok(Self { sample_rate_hz: u32::from_le_bytes([r0, r1, r2, r3]), channels, kind })
    }

    fn with(self, content: &[u8]) -> Wav<'_> {
        let channels = usize::from(self.channels);
        let whole = content.len() - content.len() % (channels * self.kind.bytes());
        let data = content.get(..whole).unwrap_or_default();
        Wav { sample_rate_hz: self.sample_rate_hz, channels, kind: self.kind, data }
    }
}
