//! AMR-WB payloads (RFC 4867), and coding them by the system's libraries.
//!
//! Framing needs no library: a payload is taken apart into frames and put together again in
//! either of the two forms. Interleaving, CRCs and several channels are not offered, so they do
//! not come.

use offhook_amrwb as system;
use offhook_amrwb::FRAME_SAMPLES;

use crate::CodecError;

/// Speech bits by frame type: nine modes, then comfort noise (RFC 4867 table 1b, TS 26.201).
const SPEECH_BITS: [usize; 10] = [132, 177, 253, 285, 317, 365, 397, 461, 477, 40];
/// Frame type of a frame lost on its way to the sender.
const SPEECH_LOST: u8 = 14;
/// Frame type of 20 ms in which nothing was sent.
const NO_DATA: u8 = 15;
/// Codec mode request that asks for nothing.
const NO_REQUEST: u8 = 15;
/// Highest mode, 23.85 kbit/s.
const HIGHEST_MODE: u8 = 8;
/// Most frames of one payload: 240 ms.
const FRAMES: usize = 12;

/// 20 ms of AMR-WB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmrWbFrame {
    /// 0 to 8 are speech by mode, 9 is comfort noise, 14 a lost frame, 15 no frame at all.
    pub kind: u8,
    /// False if the frame was damaged on its way to the sender.
    pub good: bool,
    /// The speech bits, the first one highest, filled up with zeros to whole bytes.
    bits: Vec<u8>,
}

impl AmrWbFrame {
    /// The frame of an entry of the storage format (RFC 4867 5.3), if it is whole.
    pub fn from_storage(entry: &[u8]) -> Option<Self> {
        let (&header, bits) = entry.split_first()?;
        let frame = Self { kind: header >> 3 & 15, good: header & 4 != 0, bits: bits.to_vec() };
        (speech_bits(frame.kind)?.div_ceil(8) == frame.bits.len()).then_some(frame)
    }

    /// The frame as an entry of the storage format: files of type `.awb` are made of these.
    pub fn to_storage(&self) -> Vec<u8> {
        let mut entry = Vec::with_capacity(1 + self.bits.len());
        entry.push(self.kind << 3 | u8::from(self.good) << 2);
        entry.extend_from_slice(&self.bits);
        entry
    }
}

const fn speech_bits(kind: u8) -> Option<usize> {
    match kind {
        // The range keeps the index inside.
        #[expect(clippy::indexing_slicing, reason = "within the table by the pattern")]
        0..=9 => Some(SPEECH_BITS[kind as usize]),
        SPEECH_LOST | NO_DATA => Some(0),
        _ => None,
    }
}

/// What one RTP payload of AMR-WB holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmrWbPayload {
    /// The mode the sender would like to get, 0 to 8.
    pub mode_request: Option<u8>,
    /// The frames, oldest first.
    pub frames: Vec<AmrWbFrame>,
}

impl AmrWbPayload {
    /// Take a payload apart. One that is too short, holds no frame, more than 240 ms, or a frame
    /// of a reserved type is refused as a whole (RFC 4867 4.3.2).
    pub fn parse(payload: &[u8], octet_align: bool) -> Result<Self, CodecError> {
        let mut bits = BitReader { bytes: payload, at: 0 };
        let fill = if octet_align { 8 } else { 1 };
        let request = bits.take(4).ok_or(CodecError::BadPayload)?;
        bits.align(fill);
        let mut kinds = Vec::new();
        loop {
            let entry = bits.take(6).ok_or(CodecError::BadPayload)?;
            bits.align(fill);
            kinds.push((entry >> 1 & 15, entry & 1 != 0));
            if entry & 32 == 0 {
                break;
            }
            if kinds.len() == FRAMES {
                return Err(CodecError::BadPayload);
            }
        }
        let frame = |(kind, good): (u8, bool)| {
            let speech = bits.take_bytes(speech_bits(kind)?)?;
            bits.align(fill);
            Some(AmrWbFrame { kind, good, bits: speech })
        };
        let frames = kinds.into_iter().map(frame).collect::<Option<_>>().ok_or(CodecError::BadPayload)?;
        Ok(Self { mode_request: (request <= HIGHEST_MODE).then_some(request), frames })
    }

    /// Append the payload in the form asked for.
    pub fn write(&self, octet_align: bool, payload: &mut Vec<u8>) {
        let mut bits = BitWriter { bytes: payload, free: 0 };
        let fill = if octet_align { 8 } else { 1 };
        bits.put(self.mode_request.unwrap_or(NO_REQUEST), 4);
        bits.align(fill);
        let last = self.frames.len().saturating_sub(1);
        for (at, frame) in self.frames.iter().enumerate() {
            bits.put(u8::from(at < last) << 5 | frame.kind << 1 | u8::from(frame.good), 6);
            bits.align(fill);
        }
        for frame in &self.frames {
            bits.put_bytes(&frame.bits, speech_bits(frame.kind).unwrap_or(0));
            bits.align(fill);
        }
    }

    /// Append a payload that says that 20 ms of nothing were sent.
    pub fn no_data(octet_align: bool, payload: &mut Vec<u8>) {
        let nothing = AmrWbFrame { kind: NO_DATA, good: true, bits: Vec::new() };
        Self { mode_request: None, frames: vec![nothing] }.write(octet_align, payload);
    }

    /// Append `payload` to `out` in the other form, its frames untouched.
    pub fn realign(payload: &[u8], octet_align: bool, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Self::parse(payload, !octet_align)?.write(octet_align, out);
        Ok(())
    }
}

/// Reads bits, the highest of each byte first.
struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    /// The next `count` bits as a number, at most eight.
    fn take(&mut self, count: usize) -> Option<u8> {
        if self.at + count > self.bytes.len() * 8 {
            return None;
        }
        let byte = |at: usize| u16::from(self.bytes.get(at).copied().unwrap_or(0));
        let two = byte(self.at / 8) << 8 | byte(self.at / 8 + 1);
        let [_, low] = (two >> (16 - count - self.at % 8) & ((1 << count) - 1)).to_be_bytes();
        self.at += count;
        Some(low)
    }

    fn take_bytes(&mut self, mut count: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count.div_ceil(8));
        while count > 0 {
            let some = count.min(8);
            bytes.push(self.take(some)? << (8 - some));
            count -= some;
        }
        Some(bytes)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }
}

/// Writes bits, the highest of each byte first.
struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits of the last byte that are still free.
    free: usize,
}

impl BitWriter<'_> {
    /// The lowest `count` bits of `value`, at most eight.
    fn put(&mut self, value: u8, count: usize) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        let [high, low] = (u16::from(value) << (8 + self.free - count)).to_be_bytes();
        if let Some(last) = self.bytes.last_mut() {
            *last |= high;
        }
        if count > self.free {
            self.bytes.push(low);
            self.free += 8;
        }
        self.free -= count;
    }

    fn put_bytes(&mut self, bytes: &[u8], mut count: usize) {
        for byte in bytes {
            let some = count.min(8);
            if some > 0 {
                self.put(byte >> (8 - some), some);
                count -= some;
            }
        }
    }

    fn align(&mut self, to: usize) {
        self.free -= self.free % to;
    }
}

pub(crate) struct Decoder {
    inner: system::Decoder,
    octet_align: bool,
    pub(crate) mode_request: Option<u8>,
}

impl Decoder {
    pub(crate) fn new(octet_align: bool) -> Result<Self, CodecError> {
        let inner = system::Decoder::new().ok_or(CodecError::Unavailable)?;
        Ok(Self { inner, octet_align, mode_request: None })
    }

    pub(crate) fn decode(&mut self, payload: &[u8], pcm: &mut Vec<i16>) -> Result<(), CodecError> {
        let payload = AmrWbPayload::parse(payload, self.octet_align)?;
        self.mode_request = payload.mode_request.or(self.mode_request);
        for frame in &payload.frames {
            pcm.extend(self.inner.decode(&frame.to_storage()));
        }
        Ok(())
    }

    pub(crate) fn conceal(&mut self, count: usize, pcm: &mut Vec<i16>) {
        let from = pcm.len();
        for _ in 0..count.div_ceil(FRAME_SAMPLES) {
            pcm.extend(self.inner.conceal());
        }
        pcm.truncate(from + count);
    }
}

pub(crate) struct Encoder {
    inner: system::Encoder,
    octet_align: bool,
    mode: u8,
}

impl Encoder {
    pub(crate) fn new(octet_align: bool) -> Result<Self, CodecError> {
        // 12.65 kbit/s: the best of the mode-set 0,1,2, which is the commonest.
        const MODE: u8 = 2;
        let inner = system::Encoder::new().ok_or(CodecError::Unavailable)?;
        Ok(Self { inner, octet_align, mode: MODE })
    }

    pub(crate) fn set_mode(&mut self, mode: u8) {
        self.mode = mode.min(HIGHEST_MODE);
    }

    pub(crate) fn encode(&mut self, pcm: &[i16], payload: &mut Vec<u8>) -> Result<(), CodecError> {
        let (frames, rest) = pcm.as_chunks::<FRAME_SAMPLES>();
        if frames.is_empty() || frames.len() > FRAMES || !rest.is_empty() {
            return Err(CodecError::BadFrame);
        }
        let frame = |pcm| {
            let mut entry = Vec::new();
            self.inner.encode(self.mode, pcm, &mut entry);
            AmrWbFrame::from_storage(&entry)
        };
        let frames = frames.iter().map(frame).collect::<Option<_>>().ok_or(CodecError::BadFrame)?;
        AmrWbPayload { mode_request: None, frames }.write(self.octet_align, payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame whose bits count up, so that a shifted one is seen.
    fn frame(kind: u8, good: bool) -> AmrWbFrame {
        let count = speech_bits(kind).unwrap();
        let mut bits: Vec<u8> =
            (1..=count.div_ceil(8)).map(|n| u8::try_from(n * 37 % 251).unwrap()).collect();
        if let (Some(last), 1..) = (bits.last_mut(), count % 8) {
            *last &= 0xff << (8 - count % 8);
        }
        AmrWbFrame { kind, good, bits }
    }

    #[test]
    fn one_frame_looks_as_the_specification_draws_it() {
        // RFC 4867 4.3.5.1 and 4.4.5.1, with AMR-WB's 6.60 kbit/s of 132 bits: 4 + 6 + 132 bits,
        // or 2 + 17 bytes.
        let payload = AmrWbPayload { mode_request: Some(8), frames: vec![frame(0, true)] };
        let (mut compact, mut aligned) = (Vec::new(), Vec::new());
        payload.write(false, &mut compact);
        payload.write(true, &mut aligned);
        assert_eq!((compact.len(), aligned.len()), (18, 19));
        assert_eq!(aligned[..2], [0b1000_0000, 0b0000_0100]);
        assert_eq!(aligned[2..], frame(0, true).bits);
        // The request, no follower, type 0, good; then the speech bits 37, 74 ...
        assert_eq!(compact[..3], [0b1000_0000, 0b0100_1001, 0b0101_0010]);
    }

    #[test]
    fn a_payload_without_a_request_says_fifteen() {
        let mut payload = Vec::new();
        AmrWbPayload::no_data(true, &mut payload);
        assert_eq!(payload, [0xf0, 0x7c]);
        assert_eq!(AmrWbPayload::parse(&payload, true).unwrap().mode_request, None);
    }

    #[test]
    fn what_is_cut_or_reserved_is_refused() {
        for octet_align in [false, true] {
            let mut whole = Vec::new();
            let frames = vec![frame(8, true), frame(9, true), frame(2, false)];
            AmrWbPayload { mode_request: None, frames }.write(octet_align, &mut whole);
            assert!(AmrWbPayload::parse(&whole, octet_align).is_ok());
            for length in 0..whole.len() {
                let refused = AmrWbPayload::parse(&whole[..length], octet_align);
                assert_eq!(refused, Err(CodecError::BadPayload), "{length} bytes");
            }
        }
        for kind in 10..14 {
            assert!(AmrWbPayload::parse(&[0xf0, kind << 3 | 4], true).is_err());
        }
        // Entries that go on for ever.
        assert!(AmrWbPayload::parse(&[0xff; 2000], true).is_err());
        assert!(AmrWbPayload::parse(&[0xfc; 2000], true).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_both_forms(
            mode_request in proptest::option::of(0_u8..9),
            kinds in proptest::collection::vec((prop_oneof![0_u8..10, 14_u8..16], any::<bool>()), 1..=FRAMES),
        ) {
            let frames = kinds.into_iter().map(|(kind, good)| frame(kind, good)).collect();
            let payload = AmrWbPayload { mode_request, frames };
            for octet_align in [false, true] {
                let (mut bytes, mut turned, mut back) = (Vec::new(), Vec::new(), Vec::new());
                payload.write(octet_align, &mut bytes);
                prop_assert_eq!(&AmrWbPayload::parse(&bytes, octet_align).unwrap(), &payload);
                AmrWbPayload::realign(&bytes, !octet_align, &mut turned).unwrap();
                AmrWbPayload::realign(&turned, octet_align, &mut back).unwrap();
                prop_assert_eq!(bytes, back);
            }
        }

        #[test]
        fn no_payload_does_harm(payload in proptest::collection::vec(any::<u8>(), 0..400), octet_align: bool) {
            if let Ok(parsed) = AmrWbPayload::parse(&payload, octet_align) {
                prop_assert!((1..=FRAMES).contains(&parsed.frames.len()));
                let mut again = Vec::new();
                parsed.write(octet_align, &mut again);
                prop_assert_eq!(AmrWbPayload::parse(&again, octet_align), Ok(parsed));
            }
        }
    }
}
