//! Bodies of the fuzz targets; a unit test runs them too. They assert round trips, not only survival.

use crate::{
    RtcpBuilder, RtpHeader, RtpPacket, StrepHeader, TelephoneEvent, TelephoneEventReceiver, parse_compound,
};

/// Whatever parses as RTP without extras is written back to the same bytes.
///
/// # Panics
/// When a promise is broken.
pub fn rtp(datagram: &[u8]) {
    let _ = StrepHeader::parse(datagram);
    let Ok(packet) = RtpPacket::parse(datagram) else { return };
    assert!(packet.payload.len() + 12 <= datagram.len());
    let plain = datagram.first() == Some(&0x80);
    if plain {
        let header = RtpHeader {
            marker: packet.marker,
            payload_type: packet.payload_type,
            seq: packet.seq,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
        };
        let mut written = Vec::new();
        header.write(&mut written);
        written.extend_from_slice(packet.payload);
        assert!(written == datagram, "a plain packet survives the round trip");
    }
}

/// Report blocks survive a round trip through the builder.
///
/// # Panics
/// When a promise is broken.
pub fn rtcp(datagram: &[u8]) {
    let Ok(compound) = parse_compound(datagram) else { return };
    compound.for_each(|item| {
        let blocks: Vec<_> = item.report_blocks().collect();
        let mut written = Vec::new();
        let _ = RtcpBuilder::new(&mut written).receiver_report(1, &blocks);
        let mut again = Vec::new();
        if let Ok(compound) = parse_compound(&written) {
            compound.for_each(|item| again.extend(item.report_blocks()));
        }
        assert!(again == blocks, "report blocks survive the round trip");
    });
}

/// A receiver tells at most two digits a packet, and never one without a packet.
///
/// # Panics
/// When a promise is broken.
pub fn telephone_event(bytes: &[u8]) {
    let mut receiver = TelephoneEventReceiver::default();
    let mut packets = 0_usize;
    let mut digits = 0_usize;
    for chunk in bytes.chunks(8) {
        let Some((timestamp, payload)) = chunk.split_first_chunk::<4>() else { break };
        let Some(event) = TelephoneEvent::parse(payload) else { break };
        packets += 1;
        digits += receiver.receive(u32::from_be_bytes(*timestamp), event).iter().flatten().count();
    }
    digits += usize::from(receiver.expire().is_some());
    assert!(digits <= packets, "each digit needs a packet");
}

#[cfg(test)]
mod tests {
    /// Pseudo-random bytes from a fixed seed, with a start that the parsers let through.
    fn corpus(starts: &[&[u8]], each: impl Fn(&[u8])) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_usize {
            let mut bytes = starts[round % starts.len()].to_vec();
            for _ in 0..round % 90 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.push(state.to_le_bytes()[0]);
            }
            each(&bytes);
        }
    }

    #[test]
    fn rtp_holds_over_the_corpus() {
        corpus(
            &[&[], &[0x80], &[0x80, 0, 0, 1], &[0x92, 0x80], &[0xa0, 8], &[0xbf], &[0xc4, 0x18]],
            super::rtp,
        );
    }

    #[test]
    fn rtcp_holds_over_the_corpus() {
        corpus(
            &[
                &[],
                &[0x80, 200, 0, 6],
                &[0x82, 201, 0, 13],
                &[0x81, 201, 0, 7],
                &[0x9f, 202, 0, 9],
                &[0x83, 203, 0, 3],
            ],
            super::rtcp,
        );
    }

    #[test]
    fn telephone_event_holds_over_the_corpus() {
        corpus(&[&[], &[0, 0, 0, 1, 5, 0x8a, 0, 160], &[0, 0, 0, 1, 5, 0x0a]], super::telephone_event);
    }
}
