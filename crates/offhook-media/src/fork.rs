//! A tap that sends the same packets to UDP targets.

use std::net::SocketAddr;

use offhook_rtp::{STREP_LEN, StrepHeader};

use crate::params::{ForkParams, Track};
use crate::sink::Sink;
use crate::stats::{TapKind, TapStats};

#[derive(Debug)]
pub(crate) struct ForkTap {
    rx: Option<Target>,
    tx: Option<Target>,
    scratch: Vec<u8>,
    pub(crate) stats: TapStats,
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    strep: Option<[u8; STREP_LEN]>,
}

impl ForkTap {
    pub(crate) fn new(params: ForkParams) -> Self {
        let target = |address: Option<SocketAddr>, transmitted| {
            address.map(|address| Target {
                address,
                strep: params.strep.map(|strep| {
                    StrepHeader { leg_id: strep.leg_id, b_leg: strep.b_leg, transmitted }.to_bytes()
                }),
            })
        };
        Self {
            rx: target(params.rx, false),
            tx: target(params.tx, true),
            scratch: Vec::new(),
            stats: TapStats { kind: TapKind::Fork, ..TapStats::default() },
        }
    }

    /// Copy one packet as it was on the wire.
    pub(crate) fn packet(&mut self, track: Track, datagram: &[u8], sink: &mut impl Sink) {
        let (target, count) = match track {
            Track::Rx => (&self.rx, &mut self.stats.rx_packets),
            Track::Tx => (&self.tx, &mut self.stats.tx_packets),
        };
        let Some(target) = target else { return };
        *count = count.saturating_add(1);
        if let Some(header) = &target.strep {
            self.scratch.clear();
            self.scratch.extend_from_slice(header);
            self.scratch.extend_from_slice(datagram);
            sink.fork(target.address, &self.scratch);
        } else {
            sink.fork(target.address, datagram);
        }
    }
}
