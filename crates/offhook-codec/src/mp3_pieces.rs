//! An mp3 stream in pieces, decoded as far as its frames are whole.

use crate::mp3::{Coder, Header, Info, JUNK_BYTES_MAX, id3v2_tag_bytes};
use crate::sound::SoundError;

/// Decodes mp3 as it comes. Holds one frame that is not whole yet, and the header behind it.
pub(crate) struct Mp3Pieces {
    waiting: Vec<u8>,
    /// Bytes of a tag that are still to come.
    tag_left: usize,
    first: Option<Header>,
    coder: Option<Coder>,
    /// Samples that come out first and are none of the audio.
    skip: u64,
    /// Bytes that were no frame, since the last one.
    junk: usize,
}

impl Mp3Pieces {
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::new(), tag_left: 0, first: None, coder: None, skip: 0, junk: 0 }
    }

    /// Samples per second, once the first frame is known.
    pub(crate) fn sample_rate_hz(&self) -> Option<u32> {
        self.first.map(|header| header.sample_rate_hz)
    }

    /// Append the samples of the frames that `data` completes.
    pub(crate) fn push(&mut self, data: &[u8], pcm: &mut Vec<i16>) -> Result<(), SoundError> {
        self.waiting.extend_from_slice(data);
        self.take(pcm, false)
    }

    /// Append what waits for bytes that will not come.
    pub(crate) fn finish(&mut self, pcm: &mut Vec<i16>) -> Result<(), SoundError> {
        self.take(pcm, true)?;
        if self.first.is_none() { Err(SoundError::Unknown) } else { Ok(()) }
    }

    fn take(&mut self, pcm: &mut Vec<i16>, ended: bool) -> Result<(), SoundError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut at = 0;
        while let Some(bytes) = self.step(waiting.get(at..).unwrap_or_default(), pcm, ended) {
            at += bytes;
            if self.junk > JUNK_BYTES_MAX && self.first.is_none() {
                return Err(SoundError::Unknown);
            }
        }
        waiting.drain(..at);
        self.waiting = waiting;
        Ok(())
    }

    /// Use up some bytes; nothing when more must come first.
    fn step(&mut self, rest: &[u8], pcm: &mut Vec<i16>, ended: bool) -> Option<usize> {
        if self.tag_left > 0 {
            let bytes = self.tag_left.min(rest.len());
            self.tag_left -= bytes;
            return (bytes > 0).then_some(bytes);
        }
        if self.first.is_none() && b"ID3".starts_with(rest.get(..3).unwrap_or(rest)) && rest.len() < 10 {
            return None;
        }
        if self.first.is_none()
            && let Some(bytes) = id3v2_tag_bytes(rest)
        {
            self.tag_left = bytes - 10;
            return Some(10);
        }
        if rest.len() < 4 {
            return None;
        }
        let header =
            Header::at(rest, 0).filter(|header| self.first.is_none_or(|first| first.kind == header.kind));
        let Some(header) = header else { return Some(self.pass_over()) };
        // Out of step four bytes may look like a header by chance: another must follow.
        if self.first.is_none() || self.junk > 0 {
            match rest.get(header.bytes..header.bytes + 4) {
                Some(_) if Header::at(rest, header.bytes).is_none_or(|next| next.kind != header.kind) => {
                    return Some(self.pass_over());
                }
                None if !ended => return None,
                _ => {}
            }
        }
        let frame = rest.get(..header.bytes)?;
        self.frame(header, frame, pcm);
        Some(header.bytes)
    }

    fn pass_over(&mut self) -> usize {
        self.junk += 1;
        1
    }

    fn frame(&mut self, header: Header, frame: &[u8], pcm: &mut Vec<i16>) {
        self.junk = 0;
        if self.first.is_none() {
            self.first = Some(header);
            if let Some(info) = Info::read(frame, header) {
                // How much is to be cut off behind depends on an end that nobody knows yet.
                self.skip = info.cut(0).0;
                return;
            }
        }
        if self.coder.as_ref().is_none_or(|coder| coder.channels != header.channels) {
            self.coder = Coder::new(header.channels);
        }
        let from = pcm.len();
        if let Some(coder) = &mut self.coder {
            coder.decode(frame, pcm);
        }
        // A frame that is damaged is silence.
        pcm.resize(from + usize::from(header.samples), 0);
        let skipped = self.skip.min(u64::from(header.samples));
        self.skip -= skipped;
        pcm.drain(from..from + usize::try_from(skipped).unwrap_or(0));
    }
}
