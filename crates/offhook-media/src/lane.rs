//! One track on its way into a stream: from the leg's format to frames in the stream's.
//!
//! What is the same in both goes through untouched, cut anew where that can be done without decoding;
//! everything else is taken as samples, resampled and encoded.

use std::sync::OnceLock;

use offhook_codec::{AmrWbPayload, Encoder, Format, opus_dtx};

use crate::clock::{Position, tick_of, ticks, to_ms, wide};
use crate::framer::Framer;
use crate::limits::GAP_FILL_MS_MAX;
use crate::piece::{Pcm, Piece};
use crate::rate::Rate;

/// One frame of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackFrame<'a> {
    /// Where its first sample is.
    pub(crate) at: Position,
    /// How long it is.
    pub(crate) ticks: u64,
    pub(crate) payload: &'a [u8],
}

/// Frames one track in one format.
#[derive(Debug)]
pub(crate) struct Lane {
    format: Format,
    frame_ms: u32,
    fill_gaps: bool,
    /// The format of the leg that `path` was chosen for.
    from: Option<Format>,
    path: Path,
    coder: Coder,
    filled: u64,
    /// Where an earlier path has ended.
    end: Option<Position>,
}

/// How audio goes from one format to the other.
#[derive(Debug)]
enum Path {
    /// Nothing has come yet.
    Closed,
    /// The same codec, in which a byte always lasts equally long.
    Bytes(Framer<u8>),
    /// The same codec, one payload a frame.
    Payloads(Payloads),
    /// By way of samples.
    Samples(Framer<i16>),
}

/// Whether payloads of one format serve as those of the other.
pub(crate) fn passes(leg: Format, stream: Format) -> bool {
    match (leg, stream) {
        (Format::G711(one), Format::G711(other)) => one == other,
        (Format::G722, Format::G722)
        | (Format::Opus { .. }, Format::Opus { .. })
        | (Format::AmrWb { .. }, Format::AmrWb { .. }) => true,
        // L16 has another byte order on the other side, and loses nothing by way of samples.
        _ => false,
    }
}

impl Lane {
    pub(crate) fn new(format: Format, frame_ms: u32, fill_gaps: bool) -> Self {
        Self {
            format,
            frame_ms,
            fill_gaps,
            from: None,
            path: Path::Closed,
            coder: Coder::new(format, frame_ms),
            filled: 0,
            end: None,
        }
    }

    /// Silence and made-up audio put in for what was lost.
    pub(crate) const fn filled_ms(&self) -> u64 {
        let here = match &self.path {
            Path::Bytes(framer) => framer.filled_ms,
            Path::Samples(framer) => framer.filled_ms,
            Path::Closed | Path::Payloads(_) => 0,
        };
        to_ms(self.filled).saturating_add(here)
    }

    /// Frames that could not be encoded.
    pub(crate) const fn failed(&self) -> u64 {
        self.coder.failed
    }

    /// Take a payload of the leg. True when its samples are wanted instead.
    pub(crate) fn piece(&mut self, piece: Piece<'_>, out: &mut impl FnMut(TrackFrame<'_>)) -> bool {
        if self.from != Some(piece.format) {
            self.follow(piece.format, out);
        }
        match &mut self.path {
            Path::Bytes(framer) => {
                let tick = tick_of(piece.format.clock_rate_hz());
                framer.audio(piece.at, piece.payload, &mut |at, frame| out(bytewise(at, tick, frame)));
                false
            }
            Path::Payloads(payloads) => {
                payloads.take(piece, &mut self.filled, out);
                false
            }
            Path::Closed | Path::Samples(_) => true,
        }
    }

    /// Take samples, if `piece` has asked for them.
    pub(crate) fn samples(&mut self, pcm: Pcm<'_>, out: &mut impl FnMut(TrackFrame<'_>)) {
        let Path::Samples(framer) = &mut self.path else { return };
        let coder = &mut self.coder;
        if pcm.made_up {
            if !self.fill_gaps {
                return;
            }
            let length = wide(pcm.samples.len()).saturating_mul(tick_of(pcm.rate_hz));
            self.filled = self.filled.saturating_add(length);
        }
        framer.audio(pcm.at, pcm.samples, &mut |at, frame| coder.encode(at, frame, out));
    }

    /// Give out what is short of a frame, and forget where the track was.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(TrackFrame<'_>)) {
        match &mut self.path {
            Path::Closed => {}
            Path::Bytes(framer) => {
                let tick = tick_of(self.format.clock_rate_hz());
                framer.flush(&mut |at, frame| out(bytewise(at, tick, frame)));
            }
            Path::Payloads(payloads) => payloads.end = None,
            Path::Samples(framer) => {
                let coder = &mut self.coder;
                framer.flush(&mut |at, frame| coder.encode(at, frame, out));
            }
        }
        self.end = None;
    }

    /// The leg has another format from here on.
    fn follow(&mut self, from: Format, out: &mut impl FnMut(TrackFrame<'_>)) {
        let end = match &self.path {
            Path::Closed => self.end,
            Path::Bytes(framer) => framer.end(),
            Path::Payloads(payloads) => payloads.end,
            Path::Samples(framer) => framer.end(),
        };
        self.filled = ticks(self.filled_ms());
        self.flush(out);
        self.from = Some(from);
        self.path = if !passes(from, self.format) {
            let rate_hz = from.sample_rate_hz();
            self.coder.listen(rate_hz);
            Path::Samples(Framer::new(&[0; 160], tick_of(rate_hz), self.frame_ms, self.fill_gaps))
        } else if let Some(silence) = silence(from) {
            let tick = tick_of(from.clock_rate_hz());
            Path::Bytes(Framer::new(silence, tick, self.frame_ms, self.fill_gaps))
        } else {
            Path::Payloads(Payloads::new(self.format, self.fill_gaps))
        };
        match &mut self.path {
            Path::Closed => {}
            Path::Bytes(framer) => framer.go_on(end),
            Path::Payloads(payloads) => payloads.end = end,
            Path::Samples(framer) => framer.go_on(end),
        }
    }
}

/// 20 ms of silence, in a codec whose bytes can be joined as they are.
fn silence(format: Format) -> Option<&'static [u8]> {
    static G722: OnceLock<Vec<u8>> = OnceLock::new();
    match format {
        Format::G711(codec) if codec.silence() == 0xff => Some(&[0xff; 160]),
        Format::G711(_) => Some(&[0xd5; 160]),
        Format::G722 => Some(G722.get_or_init(|| {
            let mut bytes = Vec::new();
            if let Ok(mut encoder) = Encoder::new(Format::G722) {
                let _ = encoder.encode(&[0; 320], &mut bytes);
            }
            bytes
        })),
        Format::Opus { .. } | Format::AmrWb { .. } | Format::L16 { .. } => None,
    }
}

/// Passes payloads on as they are, with payloads that say nothing in place of lost ones.
#[derive(Debug)]
struct Payloads {
    format: Format,
    fill_gaps: bool,
    end: Option<Position>,
    /// First byte of the last payload.
    first: u8,
    scratch: Vec<u8>,
}

impl Payloads {
    const fn new(format: Format, fill_gaps: bool) -> Self {
        Self { format, fill_gaps, end: None, first: 0, scratch: Vec::new() }
    }

    fn take(&mut self, piece: Piece<'_>, filled: &mut u64, out: &mut impl FnMut(TrackFrame<'_>)) {
        let gap = self.end.map_or(0, |end| piece.at.saturating_sub(end));
        if self.fill_gaps && (1..=ticks(GAP_FILL_MS_MAX)).contains(&gap) {
            *filled = filled.saturating_add(gap);
            self.fill(piece.at.saturating_sub(gap), gap, out);
        }
        self.end = Some(piece.at.saturating_add(piece.ticks));
        self.first = piece.payload.first().copied().unwrap_or(0);
        let payload = match (piece.format, self.format) {
            (Format::AmrWb { octet_align: from }, Format::AmrWb { octet_align }) if from != octet_align => {
                self.scratch.clear();
                // What cannot be parsed has no length, and did not come so far.
                if AmrWbPayload::realign(piece.payload, octet_align, &mut self.scratch).is_err() {
                    return;
                }
                &self.scratch
            }
            _ => piece.payload,
        };
        out(TrackFrame { at: piece.at, ticks: piece.ticks, payload });
    }

    fn fill(&mut self, mut at: Position, gap: u64, out: &mut impl FnMut(TrackFrame<'_>)) {
        self.scratch.clear();
        let length = if let Format::AmrWb { octet_align } = self.format {
            AmrWbPayload::no_data(octet_align, &mut self.scratch);
            ticks(20)
        } else {
            let (packet, length) = opus_dtx(self.first);
            self.scratch.extend_from_slice(&packet);
            u64::from(length).saturating_mul(tick_of(self.format.clock_rate_hz()))
        };
        for _ in 0..gap / length.max(1) {
            out(TrackFrame { at, ticks: length, payload: &self.scratch });
            at = at.saturating_add(length);
        }
    }
}

/// Resamples and encodes the frames of one track.
#[derive(Debug)]
struct Coder {
    format: Format,
    frame_ms: u32,
    rate: Option<Rate>,
    encoder: Option<Encoder>,
    /// A frame at the rate of the leg, where it has to be filled up.
    padded: Vec<i16>,
    resampled: Vec<i16>,
    payload: Vec<u8>,
    failed: u64,
}

impl Coder {
    const fn new(format: Format, frame_ms: u32) -> Self {
        Self {
            format,
            frame_ms,
            rate: None,
            encoder: None,
            padded: Vec::new(),
            resampled: Vec::new(),
            payload: Vec::new(),
            failed: 0,
        }
    }

    /// Samples come at this rate from here on.
    fn listen(&mut self, rate_hz: u32) {
        if self.rate.as_ref().is_none_or(|rate| rate.input_hz() != rate_hz) {
            self.rate = Some(Rate::new(rate_hz, self.format.sample_rate_hz()));
        }
        if self.encoder.is_none() {
            self.encoder = Encoder::new(self.format).ok();
        }
    }

    fn encode(&mut self, at: Position, frame: &[i16], out: &mut impl FnMut(TrackFrame<'_>)) {
        let (Some(rate), Some(encoder)) = (&mut self.rate, &mut self.encoder) else {
            self.failed = self.failed.saturating_add(1);
            return;
        };
        let tick = tick_of(rate.input_hz());
        let whole = usize::try_from(ticks(u64::from(self.frame_ms)) / tick).unwrap_or(0);
        let frame = if frame.len() < whole && self.format.payload_bytes(20).is_none() {
            self.padded.clear();
            self.padded.extend_from_slice(frame);
            self.padded.resize(whole, 0);
            &self.padded
        } else {
            frame
        };
        self.payload.clear();
        let done = if rate.is_same() {
            encoder.encode(frame, &mut self.payload)
        } else {
            self.resampled.clear();
            rate.process(frame, &mut self.resampled);
            encoder.encode(&self.resampled, &mut self.payload)
        };
        match done {
            Ok(()) if self.payload.is_empty() => {}
            Ok(()) => {
                let ticks = wide(frame.len()).saturating_mul(tick);
                out(TrackFrame { at, ticks, payload: &self.payload });
            }
            Err(_) => self.failed = self.failed.saturating_add(1),
        }
    }
}

fn bytewise(at: Position, tick: u64, payload: &[u8]) -> TrackFrame<'_> {
    TrackFrame { at, ticks: wide(payload.len()).saturating_mul(tick), payload }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::Hearing;
    use offhook_codec::Codec;

    const TICK: u64 = 882;

    type Frames = Vec<(u64, u64, Vec<u8>)>;

    fn feed(lane: &mut Lane, hearing: &mut Hearing, at: u64, format: Format, payload: &[u8]) -> Frames {
        let mut frames = Vec::new();
        let clock_ticks = u64::from(format.clock_ticks_in(payload).unwrap());
        let ticks = clock_ticks * tick_of(format.clock_rate_hz());
        let piece = Piece { at, ticks, said_before: false, format, payload };
        let mut keep = |frame: TrackFrame<'_>| frames.push((frame.at, frame.ticks, frame.payload.to_vec()));
        if lane.piece(piece, &mut keep) {
            hearing.take(piece, &mut |pcm| lane.samples(pcm, &mut keep));
        }
        frames
    }

    fn all(lane: &mut Lane, payload: &[u8], codec: Codec) -> Frames {
        let mut frames = feed(lane, &mut Hearing::default(), 0, codec.into(), payload);
        lane.flush(&mut |frame| frames.push((frame.at, frame.ticks, frame.payload.to_vec())));
        frames
    }

    fn lane(name: &str, rate: u32) -> Lane {
        Lane::new(Format::from_name(name, Some(rate)).unwrap(), 20, true)
    }

    #[test]
    fn the_other_law_is_transcoded() {
        assert_eq!(
            all(&mut lane("PCMA", 8000), &[0xff; 160], Codec::Pcmu),
            [(0, 160 * TICK, vec![0xd5; 160])]
        );
    }

    #[test]
    fn l16_is_little_endian_at_the_rate_asked_for() {
        let audio = [Codec::Pcmu.encode_sample(0x1234); 200];
        let value = Codec::Pcmu.decode_sample(audio[0]).to_le_bytes();
        let narrow = all(&mut lane("L16", 8000), &audio, Codec::Pcmu);
        assert_eq!(
            narrow.iter().map(|frame| (frame.0, frame.2.len())).collect::<Vec<_>>(),
            [(0, 320), (160 * TICK, 80)]
        );
        assert!(narrow[0].2.chunks(2).all(|pair| pair == value));
        for (rate, bytes) in [(16_000, 640), (22_050, 882), (24_000, 960), (48_000, 1920)] {
            let wide = all(&mut lane("L16", rate), &audio, Codec::Pcmu);
            let lengths: Vec<_> = wide.iter().map(|frame| (frame.1, frame.2.len())).collect();
            assert_eq!(lengths[0], (160 * TICK, bytes), "{rate} Hz");
            assert!((bytes / 4).abs_diff(lengths[1].1) <= 2, "{rate} Hz");
        }
    }

    #[test]
    fn payloads_that_pass_are_not_touched_and_losses_say_nothing_for_as_long() {
        let opus = Format::Opus { sample_rate_hz: 48_000 };
        let hearing = &mut Hearing::default();
        let mut narrow = lane("OPUS", 8000);
        // 20 ms in stereo, and what comes 60 ms later.
        assert_eq!(feed(&mut narrow, hearing, 0, opus, &[0xfc, 1, 2]), [(0, ticks(20), vec![0xfc, 1, 2])]);
        let frames = feed(&mut narrow, hearing, ticks(60), opus, &[0xfc, 3]);
        let silence = vec![0xfc];
        assert_eq!(
            frames,
            [
                (ticks(20), ticks(20), silence.clone()),
                (ticks(40), ticks(20), silence),
                (ticks(60), ticks(20), vec![0xfc, 3])
            ]
        );
        assert_eq!(narrow.filled_ms(), 40);
        let mut aligned = lane("AMR-WB", 16_000);
        let (mut compact, mut turned) = (Vec::new(), Vec::new());
        AmrWbPayload::no_data(false, &mut compact);
        AmrWbPayload::no_data(true, &mut turned);
        let amr = Format::AmrWb { octet_align: false };
        for at in [0, ticks(40)] {
            for frame in feed(&mut aligned, hearing, at, amr, &compact) {
                assert_eq!((frame.1, &frame.2), (ticks(20), &turned));
            }
        }
        assert_eq!(aligned.filled_ms(), 20);
    }

    #[test]
    fn a_change_of_the_legs_format_keeps_the_time() {
        let hearing = &mut Hearing::default();
        let mut lane = lane("PCMU", 8000);
        let l16 = Format::L16 { sample_rate_hz: 16_000, byte_order: offhook_codec::ByteOrder::Big };
        let mut frames = feed(&mut lane, hearing, 0, Codec::Pcmu.into(), &[1; 160]);
        frames.extend(feed(&mut lane, hearing, ticks(40), l16, &[0; 640]));
        frames.extend(feed(&mut lane, hearing, ticks(60), Format::G722, &[0; 160]));
        frames.extend(feed(&mut lane, hearing, ticks(80), Codec::Pcmu.into(), &[2; 160]));
        let times: Vec<_> = frames.iter().map(|frame| (frame.0, frame.1, frame.2.len())).collect();
        assert_eq!(times, [0, 20, 40, 60, 80].map(|ms| (ticks(ms), ticks(20), 160)));
        assert_eq!((frames[0].2[0], frames[1].2[80], frames[4].2[0]), (1, 0xff, 2));
        assert_eq!(lane.filled_ms(), 20);
    }
}
