//! Messages from server to client (RFC 6455 section 5): bytes in, messages out, everything bounded.

/// Something whole that the server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message, fragments joined.
    Text(String),
    /// A binary message, fragments joined.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same bytes.
    Ping(Vec<u8>),
    /// The answer to a ping of ours.
    Pong,
    /// The peer ends the connection; `None` when it gave no status (seen as 1005).
    Close(Option<u16>),
}

/// The peer broke the protocol; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WsError {
    /// Reserved bits, a mask, an unknown opcode, a wrong continuation.
    #[error("the app sent a frame that RFC 6455 does not allow")]
    Protocol,
    /// Text that is not UTF-8.
    #[error("the app sent text that is not UTF-8")]
    NotUtf8,
    /// More than the bound given to the decoder.
    #[error("the app sent a message that is too big")]
    TooBig,
}

impl WsError {
    /// The status code that tells the peer (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooBig => 1009,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    Text,
    Binary,
}

struct Head {
    fin: bool,
    opcode: u8,
    bytes: usize,
    payload_bytes: usize,
}

/// Joins bytes to frames and frames to messages.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    waiting: Vec<u8>,
    read: usize,
    message: Vec<u8>,
    kind: Option<DataKind>,
}

/// A buffer grown beyond this by one big message is given back when it is empty.
const KEEP_BYTES: usize = 4_096;

impl Decoder {
    /// A decoder that refuses messages longer than the bound, before it stores them.
    pub const fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, waiting: Vec::new(), read: 0, message: Vec::new(), kind: None }
    }

    /// Add bytes as they came. Call [`Decoder::next_message`] until it has no more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole message, `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the peer breaks the protocol or a bound; the decoder is of no use after that.
    pub fn next_message(&mut self) -> Result<Option<Incoming>, WsError> {
        loop {
            let Some(head) = self.parse_head()? else { return Ok(self.out_of_bytes()) };
            let start = self.read + head.bytes;
            let Some(payload) = self.waiting.get(start..start + head.payload_bytes) else {
                return Ok(self.out_of_bytes());
            };
            self.read = start + head.payload_bytes;
            if head.opcode >= 8 {
                return control(head.opcode, payload).map(Some);
            }
            let kind = match (head.opcode, self.kind) {
                (0, Some(kind)) => kind,
                (1, None) => DataKind::Text,
                (2, None) => DataKind::Binary,
                _ => return Err(WsError::Protocol),
            };
            self.message.extend_from_slice(payload);
            self.kind = Some(kind);
            if head.fin {
                return self.finish(kind).map(Some);
            }
        }
    }

    fn parse_head(&self) -> Result<Option<Head>, WsError> {
        let Some([first, second, rest @ ..]) = self.waiting.get(self.read..) else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
        // No extension was agreed on, and a server never masks (sections 5.1 and 5.2).
        if first & 0x70 != 0 || second & 0x80 != 0 || matches!(opcode, 3..=7 | 11..) {
            return Err(WsError::Protocol);
        }
        let (bytes, payload_bytes) = match second & 0x7F {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            short => (2, u64::from(short)),
        };
        if opcode >= 8 && (!fin || payload_bytes > 125) {
            return Err(WsError::Protocol);
        }
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| WsError::TooBig)?;
        let whole = if opcode >= 8 { 0 } else { self.message.len() };
        if payload_bytes.saturating_add(whole) > self.message_bytes_max {
            return Err(WsError::TooBig);
        }
        Ok(Some(Head { fin, opcode, bytes, payload_bytes }))
    }

    fn finish(&mut self, kind: DataKind) -> Result<Incoming, WsError> {
        self.kind = None;
        let message = std::mem::take(&mut self.message);
        match kind {
            DataKind::Text => String::from_utf8(message).map(Incoming::Text).map_err(|_| WsError::NotUtf8),
            DataKind::Binary => Ok(Incoming::Binary(message)),
        }
    }

    /// Moves a frame that has only begun to the front and lets go of a big buffer.
    fn out_of_bytes(&mut self) -> Option<Incoming> {
        self.waiting.drain(..self.read.min(self.waiting.len()));
        self.read = 0;
        if self.waiting.is_empty() && self.waiting.capacity() > KEEP_BYTES {
            self.waiting = Vec::new();
        }
        None
    }
}

fn control(opcode: u8, payload: &[u8]) -> Result<Incoming, WsError> {
    match (opcode, payload) {
        (8, []) => Ok(Incoming::Close(None)),
        (8, [high, low, ..]) => Ok(Incoming::Close(Some(u16::from_be_bytes([*high, *low])))),
        (9, _) => Ok(Incoming::Ping(payload.to_vec())),
        (10, _) => Ok(Incoming::Pong),
        _ => Err(WsError::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(u8::try_from(short).unwrap()),
            medium @ 126..=65_535 => {
                bytes.push(126);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    fn all(decoder: &mut Decoder) -> Vec<Incoming> {
        std::iter::from_fn(|| decoder.next_message().unwrap()).collect()
    }

    #[test]
    fn messages_arrive_whole_however_the_bytes_are_cut() {
        let big = vec![b'x'; 70_000];
        let mut wire = frame(0x81, b"one");
        wire.extend(frame(0x01, b"tw"));
        wire.extend(frame(0x89, b"ping"));
        wire.extend(frame(0x80, b"o"));
        wire.extend(frame(0x81, &big));
        wire.extend(frame(0x8A, b""));
        wire.extend(frame(0x82, &[0, 1]));
        wire.extend(frame(0x88, &[0x03, 0xE8]));
        let expected = [
            Incoming::Text("one".into()),
            Incoming::Ping(b"ping".to_vec()),
            Incoming::Text("two".into()),
            Incoming::Text(String::from_utf8(big).unwrap()),
            Incoming::Pong,
            Incoming::Binary(vec![0, 1]),
            Incoming::Close(Some(1000)),
        ];
        for size in [1, 2, 3, 7, 1_000, wire.len()] {
            let mut decoder = Decoder::new(100_000);
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                decoder.feed(piece);
                seen.extend(all(&mut decoder));
            }
            assert_eq!(seen, expected, "pieces of {size}");
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for (bytes, error) in [
            (frame(0xC1, b"reserved bit"), WsError::Protocol),
            (frame(0x83, b"opcode"), WsError::Protocol),
            (frame(0x80, b"continues nothing"), WsError::Protocol),
            (frame(0x09, b"fragmented ping"), WsError::Protocol),
            (frame(0x88, b"x"), WsError::Protocol),
            (frame(0x89, &[0; 126]), WsError::Protocol),
            (vec![0x81, 0x80, 0, 0, 0, 0], WsError::Protocol),
            (frame(0x81, &[0xFF]), WsError::NotUtf8),
            (vec![0x81, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0], WsError::TooBig),
        ] {
            let mut decoder = Decoder::new(1_000);
            decoder.feed(&bytes);
            assert_eq!(decoder.next_message(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_remember_more_than_the_bound() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let mut decoder = Decoder::new(300);
            for _ in 0..next() % 8 {
                let mut bytes: Vec<u8> = (0..next() % 40).map(|_| next().to_le_bytes()[3]).collect();
                // Half of the frames begin as real ones do, or nothing but refusals would be seen.
                if next() % 2 == 0
                    && let Some(head) = bytes.first_chunk_mut::<2>()
                {
                    *head = [0x80 | head[0] & 0x0B, head[1] & 0x1F];
                }
                decoder.feed(&bytes);
                while let Ok(Some(message)) = decoder.next_message() {
                    assert!(!matches!(message, Incoming::Text(text) if text.len() > 300));
                }
                assert!(decoder.message.len() <= 300);
            }
        }
    }

    #[test]
    fn fragments_together_obey_the_bound_too() {
        let mut decoder = Decoder::new(10);
        decoder.feed(&frame(0x01, b"123456"));
        decoder.feed(&frame(0x80, b"78901"));
        assert_eq!(decoder.next_message(), Err(WsError::TooBig));
    }
}
