//! The RTP port pool: who owns which UDP port of the range, and which ports still drain.
//!
//! A port is not used again at once after its call: the far end goes on sending for a moment, and
//! the next caller must not hear it. A released socket therefore stays bound, unread but for the
//! sweep, until it was quiet for the drain time. Time is an argument.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::EngineError;
use crate::limits::{DATAGRAM_BYTES_MAX, DRAIN_DATAGRAMS_PER_SWEEP_MAX, DRAIN_MAX, RTP_RECEIVE_BUFFER_BYTES};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    Taken,
    Draining,
}

/// A UDP socket of the pool. Give it back with [`PortPool::release`].
#[derive(Debug)]
pub struct BoundPort {
    /// The local port number.
    pub port: u16,
    /// Bound and non-blocking.
    pub socket: UdpSocket,
}

/// The sockets of one leg: RTCP has its own unless it is multiplexed (RFC 5761).
#[derive(Debug)]
pub struct LegPorts {
    /// The even port, or any port with multiplexing.
    pub rtp: BoundPort,
    /// The odd port above it (RFC 3550 section 11).
    pub rtcp: Option<BoundPort>,
}

struct Draining {
    bound: BoundPort,
    closed_at: Instant,
    quiet_since: Instant,
}

/// All UDP ports of one process.
pub struct PortPool {
    bind: IpAddr,
    min: u16,
    max: u16,
    next: u16,
    uses: Vec<Use>,
    in_use: usize,
    draining: VecDeque<Draining>,
    drain: Duration,
    datagrams_drained: u64,
}

impl PortPool {
    /// A pool over `min..=max` on one local address. Nothing is bound yet.
    ///
    /// # Errors
    /// When the range is empty or begins at port 0.
    pub fn new(bind: IpAddr, min: u16, max: u16, drain: Duration) -> Result<Self, EngineError> {
        if min == 0 || max < min {
            return Err(EngineError::bad(format!("{min}-{max} is not a range of UDP ports")));
        }
        let uses = vec![Use::Free; usize::from(max - min) + 1];
        Ok(Self {
            bind,
            min,
            max,
            next: min,
            uses,
            in_use: 0,
            draining: VecDeque::new(),
            drain,
            datagrams_drained: 0,
        })
    }

    /// Bind the port or ports of one leg, next in turn; the longest draining ones if none is free.
    ///
    /// # Errors
    /// When the range is used up, or the operating system refuses (a foreign address, no descriptors).
    pub fn open(&mut self, rtcp_mux: bool) -> Result<LegPorts, EngineError> {
        let count = u32::from(self.max - self.min) + 1;
        for step in 0..count {
            let offset = (u32::from(self.next - self.min) + step) % count;
            let port = self.min.saturating_add(u16::try_from(offset).unwrap_or(0));
            if let Some(ports) = self.try_open(port, rtcp_mux)? {
                let last = ports.rtcp.as_ref().map_or(port, |rtcp| rtcp.port);
                self.next = if last >= self.max { self.min } else { last + 1 };
                return Ok(ports);
            }
        }
        while let Some(oldest) = self.draining.pop_front() {
            let port = oldest.bound.port;
            drop(oldest);
            self.set(port, Use::Free);
            let base = if rtcp_mux { port } else { port & !1 };
            if let Some(ports) = self.try_open(base, rtcp_mux)? {
                return Ok(ports);
            }
        }
        Err(EngineError::NoPort { min: self.min, max: self.max })
    }

    /// Take a port back. It drains before it is used again.
    pub fn release(&mut self, bound: BoundPort, now: Instant) {
        self.in_use = self.in_use.saturating_sub(1);
        if self.drain.is_zero() {
            self.set(bound.port, Use::Free);
            return;
        }
        self.set(bound.port, Use::Draining);
        self.draining.push_back(Draining { bound, closed_at: now, quiet_since: now });
    }

    /// Throw away what arrived on draining ports and free those that have been quiet long enough.
    pub fn sweep(&mut self, now: Instant) {
        let mut kept = VecDeque::with_capacity(self.draining.len());
        while let Some(mut entry) = self.draining.pop_front() {
            let dropped = throw_away(&entry.bound.socket);
            if dropped > 0 {
                self.datagrams_drained = self.datagrams_drained.saturating_add(dropped);
                entry.quiet_since = now;
            }
            let quiet = now.saturating_duration_since(entry.quiet_since) >= self.drain;
            if quiet || now.saturating_duration_since(entry.closed_at) >= DRAIN_MAX {
                self.set(entry.bound.port, Use::Free);
            } else {
                kept.push_back(entry);
            }
        }
        self.draining = kept;
    }

    /// Ports that belong to a leg now.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Ports that are still bound after their leg has gone.
    pub fn draining(&self) -> usize {
        self.draining.len()
    }

    /// Datagrams that arrived after the end of their call, since the start.
    pub fn datagrams_drained(&self) -> u64 {
        self.datagrams_drained
    }

    fn try_open(&mut self, port: u16, rtcp_mux: bool) -> Result<Option<LegPorts>, EngineError> {
        if !self.is_free(port) {
            return Ok(None);
        }
        if rtcp_mux {
            let Some(rtp) = self.bind(port)? else { return Ok(None) };
            self.take(port);
            return Ok(Some(LegPorts { rtp, rtcp: None }));
        }
        let odd = port | 1;
        if port == odd || !self.is_free(odd) {
            return Ok(None);
        }
        let Some(rtp) = self.bind(port)? else { return Ok(None) };
        let Some(rtcp) = self.bind(odd)? else { return Ok(None) };
        self.take(port);
        self.take(odd);
        Ok(Some(LegPorts { rtp, rtcp: Some(rtcp) }))
    }

    /// `None` when another program has the port: that is no error, the next one may be free.
    fn bind(&self, port: u16) -> Result<Option<BoundPort>, EngineError> {
        let address = SocketAddr::new(self.bind, port);
        match bind_udp(address) {
            Ok(socket) => Ok(Some(BoundPort { port, socket })),
            Err(err) if matches!(err.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => Ok(None),
            Err(err) => Err(EngineError::System(format!("cannot bind UDP {address}: {err}"))),
        }
    }

    fn slot(&self, port: u16) -> Option<usize> {
        port.checked_sub(self.min).map(usize::from)
    }

    fn is_free(&self, port: u16) -> bool {
        self.slot(port).and_then(|slot| self.uses.get(slot)) == Some(&Use::Free)
    }

    fn take(&mut self, port: u16) {
        self.set(port, Use::Taken);
        self.in_use += 1;
    }

    fn set(&mut self, port: u16, value: Use) {
        if let Some(entry) = self.slot(port).and_then(|slot| self.uses.get_mut(slot)) {
            *entry = value;
        }
    }
}

/// A non-blocking UDP socket; an IPv6 one takes IPv4 as well, where the address allows it.
pub(crate) fn bind_udp(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(RTP_RECEIVE_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn throw_away(socket: &UdpSocket) -> u64 {
    let mut buffer = [0_u8; DATAGRAM_BYTES_MAX];
    let mut dropped = 0;
    for _ in 0..DRAIN_DATAGRAMS_PER_SWEEP_MAX {
        match socket.recv(&mut buffer) {
            Ok(_) => dropped += 1,
            Err(_) => break,
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn pool(min: u16, max: u16, drain_ms: u64) -> PortPool {
        PortPool::new(LOCAL, min, max, Duration::from_millis(drain_ms)).unwrap()
    }

    #[test]
    fn rtp_is_even_and_rtcp_is_the_next_port() {
        let mut pool = pool(25_001, 25_010, 0);
        for _ in 0..4 {
            let ports = pool.open(false).unwrap();
            assert_eq!(ports.rtp.port % 2, 0);
            assert_eq!(ports.rtcp.as_ref().map(|rtcp| rtcp.port), Some(ports.rtp.port + 1));
            std::mem::forget(ports);
        }
        let refusal = pool.open(false).unwrap_err().to_string();
        assert_eq!(refusal, "no RTP port is free between 25001 and 25010; widen [media] rtp_ports");
        assert_eq!(pool.in_use(), 8);
    }

    #[test]
    fn a_multiplexing_leg_takes_one_port_of_any_parity() {
        let mut pool = pool(25_020, 25_022, 0);
        let held: Vec<_> = (0..3).map(|_| pool.open(true).unwrap()).collect();
        assert!(held.iter().all(|ports| ports.rtcp.is_none()));
        assert!(pool.open(true).is_err());
    }

    #[test]
    fn a_released_port_is_not_the_next_one_used() {
        let mut pool = pool(25_030, 25_049, 0);
        let now = Instant::now();
        let first = pool.open(true).unwrap();
        let port = first.rtp.port;
        pool.release(first.rtp, now);
        assert_ne!(pool.open(true).unwrap().rtp.port, port);
    }

    #[test]
    fn a_port_drains_until_it_has_been_quiet() {
        let mut pool = pool(25_050, 25_051, 5_000);
        let now = Instant::now();
        let ports = pool.open(true).unwrap();
        let target = ports.rtp.socket.local_addr().unwrap();
        pool.release(ports.rtp, now);
        assert_eq!((pool.in_use(), pool.draining()), (0, 1));
        let talker = UdpSocket::bind("127.0.0.1:0").unwrap();
        talker.send_to(b"late", target).unwrap();
        let later = now + Duration::from_secs(5);
        pool.sweep(later);
        assert_eq!((pool.draining(), pool.datagrams_drained()), (1, 1));
        pool.sweep(later + Duration::from_millis(4_999));
        assert_eq!(pool.draining(), 1);
        pool.sweep(later + Duration::from_secs(5));
        assert_eq!(pool.draining(), 0);
    }

    #[test]
    fn a_port_that_is_never_quiet_drains_for_a_minute_at_most() {
        let mut pool = pool(25_060, 25_061, 5_000);
        let now = Instant::now();
        let ports = pool.open(true).unwrap();
        let target = ports.rtp.socket.local_addr().unwrap();
        pool.release(ports.rtp, now);
        let talker = UdpSocket::bind("127.0.0.1:0").unwrap();
        for second in 1..60 {
            talker.send_to(b"late", target).unwrap();
            pool.sweep(now + Duration::from_secs(second));
            assert_eq!(pool.draining(), 1, "second {second}");
        }
        talker.send_to(b"late", target).unwrap();
        pool.sweep(now + Duration::from_secs(60));
        assert_eq!(pool.draining(), 0);
    }

    #[test]
    fn the_longest_draining_port_is_reclaimed_when_none_is_free() {
        let mut pool = pool(25_070, 25_073, 5_000);
        let now = Instant::now();
        let (first, second) = (pool.open(false).unwrap(), pool.open(false).unwrap());
        let port = second.rtp.port;
        for ports in [second, first] {
            pool.release(ports.rtp, now);
            pool.release(ports.rtcp.unwrap(), now);
        }
        assert_eq!(pool.open(false).unwrap().rtp.port, port);
        assert_eq!((pool.in_use(), pool.draining()), (2, 2));
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let taken = UdpSocket::bind("127.0.0.1:25081").unwrap();
        let mut pool = pool(25_080, 25_083, 0);
        assert_eq!(pool.open(false).unwrap().rtp.port, 25_082);
        drop(taken);
    }

    #[test]
    fn an_address_of_another_machine_is_said_in_one_sentence() {
        let mut pool = PortPool::new("192.0.2.1".parse().unwrap(), 25_090, 25_093, Duration::ZERO).unwrap();
        let text = pool.open(false).unwrap_err().to_string();
        assert!(text.starts_with("cannot bind UDP 192.0.2.1:25090"), "{text}");
    }
}
