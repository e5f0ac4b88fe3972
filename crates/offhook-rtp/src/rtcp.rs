//! RTCP compound packets: SR, RR, SDES and BYE (RFC 3550 section 6).

use crate::ntp::NtpTime;
use crate::packet::ParseError;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;

/// What a sender says about its own stream (RFC 3550 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock when the report was made.
    pub ntp: NtpTime,
    /// The same moment on the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far.
    pub packets: u32,
    /// Payload bytes sent so far.
    pub octets: u32,
}

/// What a receiver says about one source (RFC 3550 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the last report, of 256.
    pub fraction_lost: u8,
    /// Lost in all; negative when duplicates came. 24 bits on the wire.
    pub cumulative_lost: i32,
    /// Highest sequence number with its wraps above.
    pub highest_seq: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// Middle bits of the NTP time of the last SR; 0 for none.
    pub last_sr: u32,
    /// Time since then in 1/65536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; 24]) -> Self {
        let word = |at: usize| {
            bytes
                .get(at..)
                .and_then(|rest| rest.first_chunk::<4>())
                .map_or(0, |word| u32::from_be_bytes(*word))
        };
        let lost = word(4);
        Self {
            ssrc: word(0),
            fraction_lost: lost.to_be_bytes()[0],
            // Shift up and down again to extend the sign of 24 bits.
            cumulative_lost: (lost << 8).cast_signed() >> 8,
            highest_seq: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let lost = (self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff)
            | (u32::from(self.fraction_lost) << 24);
        for word in [self.ssrc, lost, self.highest_seq, self.jitter, self.last_sr, self.delay_since_last_sr] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpItem<'a> {
    /// SR.
    SenderReport {
        /// Who sends it.
        ssrc: u32,
        /// About its own stream.
        info: SenderInfo,
        /// About streams it receives.
        blocks: &'a [[u8; 24]],
    },
    /// RR.
    ReceiverReport {
        /// Who sends it.
        ssrc: u32,
        /// About streams it receives.
        blocks: &'a [[u8; 24]],
    },
    /// The CNAME of an SDES chunk.
    Cname {
        /// Whose.
        ssrc: u32,
        /// UTF-8 by the RFC, unchecked here.
        cname: &'a [u8],
    },
    /// BYE of one source.
    Bye {
        /// Whose.
        ssrc: u32,
    },
    /// Any other packet type, also a broken SDES: skipped.
    Other {
        /// The packet type.
        packet_type: u8,
    },
}

impl RtcpItem<'_> {
    /// The report blocks of a sender or receiver report.
    pub fn report_blocks(&self) -> impl Iterator<Item = ReportBlock> {
        match self {
            Self::SenderReport { blocks, .. } | Self::ReceiverReport { blocks, .. } => *blocks,
            _ => &[],
        }
        .iter()
        .map(ReportBlock::parse)
    }
}

/// A checked compound; iterate to read it.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// Check the outline of a compound packet (RFC 3550 A.2): version 2 and a right length everywhere,
/// at least one packet. Reduced-size RTCP (RFC 5506) is accepted.
pub fn parse_compound(datagram: &[u8]) -> Result<Compound<'_>, ParseError> {
    let mut rest = datagram;
    if rest.is_empty() {
        return Err(ParseError::Truncated);
    }
    while !rest.is_empty() {
        let (packet, after) = split_packet(rest)?;
        let [flags, packet_type, ..] = *packet else { return Err(ParseError::Truncated) };
        let needed = match packet_type {
            SENDER_REPORT => 28,
            RECEIVER_REPORT => 8,
            _ => 4,
        };
        let blocks = if needed > 4 { usize::from(flags & 0x1f) * 24 } else { 0 };
        if packet.len() < needed + blocks {
            return Err(ParseError::Truncated);
        }
        rest = after;
    }
    Ok(Compound { rest: datagram })
}

fn split_packet(bytes: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let (head, _) = bytes.split_first_chunk::<4>().ok_or(ParseError::Truncated)?;
    let [flags, packet_type, l0, l1] = *head;
    if flags >> 6 != 2 || !(192..=223).contains(&packet_type) {
        return Err(ParseError::NotRtp);
    }
    let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
    bytes.split_at_checked(length).ok_or(ParseError::Truncated)
}

impl<'a> Compound<'a> {
    /// Give every item to `each`, in order.
    pub fn for_each(self, mut each: impl FnMut(RtcpItem<'a>)) {
        let mut rest = self.rest;
        while let Ok((packet, after)) = split_packet(rest) {
            read_packet(packet, &mut each);
            rest = after;
        }
    }
}

fn read_packet<'a>(packet: &'a [u8], each: &mut impl FnMut(RtcpItem<'a>)) {
    let Some(([flags, packet_type, ..], body)) = packet.split_first_chunk::<4>() else { return };
    let count = usize::from(flags & 0x1f);
    let other = RtcpItem::Other { packet_type: *packet_type };
    match *packet_type {
        SENDER_REPORT => each(read_sender_report(body, count).unwrap_or(other)),
        RECEIVER_REPORT => each(
            body.split_first_chunk::<4>()
                .and_then(|(ssrc, rest)| {
                    Some(RtcpItem::ReceiverReport {
                        ssrc: u32::from_be_bytes(*ssrc),
                        blocks: read_blocks(rest, count)?,
                    })
                })
                .unwrap_or(other),
        ),
        SOURCE_DESCRIPTION => read_descriptions(body, count, each),
        GOODBYE => {
            for ssrc in body.as_chunks::<4>().0.iter().take(count) {
                each(RtcpItem::Bye { ssrc: u32::from_be_bytes(*ssrc) });
            }
        }
        _ => each(other),
    }
}

fn read_sender_report(body: &[u8], count: usize) -> Option<RtcpItem<'_>> {
    let (ssrc, rest) = body.split_first_chunk::<4>()?;
    let (ntp, rest) = rest.split_first_chunk::<8>()?;
    let (rtp_timestamp, rest) = rest.split_first_chunk::<4>()?;
    let (packets, rest) = rest.split_first_chunk::<4>()?;
    let (octets, rest) = rest.split_first_chunk::<4>()?;
    Some(RtcpItem::SenderReport {
        ssrc: u32::from_be_bytes(*ssrc),
        info: SenderInfo {
            ntp: NtpTime(u64::from_be_bytes(*ntp)),
            rtp_timestamp: u32::from_be_bytes(*rtp_timestamp),
            packets: u32::from_be_bytes(*packets),
            octets: u32::from_be_bytes(*octets),
        },
        blocks: read_blocks(rest, count)?,
    })
}

fn read_blocks(bytes: &[u8], count: usize) -> Option<&[[u8; 24]]> {
    bytes.as_chunks::<24>().0.get(..count)
}

fn read_descriptions<'a>(body: &'a [u8], count: usize, each: &mut impl FnMut(RtcpItem<'a>)) {
    let mut rest = body;
    for _ in 0..count {
        let Some((ssrc, mut items)) = rest.split_first_chunk::<4>() else { return };
        // Items until a zero, then zeros up to the next 32-bit boundary (RFC 3550 6.5).
        while let [kind, length, after @ ..] = items {
            if *kind == 0 {
                break;
            }
            let Some((text, after)) = after.split_at_checked(usize::from(*length)) else { return };
            if *kind == CNAME {
                each(RtcpItem::Cname { ssrc: u32::from_be_bytes(*ssrc), cname: text });
            }
            items = after;
        }
        let used = body.len().saturating_sub(items.len()).saturating_add(1).next_multiple_of(4);
        let Some(next) = body.get(used..) else { return };
        rest = next;
    }
}

/// Writes a compound packet. Begin with a report, as RFC 3550 6.1 demands.
#[derive(Debug)]
pub struct RtcpBuilder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> RtcpBuilder<'a> {
    /// Replace the content of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        Self { out }
    }

    /// Add an SR with up to 31 blocks; more are left out.
    #[must_use]
    pub fn sender_report(mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> Self {
        let blocks = blocks.get(..31).unwrap_or(blocks);
        self.header(SENDER_REPORT, blocks.len(), 6 + 6 * blocks.len());
        self.out.extend_from_slice(&ssrc.to_be_bytes());
        self.out.extend_from_slice(&info.ntp.0.to_be_bytes());
        for word in [info.rtp_timestamp, info.packets, info.octets] {
            self.out.extend_from_slice(&word.to_be_bytes());
        }
        self.blocks(blocks)
    }

    /// Add an RR with up to 31 blocks; more are left out.
    #[must_use]
    pub fn receiver_report(mut self, ssrc: u32, blocks: &[ReportBlock]) -> Self {
        let blocks = blocks.get(..31).unwrap_or(blocks);
        self.header(RECEIVER_REPORT, blocks.len(), 1 + 6 * blocks.len());
        self.out.extend_from_slice(&ssrc.to_be_bytes());
        self.blocks(blocks)
    }

    /// Add an SDES with a CNAME; at most 255 bytes of it.
    #[must_use]
    pub fn cname(mut self, ssrc: u32, cname: &str) -> Self {
        let text = cname.as_bytes().get(..255).unwrap_or(cname.as_bytes());
        // Kind, length, text, and at least one zero that ends the items.
        let item_bytes = (2 + text.len() + 1).next_multiple_of(4);
        self.header(SOURCE_DESCRIPTION, 1, 1 + item_bytes / 4);
        self.out.extend_from_slice(&ssrc.to_be_bytes());
        let end = self.out.len() + item_bytes;
        self.out.push(CNAME);
        self.out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.out.extend_from_slice(text);
        self.out.resize(end, 0);
        self
    }

    /// Add a BYE.
    #[must_use]
    pub fn bye(mut self, ssrc: u32) -> Self {
        self.header(GOODBYE, 1, 1);
        self.out.extend_from_slice(&ssrc.to_be_bytes());
        self
    }

    fn header(&mut self, packet_type: u8, count: usize, body_words: usize) {
        self.out.extend_from_slice(&[0x80 | u8::try_from(count).unwrap_or(31), packet_type]);
        self.out.extend_from_slice(&u16::try_from(body_words).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn blocks(self, blocks: &[ReportBlock]) -> Self {
        for block in blocks {
            block.write(self.out);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info() -> SenderInfo {
        SenderInfo { ntp: NtpTime(0x0102_0304_0506_0708), rtp_timestamp: 9, packets: 10, octets: 1600 }
    }

    fn block() -> ReportBlock {
        ReportBlock {
            ssrc: 77,
            fraction_lost: 12,
            cumulative_lost: -3,
            highest_seq: 0x0001_0002,
            jitter: 15,
            last_sr: 16,
            delay_since_last_sr: 17,
        }
    }

    fn items(datagram: &[u8]) -> Vec<RtcpItem<'_>> {
        let mut items = Vec::new();
        parse_compound(datagram).unwrap().for_each(|item| items.push(item));
        items
    }

    #[test]
    fn a_compound_is_read_back() {
        let mut out = Vec::new();
        let _ = RtcpBuilder::new(&mut out).sender_report(5, &info(), &[block()]).cname(5, "abc@x").bye(5);
        assert_eq!(out.len() % 4, 0);
        let items = items(&out);
        assert!(matches!(items[0], RtcpItem::SenderReport { ssrc: 5, info: read, .. } if read == info()));
        assert_eq!(items[0].report_blocks().collect::<Vec<_>>(), [block()]);
        assert_eq!(items[1], RtcpItem::Cname { ssrc: 5, cname: b"abc@x" });
        assert_eq!(items[2], RtcpItem::Bye { ssrc: 5 });
        assert_eq!(items.len(), 3);
    }

    #[test]
    fn the_wire_layout_is_that_of_rfc_3550() {
        let mut out = Vec::new();
        let _ = RtcpBuilder::new(&mut out).receiver_report(0x0a0b_0c0d, &[block()]);
        assert_eq!(out[..8], [0x81, 201, 0, 7, 0x0a, 0x0b, 0x0c, 0x0d]);
        assert_eq!(out[12..16], [12, 0xff, 0xff, 0xfd], "fraction lost, then 24 bits with a sign");
        assert_eq!(out.len(), 32);
    }

    #[test]
    fn every_length_of_cname_ends_with_a_zero_on_a_boundary() {
        for length in 0..=300 {
            let mut out = Vec::new();
            let name = "n".repeat(length);
            let _ = RtcpBuilder::new(&mut out).receiver_report(1, &[]).cname(2, &name).bye(3);
            let items = items(&out);
            let expected = name.as_bytes().get(..255).unwrap_or(name.as_bytes());
            assert_eq!(items[1], RtcpItem::Cname { ssrc: 2, cname: expected });
            assert_eq!(items[2], RtcpItem::Bye { ssrc: 3 });
        }
    }

    #[test]
    fn two_chunks_of_one_description_are_both_read() {
        let body = [
            &1_u32.to_be_bytes()[..],
            &[1, 2, b'a', b'b', 0, 0, 0, 0],
            &2_u32.to_be_bytes(),
            &[1, 1, b'c', 0],
        ];
        let datagram = [&[0x82, 202, 0, 5][..], &body.concat()].concat();
        let read = items(&datagram);
        assert_eq!(
            read,
            [RtcpItem::Cname { ssrc: 1, cname: b"ab" }, RtcpItem::Cname { ssrc: 2, cname: b"c" }]
        );
    }

    #[test]
    fn lengths_and_counts_that_lie_are_refused() {
        assert_eq!(parse_compound(&[]).unwrap_err(), ParseError::Truncated);
        assert_eq!(parse_compound(&[0x80, 200, 0]).unwrap_err(), ParseError::Truncated);
        assert_eq!(parse_compound(&[0x00, 200, 0, 0]).unwrap_err(), ParseError::NotRtp);
        assert_eq!(parse_compound(&[0x80, 100, 0, 0]).unwrap_err(), ParseError::NotRtp);
        assert_eq!(parse_compound(&[0x80, 201, 0, 5, 0, 0, 0, 0]).unwrap_err(), ParseError::Truncated);
        assert_eq!(parse_compound(&[0x81, 201, 0, 1, 0, 0, 0, 0]).unwrap_err(), ParseError::Truncated);
        assert_eq!(parse_compound(&[0x80, 200, 0, 1, 0, 0, 0, 0]).unwrap_err(), ParseError::Truncated);
    }

    #[test]
    fn unknown_packet_types_are_stepped_over() {
        let mut out = Vec::new();
        let _ = RtcpBuilder::new(&mut out).receiver_report(1, &[]).bye(2);
        let datagram = [&out[..8], &[0x80, 204, 0, 1, 1, 2, 3, 4], &out[8..]].concat();
        assert_eq!(items(&datagram)[1], RtcpItem::Other { packet_type: 204 });
        assert_eq!(items(&datagram)[2], RtcpItem::Bye { ssrc: 2 });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut datagram: Vec<u8>, packet_type in 200u8..206) {
            if let [first, second, ..] = &mut datagram[..] {
                *first = (*first & 0x1f) | 0x80;
                *second = packet_type;
            }
            if let Ok(compound) = parse_compound(&datagram) {
                compound.for_each(|item| { item.report_blocks().count(); });
            }
        }

        #[test]
        fn descriptions_of_any_bytes_do_not_panic(mut body in proptest::collection::vec(any::<u8>(), 0..64), count in 0u8..32) {
            body.resize(body.len().next_multiple_of(4), 0);
            let words = u8::try_from(body.len() / 4).unwrap();
            let datagram = [&[0x80 | count, 202, 0, words][..], &body].concat();
            parse_compound(&datagram).unwrap().for_each(|_| ());
        }
    }
}
