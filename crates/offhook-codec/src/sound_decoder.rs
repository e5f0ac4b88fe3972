//! Audio as it comes, in any pieces: wav, mp3 or bare samples in, samples at one rate out.

use std::fmt;

use crate::mp3_pieces::Mp3Pieces;
use crate::sound::{RATE_HZ_MAX, SoundError};
use crate::wav::{Format, Kind};
use crate::{Codec, Resampler};

/// What of a chunk "fmt " matters.
const FORMAT_BYTES: usize = 40;
/// Sizes of a data chunk that its writer did not know.
const UNMEASURED: [u32; 3] = [0, 0x7fff_ffff, 0xffff_ffff];

/// What audio is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoundFormat {
    /// A wav or an mp3 file, told apart by how it begins.
    File,
    /// A wav file, whose length need not be known.
    Wav,
    /// An mp3 file or a part of one.
    Mp3,
    /// Samples of 16 bits, mono, the low byte first.
    Linear16,
    /// Samples of 32 bits, mono, the low byte first.
    Linear32,
    /// G.711 mu-law, mono.
    Mulaw,
    /// G.711 A-law, mono.
    Alaw,
}

impl SoundFormat {
    /// The format of a name as in `linear16`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "file" => Self::File,
            "wav" => Self::Wav,
            "mp3" => Self::Mp3,
            "linear16" => Self::Linear16,
            "linear32" => Self::Linear32,
            "mulaw" => Self::Mulaw,
            "alaw" => Self::Alaw,
            _ => return None,
        })
    }
}

/// Decodes and resamples sound that comes in any pieces. Holds less than a frame of what it was given.
#[derive(Debug)]
pub struct SoundDecoder {
    source: Source,
    to_hz: u32,
    mix: bool,
    /// One for each channel that is given out; none before the rate is known.
    lanes: Vec<Lane>,
}

enum Source {
    /// The first bytes of a file.
    Unknown(Vec<u8>),
    Wav(WavHead),
    Samples(Samples),
    Mp3(Box<Mp3Pieces>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown(_) => "Unknown",
            Self::Wav(_) => "Wav",
            Self::Samples(_) => "Samples",
            Self::Mp3(_) => "Mp3",
        })
    }
}

impl SoundDecoder {
    /// A decoder that gives out samples at `to_hz`.
    ///
    /// `sample_rate_hz` is that of bare samples; files tell theirs. With `mix` all channels become one.
    ///
    /// # Errors
    /// When bare samples come at a rate that cannot be changed to `to_hz`.
    pub fn new(format: SoundFormat, sample_rate_hz: u32, to_hz: u32, mix: bool) -> Result<Self, SoundError> {
        let bare = |kind| Source::Samples(Samples { kind, channels: 1, left: None, waiting: Vec::new() });
        let source = match format {
            SoundFormat::File => Source::Unknown(Vec::new()),
            SoundFormat::Wav => Source::Wav(WavHead::default()),
            SoundFormat::Mp3 => Source::Mp3(Box::new(Mp3Pieces::new())),
            SoundFormat::Linear16 => bare(Kind::Signed(2)),
            SoundFormat::Linear32 => bare(Kind::Signed(4)),
            SoundFormat::Mulaw => bare(Kind::G711(Codec::Pcmu)),
            SoundFormat::Alaw => bare(Kind::G711(Codec::Pcma)),
        };
        let mut decoder = Self { source, to_hz, mix, lanes: Vec::new() };
        if matches!(decoder.source, Source::Samples(_)) {
            decoder.open_lanes(sample_rate_hz, 1)?;
        }
        Ok(decoder)
    }

    /// Samples per second of what comes in, once that is known.
    pub fn sample_rate_hz(&self) -> Option<u32> {
        self.lanes.first().map(|lane| lane.from_hz)
    }

    /// The samples that `data` completes, for each channel; no channel before their number is known.
    ///
    /// # Errors
    /// When it is not what it should be. Nothing sensible follows an error.
    pub fn push(&mut self, data: &[u8]) -> Result<Vec<Vec<i16>>, SoundError> {
        let begun;
        let data = if let Source::Unknown(head) = &mut self.source {
            head.extend_from_slice(data);
            if head.len() < 4 {
                return Ok(Vec::new());
            }
            begun = std::mem::take(head);
            let wav = begun.starts_with(b"RIFF");
            self.source =
                if wav { Source::Wav(WavHead::default()) } else { Source::Mp3(Box::new(Mp3Pieces::new())) };
            &begun
        } else {
            data
        };
        self.push_known(data)
    }

    /// The samples that waited for more, once nothing more will come.
    ///
    /// # Errors
    /// When a file ended before its audio began.
    pub fn finish(&mut self) -> Result<Vec<Vec<i16>>, SoundError> {
        let mut found = match &mut self.source {
            Source::Unknown(_) => return Err(SoundError::Unknown),
            Source::Wav(_) => return Err(SoundError::Damaged),
            Source::Samples(_) => Vec::new(),
            Source::Mp3(mp3) => {
                let mut pcm = Vec::new();
                mp3.finish(&mut pcm)?;
                let rate_hz = mp3.sample_rate_hz().ok_or(SoundError::Unknown)?;
                self.open_lanes(rate_hz, 1)?;
                vec![pcm]
            }
        };
        found.resize(self.lanes.len(), Vec::new());
        let finished = |(lane, pcm): (&mut Lane, Vec<i16>)| {
            let mut out = lane.process(pcm);
            lane.resampler.finish(&mut out);
            out
        };
        Ok(self.lanes.iter_mut().zip(found).map(finished).collect())
    }

    fn push_known(&mut self, data: &[u8]) -> Result<Vec<Vec<i16>>, SoundError> {
        let found = match &mut self.source {
            Source::Unknown(_) => return Ok(Vec::new()),
            Source::Wav(head) => {
                let Some((format, left, rest)) = head.push(data)? else { return Ok(Vec::new()) };
                let channels = usize::from(format.channels);
                self.source =
                    Source::Samples(Samples { kind: format.kind, channels, left, waiting: Vec::new() });
                self.open_lanes(format.sample_rate_hz, if self.mix { 1 } else { channels })?;
                return self.push_known(&rest);
            }
            Source::Samples(samples) => samples.push(data, self.mix),
            Source::Mp3(mp3) => {
                let mut pcm = Vec::new();
                mp3.push(data, &mut pcm)?;
                let Some(rate_hz) = mp3.sample_rate_hz() else { return Ok(Vec::new()) };
                self.open_lanes(rate_hz, 1)?;
                vec![pcm]
            }
        };
        Ok(self.lanes.iter_mut().zip(found).map(|(lane, pcm)| lane.process(pcm)).collect())
    }

    fn open_lanes(&mut self, rate_hz: u32, channels: usize) -> Result<(), SoundError> {
        if self.lanes.is_empty() {
            let lane = Lane::new(rate_hz, self.to_hz).ok_or(SoundError::Rate(rate_hz))?;
            self.lanes = vec![lane; channels];
        }
        Ok(())
    }
}

/// Changes the rate of one channel.
#[derive(Clone, Debug)]
struct Lane {
    from_hz: u32,
    /// For each halving of the rate the sample that waits for its neighbour.
    halvings: Vec<Option<i16>>,
    resampler: Resampler,
}

impl Lane {
    fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let (mut rate_hz, mut halvings) = (from_hz, Vec::new());
        while rate_hz > RATE_HZ_MAX && rate_hz.is_multiple_of(2) {
            rate_hz /= 2;
            halvings.push(None);
        }
        (halvings.len() <= 2).then_some(())?;
        Some(Self { from_hz, halvings, resampler: Resampler::new(rate_hz, to_hz)? })
    }

    fn process(&mut self, mut pcm: Vec<i16>) -> Vec<i16> {
        for waiting in &mut self.halvings {
            let all: Vec<i16> = waiting.take().into_iter().chain(pcm).collect();
            let (pairs, rest) = all.as_chunks::<2>();
            *waiting = rest.first().copied();
            pcm = pairs.iter().map(|[one, other]| one.midpoint(*other)).collect();
        }
        let mut out = Vec::new();
        self.resampler.process(&pcm, &mut out);
        out
    }
}

/// Samples of one kind, one of each channel after the other.
#[derive(Debug)]
struct Samples {
    kind: Kind,
    channels: usize,
    /// Bytes that are still audio; no bound where nobody knows.
    left: Option<u64>,
    /// Bytes of a frame that is not whole yet.
    waiting: Vec<u8>,
}

impl Samples {
    fn push(&mut self, data: &[u8], mix: bool) -> Vec<Vec<i16>> {
        let taken =
            self.left.map_or(data.len(), |left| data.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        if let Some(left) = &mut self.left {
            *left -= taken as u64;
        }
        self.waiting.extend_from_slice(data.get(..taken).unwrap_or_default());
        let bytes = self.kind.bytes();
        let whole = self.waiting.len() - self.waiting.len() % (bytes * self.channels);
        let samples = self.waiting.get(..whole).unwrap_or_default().chunks_exact(bytes);
        let samples: Vec<i16> = samples.map(|sample| self.kind.sample(sample)).collect();
        self.waiting.drain(..whole);
        if self.channels == 1 {
            return vec![samples];
        }
        let frames = samples.chunks_exact(self.channels);
        if mix {
            let channels = i32::try_from(self.channels).unwrap_or(1);
            let mixed = |frame: &[i16]| {
                let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
                i16::try_from(sum / channels).unwrap_or(0)
            };
            return vec![frames.map(mixed).collect()];
        }
        (0..self.channels)
            .map(|channel| frames.clone().filter_map(|frame| frame.get(channel).copied()).collect())
            .collect()
    }
}

/// The beginning of a wav file, up to its first sample.
#[derive(Debug, Default)]
struct WavHead {
    waiting: Vec<u8>,
    /// Bytes of a chunk that are of no interest.
    skip: u64,
    begun: bool,
    format: Option<Format>,
}

impl WavHead {
    /// Take bytes; once the data begin, the format, their length if it is known, and what came of them.
    #[expect(clippy::type_complexity, reason = "used in one place")]
    fn push(&mut self, data: &[u8]) -> Result<Option<(Format, Option<u64>, Vec<u8>)>, SoundError> {
        self.waiting.extend_from_slice(data);
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.waiting.len());
            self.waiting.drain(..skipped);
            self.skip -= skipped as u64;
            if self.skip > 0 {
                return Ok(None);
            }
            if !self.begun {
                let Some(start) = self.waiting.first_chunk::<12>() else { return Ok(None) };
                if !start.starts_with(b"RIFF") || !start.ends_with(b"WAVE") {
                    return Err(SoundError::Unknown);
                }
                (self.begun, self.skip) = (true, 12);
                continue;
            }
            let Some(&[a, b, c, d, s0, s1, s2, s3]) = self.waiting.first_chunk::<8>() else {
                return Ok(None);
            };
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            match &[a, b, c, d] {
                b"data" => {
                    let format = self.format.ok_or(SoundError::Damaged)?;
                    let left = (!UNMEASURED.contains(&size)).then_some(u64::from(size));
                    return Ok(Some((format, left, self.waiting.split_off(8))));
                }
                b"fmt " => {
                    let wanted = FORMAT_BYTES.min(usize::try_from(size).unwrap_or(usize::MAX));
                    let Some(content) = self.waiting.get(8..8 + wanted) else { return Ok(None) };
                    self.format = Some(Format::read(content)?);
                }
                _ => {}
            }
            self.skip = 8 + u64::from(size) + u64::from(size % 2);
        }
    }
}

#[cfg(test)]
mod tests;
