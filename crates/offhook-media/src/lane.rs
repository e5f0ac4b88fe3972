//! One track on its way into a stream: from the leg's codec to frames in the stream's format.

use offhook_codec::Codec;

use crate::clock::Position;
use crate::format::{Encoding, Rate, StreamFormat};
use crate::framer::Framer;

/// One frame of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackFrame<'a> {
    /// Where its first sample is.
    pub(crate) at: Position,
    /// How long it is, on the same clock.
    pub(crate) samples: u64,
    pub(crate) payload: &'a [u8],
}

/// Frames one track in one format.
#[derive(Debug)]
pub(crate) enum Lane {
    G711 { codec: Codec, framer: Framer<u8>, transcoded: Vec<u8> },
    L16 { framer: Framer<i16>, decoded: Vec<i16>, writer: L16Writer },
}

/// Resamples frames and writes them little-endian.
#[derive(Debug)]
pub(crate) struct L16Writer {
    from_leg: Rate,
    resampled: Vec<i16>,
    bytes: Vec<u8>,
}

impl Lane {
    pub(crate) fn new(format: StreamFormat, frame_ms: u32, fill_gaps: bool) -> Self {
        match format.encoding {
            Encoding::G711(codec) => Self::G711 {
                codec,
                framer: Framer::new(codec.silence(), frame_ms, fill_gaps),
                transcoded: Vec::new(),
            },
            Encoding::L16 => Self::L16 {
                framer: Framer::new(0, frame_ms, fill_gaps),
                decoded: Vec::new(),
                writer: L16Writer {
                    from_leg: Rate::from_leg(format.sample_rate_hz),
                    resampled: Vec::new(),
                    bytes: Vec::new(),
                },
            },
        }
    }

    /// Silence put in for lost audio.
    pub(crate) const fn filled_ms(&self) -> u64 {
        match self {
            Self::G711 { framer, .. } => framer.filled_ms,
            Self::L16 { framer, .. } => framer.filled_ms,
        }
    }

    /// Take audio in the leg's codec whose first sample is at `at`.
    pub(crate) fn audio(
        &mut self,
        at: Position,
        payload: &[u8],
        from: Codec,
        out: &mut impl FnMut(TrackFrame<'_>),
    ) {
        match self {
            Self::G711 { codec, framer, .. } if *codec == from => {
                framer.audio(at, payload, &mut |at, frame| out(bytewise(at, frame)));
            }
            Self::G711 { codec, framer, transcoded } => {
                transcoded.clear();
                from.transcode(*codec, payload, transcoded);
                framer.audio(at, transcoded, &mut |at, frame| out(bytewise(at, frame)));
            }
            Self::L16 { framer, decoded, writer } => {
                decoded.clear();
                from.decode(payload, decoded);
                framer.audio(at, decoded, &mut |at, frame| out(writer.write(at, frame)));
            }
        }
    }

    /// Give out what is short of a frame, and forget where the track was.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(TrackFrame<'_>)) {
        match self {
            Self::G711 { framer, .. } => framer.flush(&mut |at, frame| out(bytewise(at, frame))),
            Self::L16 { framer, writer, .. } => {
                framer.flush(&mut |at, frame| out(writer.write(at, frame)));
            }
        }
    }
}

impl L16Writer {
    fn write(&mut self, at: Position, frame: &[i16]) -> TrackFrame<'_> {
        self.resampled.clear();
        self.from_leg.process(frame, &mut self.resampled);
        self.bytes.clear();
        self.bytes.extend(self.resampled.iter().flat_map(|sample| sample.to_le_bytes()));
        TrackFrame { at, samples: u64::try_from(frame.len()).unwrap_or(0), payload: &self.bytes }
    }
}

fn bytewise(at: Position, payload: &[u8]) -> TrackFrame<'_> {
    TrackFrame { at, samples: u64::try_from(payload.len()).unwrap_or(0), payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(lane: &mut Lane, payload: &[u8], codec: Codec) -> Vec<(u64, u64, Vec<u8>)> {
        let mut frames = Vec::new();
        lane.audio(0, payload, codec, &mut |frame| {
            frames.push((frame.at, frame.samples, frame.payload.to_vec()));
        });
        lane.flush(&mut |frame| frames.push((frame.at, frame.samples, frame.payload.to_vec())));
        frames
    }

    fn lane(name: &str, rate: u32) -> Lane {
        Lane::new(StreamFormat::from_name(name, rate).unwrap(), 20, true)
    }

    #[test]
    fn the_other_law_is_transcoded() {
        assert_eq!(frames(&mut lane("PCMA", 8000), &[0xff; 160], Codec::Pcmu), [(0, 160, vec![0xd5; 160])]);
    }

    #[test]
    fn l16_is_little_endian_at_the_rate_asked_for() {
        let audio = [Codec::Pcmu.encode_sample(0x1234); 200];
        let value = Codec::Pcmu.decode_sample(audio[0]).to_le_bytes();
        let narrow = frames(&mut lane("L16", 8000), &audio, Codec::Pcmu);
        assert_eq!(
            narrow.iter().map(|frame| (frame.0, frame.2.len())).collect::<Vec<_>>(),
            [(0, 320), (160, 80)]
        );
        assert!(narrow[0].2.chunks(2).all(|pair| pair == value));
        for (rate, bytes) in [(16_000, 640), (22_050, 882), (24_000, 960), (48_000, 1920)] {
            let wide = frames(&mut lane("L16", rate), &audio, Codec::Pcmu);
            let lengths: Vec<_> = wide.iter().map(|frame| (frame.1, frame.2.len())).collect();
            assert_eq!(lengths[0], (160, bytes), "{rate} Hz");
            assert!((bytes / 4).abs_diff(lengths[1].1) <= 2, "{rate} Hz");
        }
    }
}
