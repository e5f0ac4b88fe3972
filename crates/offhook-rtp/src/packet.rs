//! RTP packets (RFC 3550 section 5.1).

use crate::seq::SeqNo;

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A length field points past the end.
    #[error("the packet ends too early")]
    Truncated,
    /// Not version 2.
    #[error("not version 2 of RTP")]
    NotRtp,
    /// The padding count is zero or longer than the packet.
    #[error("the padding count is wrong")]
    BadPadding,
}

/// One RTP packet, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// First of a talkspurt, for audio.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Counts packets.
    pub seq: SeqNo,
    /// Counts samples at the clock rate.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Contributing sources, four bytes each.
    pub csrc: &'a [u8],
    /// Profile number and content of a header extension.
    pub extension: Option<(u16, &'a [u8])>,
    /// What is left: the audio.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Read a datagram. Copies nothing.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, rest) = datagram.split_first_chunk::<12>().ok_or(ParseError::Truncated)?;
        let [flags, pt, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if flags >> 6 != 2 {
            return Err(ParseError::NotRtp);
        }
        let csrc_bytes = usize::from(flags & 0x0f) * 4;
        let (csrc, mut payload) = rest.split_at_checked(csrc_bytes).ok_or(ParseError::Truncated)?;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let (head, after) = payload.split_first_chunk::<4>().ok_or(ParseError::Truncated)?;
            let [p0, p1, l0, l1] = *head;
            let bytes = usize::from(u16::from_be_bytes([l0, l1])) * 4;
            let (content, after) = after.split_at_checked(bytes).ok_or(ParseError::Truncated)?;
            extension = Some((u16::from_be_bytes([p0, p1]), content));
            payload = after;
        }
        if flags & 0x20 != 0 {
            let count = usize::from(*payload.last().ok_or(ParseError::BadPadding)?);
            let kept = payload.len().checked_sub(count).ok_or(ParseError::BadPadding)?;
            if count == 0 {
                return Err(ParseError::BadPadding);
            }
            payload = payload.get(..kept).ok_or(ParseError::BadPadding)?;
        }
        Ok(Self {
            marker: pt & 0x80 != 0,
            payload_type: pt & 0x7f,
            seq: SeqNo(u16::from_be_bytes([s0, s1])),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            csrc,
            extension,
            payload,
        })
    }
}

/// The fixed header of a packet that we send: no CSRC, no extension, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// First of a talkspurt.
    pub marker: bool,
    /// 0 to 127; the top bit is ignored.
    pub payload_type: u8,
    /// Counts packets.
    pub seq: SeqNo,
    /// Counts samples at the clock rate.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// The twelve bytes that go in front of the payload.
    pub const fn to_bytes(&self) -> [u8; 12] {
        let [s0, s1] = self.seq.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let marker = if self.marker { 0x80 } else { 0 };
        [0x80, marker | (self.payload_type & 0x7f), s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }

    /// Replace the content of `datagram` by this header; append the payload after it.
    pub fn write(&self, datagram: &mut Vec<u8>) {
        datagram.clear();
        datagram.extend_from_slice(&self.to_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn csrc_extension_and_padding_are_not_audio() {
        let mut datagram = vec![0xb2, 0x80, 0x00, 0x07, 0, 0, 0, 160, 0, 0, 0, 9];
        datagram.extend_from_slice(&[1, 1, 1, 1, 2, 2, 2, 2]);
        datagram.extend_from_slice(&[0xbe, 0xde, 0x00, 0x01, 9, 9, 9, 9]);
        datagram.extend_from_slice(b"audio");
        datagram.extend_from_slice(&[0, 0, 3]);
        let packet = RtpPacket::parse(&datagram).unwrap();
        assert!(packet.marker);
        assert_eq!(packet.seq, SeqNo(7));
        assert_eq!(packet.timestamp, 160);
        assert_eq!(packet.ssrc, 9);
        assert_eq!(packet.csrc, [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(packet.extension, Some((0xbede, &[9, 9, 9, 9][..])));
        assert_eq!(packet.payload, b"audio");
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let header = |flags: u8| vec![flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(RtpPacket::parse(&header(0x40)), Err(ParseError::NotRtp));
        assert_eq!(RtpPacket::parse(&header(0x81)), Err(ParseError::Truncated), "one CSRC promised");
        assert_eq!(RtpPacket::parse(&header(0x90)), Err(ParseError::Truncated), "extension promised");
        assert_eq!(RtpPacket::parse(&header(0xa0)), Err(ParseError::BadPadding), "padding promised");
        assert_eq!(RtpPacket::parse(&[header(0xa0), vec![0]].concat()), Err(ParseError::BadPadding));
        assert_eq!(RtpPacket::parse(&[header(0xa0), vec![1, 3]].concat()), Err(ParseError::BadPadding));
        let extension = [header(0x90), vec![0, 0, 0, 2, 1, 1, 1, 1]].concat();
        assert_eq!(RtpPacket::parse(&extension), Err(ParseError::Truncated));
        assert_eq!(RtpPacket::parse(&header(0x80)[..11]), Err(ParseError::Truncated));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            marker: bool, payload_type in 0u8..128, seq: u16, timestamp: u32, ssrc: u32, payload: Vec<u8>
        ) {
            let header = RtpHeader { marker, payload_type, seq: SeqNo(seq), timestamp, ssrc };
            let mut datagram = vec![1, 2, 3];
            header.write(&mut datagram);
            datagram.extend_from_slice(&payload);
            let packet = RtpPacket::parse(&datagram).unwrap();
            prop_assert_eq!(
                (packet.marker, packet.payload_type, packet.seq.0, packet.timestamp, packet.ssrc),
                (marker, payload_type, seq, timestamp, ssrc)
            );
            prop_assert_eq!(packet.payload, &payload[..]);
            prop_assert!(packet.csrc.is_empty() && packet.extension.is_none());
        }

        #[test]
        fn no_bytes_make_it_panic(datagram: Vec<u8>) {
            if let Ok(packet) = RtpPacket::parse(&datagram) {
                prop_assert!(packet.payload.len() + packet.csrc.len() + 12 <= datagram.len());
            }
        }
    }
}
