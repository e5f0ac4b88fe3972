//! Frames from client to server (RFC 6455 section 5.2): always masked, always final.

use rustix::rand::{GetRandomFlags, getrandom};

/// What a frame carries (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// The end, with a code and a reason.
    Close,
    /// Are you there?
    Ping,
    /// Here I am.
    Pong,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

const POOL_BYTES: usize = 4_096;

/// Masking keys that nobody can predict (RFC 6455 section 10.3), fetched a page at a time: one
/// system call for 1,024 frames.
#[derive(Debug)]
pub struct MaskSource {
    pool: Box<[u8; POOL_BYTES]>,
    used: usize,
}

impl MaskSource {
    /// A source that fills itself at first use.
    pub fn new() -> Self {
        Self { pool: Box::new([0; POOL_BYTES]), used: POOL_BYTES }
    }

    /// The next key.
    pub fn next_key(&mut self) -> [u8; 4] {
        if self.used >= POOL_BYTES {
            // The call cannot fail for a valid buffer once the kernel's generator is up; should it
            // be interrupted, the old bytes serve once more rather than stop a call.
            let _ = getrandom(&mut self.pool[..], GetRandomFlags::empty());
            self.used = 0;
        }
        let key = self.pool.get(self.used..).and_then(|rest| rest.first_chunk::<4>());
        self.used += 4;
        key.copied().unwrap_or_default()
    }
}

impl Default for MaskSource {
    fn default() -> Self {
        Self::new()
    }
}

/// Put one masked frame into `out`, which is emptied first and keeps its memory.
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, key: [u8; 4], payload: &[u8]) {
    out.clear();
    out.reserve(payload.len() + 14);
    out.push(0x80 | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 0x7E);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 0x7F);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks::<8>();
    for chunk in chunks {
        out.extend_from_slice(&(u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes());
    }
    out.extend(rest.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Body of a close frame: a status code (RFC 6455 section 7.4) and no reason.
pub const fn close_payload(code: u16) -> [u8; 2] {
    code.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmask(frame: &[u8], header_bytes: usize) -> Vec<u8> {
        let key = &frame[header_bytes..header_bytes + 4];
        frame[header_bytes + 4..].iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn each_length_form_holds_its_payload_masked() {
        let mut out = Vec::new();
        for (size, header_bytes) in [(0, 2), (125, 2), (126, 4), (390, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
            encode_frame(&mut out, Opcode::Text, [1, 2, 3, 4], &payload);
            assert_eq!(out[0], 0x81);
            assert_eq!(out[1] & 0x80, 0x80, "a client masks every frame");
            assert_eq!(out.len(), header_bytes + 4 + size);
            assert_eq!(unmask(&out, header_bytes), payload);
        }
    }

    #[test]
    fn masking_keys_differ() {
        let mut source = MaskSource::new();
        let keys: std::collections::HashSet<_> = (0..3_000).map(|_| source.next_key()).collect();
        assert!(keys.len() > 2_990);
    }
}
