//! RTCP of a leg: reports every five seconds, and what the far end reports (RFC 3550 section 6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_rtp::{NtpTime, ReceiverStats, ReportBlock, RtcpBuilder, RtcpItem, SenderInfo, parse_compound};

use crate::limits::RTCP_INTERVAL;
use crate::seed::Seed;

/// What a sender report needs to know of the transmitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) ssrc: u32,
    pub(crate) packets: u64,
    pub(crate) octets: u64,
    pub(crate) timestamp: u32,
}

/// The RTCP side of a leg.
#[derive(Debug)]
pub(crate) struct Reporter {
    seed: Seed,
    cname: String,
    due: Option<Instant>,
    packets_at_last_report: u64,
    /// Middle of the NTP time of the last SR, and when it came.
    last_sr: Option<(u32, Instant)>,
    /// Where RTCP comes from, once it has.
    pub(crate) source: Option<SocketAddr>,
    buffer: Vec<u8>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) foreign: u64,
    pub(crate) malformed: u64,
    pub(crate) remote_lost: u64,
    pub(crate) remote_jitter: u32,
    pub(crate) rtt_us: u64,
}

impl Reporter {
    pub(crate) fn new(mut seed: Seed) -> Self {
        // Random rather than user@host, so that it tells nothing (RFC 7022).
        let cname = format!("{:016x}", seed.next_u64());
        Self {
            seed,
            cname,
            due: None,
            packets_at_last_report: 0,
            last_sr: None,
            source: None,
            buffer: Vec::new(),
            received: 0,
            sent: 0,
            foreign: 0,
            malformed: 0,
            remote_lost: 0,
            remote_jitter: 0,
            rtt_us: 0,
        }
    }

    pub(crate) fn connect(&mut self, now: Instant) {
        self.source = None;
        if self.due.is_none() {
            self.due = now.checked_add(RTCP_INTERVAL / 2);
        }
    }

    pub(crate) const fn stop(&mut self) {
        self.due = None;
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a report is due; the next one is set between half and one and a half intervals on.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let interval_ms = u64::try_from(RTCP_INTERVAL.as_millis()).unwrap_or(5000);
        let spread = self.seed.next_u64() % (interval_ms + 1);
        self.due = now.checked_add(Duration::from_millis(interval_ms / 2 + spread));
        true
    }

    /// The compound to send now: SR when we have sent since the last one, else RR; SDES; maybe BYE.
    pub(crate) fn build(
        &mut self,
        now: Instant,
        unix_now: Duration,
        sent: Sent,
        rx: &mut ReceiverStats,
        bye: bool,
    ) -> &[u8] {
        let (last_sr, delay) = self.last_sr.map_or((0, 0), |(middle, at)| (middle, units(now, at)));
        let block = rx.report(last_sr, delay);
        let blocks = block.as_slice();
        let builder = RtcpBuilder::new(&mut self.buffer);
        let builder = if sent.packets > self.packets_at_last_report {
            let info = SenderInfo {
                ntp: NtpTime::from_unix(unix_now),
                rtp_timestamp: sent.timestamp,
                packets: low_32(sent.packets),
                octets: low_32(sent.octets),
            };
            builder.sender_report(sent.ssrc, &info, blocks)
        } else {
            builder.receiver_report(sent.ssrc, blocks)
        };
        let builder = builder.cname(sent.ssrc, &self.cname);
        if bye {
            let _ = builder.bye(sent.ssrc);
        }
        self.packets_at_last_report = sent.packets;
        self.sent = self.sent.saturating_add(1);
        &self.buffer
    }

    /// Take a compound from the far end. False when it cannot be read.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        unix_now: Duration,
        our_ssrc: u32,
        datagram: &[u8],
    ) -> bool {
        let Ok(compound) = parse_compound(datagram) else {
            self.malformed = self.malformed.saturating_add(1);
            return false;
        };
        self.received = self.received.saturating_add(1);
        compound.for_each(|item| {
            if let RtcpItem::SenderReport { info, .. } = item {
                self.last_sr = Some((info.ntp.middle(), now));
            }
            for block in item.report_blocks().filter(|block| block.ssrc == our_ssrc) {
                self.take_block(&block, unix_now);
            }
        });
        true
    }

    fn take_block(&mut self, block: &ReportBlock, unix_now: Duration) {
        const ONE_MINUTE: u32 = 60 << 16;
        self.remote_lost = u64::try_from(block.cumulative_lost).unwrap_or(0);
        self.remote_jitter = block.jitter;
        if block.last_sr == 0 {
            return;
        }
        let here = NtpTime::from_unix(unix_now).middle();
        let round_trip = here.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
        // More than that is a report that lies, or one about a time before our clock was set.
        if round_trip < ONE_MINUTE {
            self.rtt_us = u64::from(round_trip) * 1_000_000 / 65_536;
        }
    }
}

/// Time since `at` in 1/65536 s.
fn units(now: Instant, at: Instant) -> u32 {
    let since = now.saturating_duration_since(at).as_micros().saturating_mul(65_536) / 1_000_000;
    u32::try_from(since).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "reports carry the low 32 bits")]
const fn low_32(count: u64) -> u32 {
    count as u32
}
