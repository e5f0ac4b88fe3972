//! The STREP header that tells forked packets apart (contract 5.2).

/// Bytes of a STREP header.
pub const STREP_LEN: usize = 24;

/// Why bytes are not STREP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a STREP version 1 header")]
pub struct StrepError;

/// Which leg and which direction a forked packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrepHeader {
    /// 16 bytes of `call_leg_id`.
    pub leg_id: [u8; 16],
    /// The second leg of its session.
    pub b_leg: bool,
    /// Sent by us; otherwise received.
    pub transmitted: bool,
}

impl StrepHeader {
    /// The header as it goes in front of the RTP packet.
    pub fn to_bytes(self) -> [u8; STREP_LEN] {
        let mut bytes = [0; STREP_LEN];
        let flags = 0xc4 | (u8::from(self.b_leg) << 1) | u8::from(self.transmitted);
        let (head, id) = bytes.split_at_mut(8);
        if let [first, length, ..] = head {
            *first = flags;
            *length = 24;
        }
        id.copy_from_slice(&self.leg_id);
        bytes
    }

    /// Read the header and give back the packet behind it.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), StrepError> {
        let (head, rest) = datagram.split_first_chunk::<8>().ok_or(StrepError)?;
        let [flags, length, ..] = *head;
        if flags & 0xfc != 0xc4 || usize::from(length) < STREP_LEN {
            return Err(StrepError);
        }
        let (leg_id, _) = rest.split_first_chunk::<16>().ok_or(StrepError)?;
        let packet = datagram.get(usize::from(length)..).ok_or(StrepError)?;
        let header = Self { leg_id: *leg_id, b_leg: flags & 2 != 0, transmitted: flags & 1 != 0 };
        Ok((header, packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_where_the_contract_puts_them() {
        let header = StrepHeader { leg_id: *b"0123456789abcdef", b_leg: true, transmitted: true };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..8], [0xc7, 0x18, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&bytes[8..], b"0123456789abcdef");
        let plain = StrepHeader { b_leg: false, transmitted: false, ..header };
        assert_eq!(plain.to_bytes()[0], 0xc4);
    }

    #[test]
    fn a_header_is_read_back_and_a_lie_is_refused() {
        let header = StrepHeader { leg_id: [7; 16], b_leg: false, transmitted: true };
        let datagram = [&header.to_bytes()[..], b"rtp"].concat();
        assert_eq!(StrepHeader::parse(&datagram), Ok((header, &b"rtp"[..])));
        assert_eq!(StrepHeader::parse(&datagram[..23]), Err(StrepError));
        let mut rtp = datagram.clone();
        rtp[0] = 0x80;
        assert_eq!(StrepHeader::parse(&rtp), Err(StrepError));
        let mut short = datagram.clone();
        short[1] = 8;
        assert_eq!(StrepHeader::parse(&short), Err(StrepError));
        let mut long = datagram;
        long[1] = 255;
        assert_eq!(StrepHeader::parse(&long), Err(StrepError));
    }
}
