//! Cuts one track's audio into frames of equal length, with its losses filled or jumped over.

use crate::clock::{Position, ticks, to_ms, wide};
use crate::limits::GAP_FILL_MS_MAX;

/// Takes elements (samples, or bytes of a codec that has them) in pieces of any length; gives out
/// frames by the position of their first element.
///
/// A piece that is as long as a frame goes through without a copy.
#[derive(Debug)]
pub(crate) struct Framer<T: 'static> {
    /// A stretch of silence, repeated as needed.
    silence: &'static [T],
    /// Ticks of one element.
    tick: u64,
    frame_len: usize,
    fill_gaps: bool,
    end: Option<Position>,
    partial: Vec<T>,
    partial_at: Position,
    pub(crate) filled_ms: u64,
}

impl<T: Copy> Framer<T> {
    /// Frames of `frame_ms`, out of elements of `tick` ticks each.
    pub(crate) fn new(silence: &'static [T], tick: u64, frame_ms: u32, fill_gaps: bool) -> Self {
        let tick = tick.max(1);
        Self {
            silence,
            tick,
            frame_len: usize::try_from(ticks(u64::from(frame_ms)) / tick).unwrap_or(1).max(1),
            fill_gaps,
            end: None,
            partial: Vec::new(),
            partial_at: 0,
            filled_ms: 0,
        }
    }

    /// Take elements, the first of which is at `at`.
    pub(crate) fn audio(&mut self, at: Position, audio: &[T], out: &mut impl FnMut(Position, &[T])) {
        self.close_gap(at, out);
        self.append(audio, out);
    }

    /// Where the next element belongs, if anything has come.
    pub(crate) const fn end(&self) -> Option<Position> {
        self.end
    }

    /// Take the place of another framer, which has come as far as `end`.
    pub(crate) const fn go_on(&mut self, end: Option<Position>) {
        self.end = end;
    }

    /// Give out what is short of a frame, and forget where the track was.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(Position, &[T])) {
        if !self.partial.is_empty() {
            out(self.partial_at, &self.partial);
            self.partial.clear();
        }
        self.end = None;
    }

    fn close_gap(&mut self, at: Position, out: &mut impl FnMut(Position, &[T])) {
        let gap = self.end.map_or(0, |end| at.saturating_sub(end));
        if gap == 0 {
            self.end.get_or_insert(at);
            return;
        }
        if self.fill_gaps && gap <= ticks(GAP_FILL_MS_MAX) {
            self.filled_ms = self.filled_ms.saturating_add(to_ms(gap));
            self.silence(usize::try_from(gap / self.tick).unwrap_or(0), out);
            return;
        }
        if self.fill_gaps && !self.partial.is_empty() {
            // Frames keep their length; the silence lies within the gap.
            let missing = self.frame_len.saturating_sub(self.partial.len());
            self.silence(missing.min(usize::try_from(gap / self.tick).unwrap_or(missing)), out);
        }
        self.flush(out);
        self.end = Some(at);
    }

    fn silence(&mut self, mut count: usize, out: &mut impl FnMut(Position, &[T])) {
        let silence = self.silence;
        while count > 0 && !silence.is_empty() {
            let block = silence.get(..count).unwrap_or(silence);
            self.append(block, out);
            count -= block.len();
        }
    }

    fn append(&mut self, audio: &[T], out: &mut impl FnMut(Position, &[T])) {
        let mut at = self.end.unwrap_or(0);
        let mut rest = audio;
        if !self.partial.is_empty() {
            let wanted = self.frame_len.saturating_sub(self.partial.len());
            let (taken, after) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
            self.partial.extend_from_slice(taken);
            rest = after;
            at = self.advance(at, taken.len());
            if self.partial.len() >= self.frame_len {
                out(self.partial_at, &self.partial);
                self.partial.clear();
            }
        }
        while let Some((frame, after)) = rest.split_at_checked(self.frame_len) {
            out(at, frame);
            rest = after;
            at = self.advance(at, frame.len());
        }
        if !rest.is_empty() {
            // Only with an empty partial can anything be left here.
            self.partial_at = at;
            self.partial.extend_from_slice(rest);
            at = self.advance(at, rest.len());
        }
        self.end = Some(at);
    }

    fn advance(&self, at: Position, by: usize) -> Position {
        at.saturating_add(wide(by).saturating_mul(self.tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A clock of 8 kHz.
    const TICK: u64 = 882;

    fn framer(frame_ms: u32, fill_gaps: bool) -> Framer<u8> {
        Framer::new(&[0xff; 50], TICK, frame_ms, fill_gaps)
    }

    fn run(under_test: &mut Framer<u8>, pieces: &[(u64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
        let mut frames = Vec::new();
        for (at, payload) in pieces {
            under_test.audio(*at * TICK, payload, &mut |at, bytes| frames.push((at / TICK, bytes.to_vec())));
        }
        under_test.flush(&mut |at, bytes| frames.push((at / TICK, bytes.to_vec())));
        frames
    }

    #[test]
    fn a_short_gap_is_filled_with_silence() {
        let mut under_test = framer(20, true);
        let frames = run(&mut under_test, &[(0, vec![1; 160]), (480, vec![2; 160])]);
        let expected =
            [(0, vec![1; 160]), (160, vec![0xff; 160]), (320, vec![0xff; 160]), (480, vec![2; 160])];
        assert_eq!(frames, expected);
        assert_eq!(under_test.filled_ms, 40);
    }

    #[test]
    fn a_gap_is_a_jump_when_filling_is_off_or_it_is_long() {
        let pieces = [(0, vec![1; 100]), (480, vec![2; 160])];
        let frames = run(&mut framer(20, false), &pieces);
        assert_eq!(frames, [(0, vec![1; 100]), (480, vec![2; 160])]);
        let far = 100 + 8001;
        let frames = run(&mut framer(20, true), &[(0, vec![1; 100]), (far, vec![2; 160])]);
        assert_eq!(frames[0], (0, [vec![1; 100], vec![0xff; 60]].concat()));
        assert_eq!(frames[1], (far, vec![2; 160]));
    }

    proptest! {
        #[test]
        fn frames_joined_are_the_audio_whatever_the_pieces(
            lengths in proptest::collection::vec(1usize..500, 1..30), frame_ms in 20u32..100
        ) {
            let total: usize = lengths.iter().sum();
            let audio: Vec<u8> = (0..total).map(|n| n.to_le_bytes()[0]).collect();
            let mut pieces = Vec::new();
            let mut at = 0;
            for length in lengths {
                pieces.push((5000 + at as u64, audio[at..at + length].to_vec()));
                at += length;
            }
            let frames = run(&mut framer(frame_ms, true), &pieces);
            let mut expected_at = 5000;
            let frame = frame_ms as usize * 8;
            for (n, (at, bytes)) in frames.iter().enumerate() {
                prop_assert_eq!(*at, expected_at);
                prop_assert!(bytes.len() == frame || n + 1 == frames.len());
                expected_at += bytes.len() as u64;
            }
            prop_assert_eq!(frames.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(), audio);
        }
    }
}
