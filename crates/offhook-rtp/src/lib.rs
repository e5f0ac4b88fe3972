//! RTP, RTCP, telephone-event and STREP as bytes in and values out.
//!
//! Everything here parses what a stranger sent: no input may panic, allocate without bound or be
//! trusted for a length. This crate knows no socket, no clock and nothing of calls.

mod event;
mod ntp;
mod packet;
mod rtcp;
mod seq;
mod stats;
mod strep;

#[doc(hidden)]
pub mod fuzzing;

pub use event::{
    DigitReceived, EventPacket, TelephoneEvent, TelephoneEventReceiver, TelephoneEventSender, digit_of,
    event_of,
};
pub use ntp::NtpTime;
pub use packet::{ParseError, RtpHeader, RtpPacket};
pub use rtcp::{Compound, ReportBlock, RtcpBuilder, RtcpItem, SenderInfo, parse_compound};
pub use seq::SeqNo;
pub use stats::{Arrival, ReceiverStats};
pub use strep::{STREP_LEN, StrepError, StrepHeader};

/// Tells RTCP from RTP on a shared port (RFC 5761 section 4: second byte 192 to 223).
pub const fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

#[cfg(test)]
mod tests {
    #[test]
    fn rtcp_is_told_from_rtp_by_its_second_byte() {
        assert!(super::is_rtcp(&[0x80, 200, 0, 0]));
        assert!(super::is_rtcp(&[0x81, 223]));
        assert!(!super::is_rtcp(&[0x80, 0x80]), "PCMU with marker");
        assert!(!super::is_rtcp(&[0x80, 0xe5]), "telephone-event with marker");
        assert!(!super::is_rtcp(&[0x80]));
    }
}
