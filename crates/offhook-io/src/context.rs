//! What legs share: with all workers, and with the legs of their own.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offhook_media::RelayQueue;

use crate::connect::Connector;
use crate::counters::Counters;
use crate::events::EventQueue;
use crate::mailbox::Mailbox;
use crate::ports::{PortPool, bind_udp};
use crate::recorder::Recorder;
use crate::ws::MaskSource;

/// What all workers have in common.
pub(crate) struct Shared {
    pub counters: Arc<Counters>,
    pub events: EventQueue,
    pub ports: Mutex<PortPool>,
    pub recorder: Recorder,
}

impl Shared {
    pub(crate) fn pool(&self) -> MutexGuard<'_, PortPool> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all legs of one worker have in common.
pub(crate) struct Context {
    pub epoll: OwnedFd,
    pub shared: Arc<Shared>,
    /// Which worker this is, and the mailboxes of all.
    pub index: usize,
    pub mailboxes: Arc<[Arc<Mailbox>]>,
    pub connector: Connector,
    pub forks: ForkSockets,
    pub masks: MaskSource,
    /// Each outgoing frame is built here.
    pub frame: Vec<u8>,
    /// What the leg at work hands to the one it is bridged to.
    pub relayed: RelayQueue,
}

/// One socket per address family: the copies of all legs of a worker leave through them. They are
/// not connected, so that an unreachable target cannot raise an error here.
pub(crate) struct ForkSockets {
    bind: IpAddr,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl ForkSockets {
    pub(crate) fn new(bind: IpAddr) -> Self {
        Self { bind, v4: None, v6: None }
    }

    pub(crate) fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> std::io::Result<()> {
        let (socket, any): (_, IpAddr) = match to {
            SocketAddr::V4(_) => (&mut self.v4, [0_u8; 4].into()),
            SocketAddr::V6(_) => (&mut self.v6, [0_u16; 8].into()),
        };
        if socket.is_none() {
            let local = if self.bind.is_ipv4() == to.is_ipv4() { self.bind } else { any };
            *socket = Some(bind_udp(SocketAddr::new(local, 0))?);
        }
        socket.as_ref().map_or(Ok(0), |socket| socket.send_to(datagram, to)).map(|_| ())
    }
}

/// Names a descriptor in epoll: the leg's slot, and which of its descriptors.
pub(crate) const fn token(slot: u32, part: u32) -> u64 {
    ((slot as u64) << 32) | part as u64
}

pub(crate) const PART_RTP: u32 = 0;
pub(crate) const PART_RTCP: u32 = 1;
pub(crate) const PART_STREAMS: u32 = 2;
