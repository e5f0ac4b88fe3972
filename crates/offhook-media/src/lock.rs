//! Whom a leg listens to: symmetric RTP (RFC 4961) with a lock on the first source.

use std::net::SocketAddr;
use std::time::Instant;

use crate::limits::LOCK_GRACE;

/// What the lock says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// From the locked source.
    Known,
    /// The lock has just closed on, or moved to, this source.
    Locked,
    /// From somebody else.
    Foreign,
}

/// Locks on the first source of a valid packet. The address of the SDP may take over within a
/// grace time, so that a stranger who is quicker than the phone does not keep the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceLock {
    expected: SocketAddr,
    locked: Option<(SocketAddr, Instant)>,
}

impl SourceLock {
    pub(crate) const fn new(expected: SocketAddr) -> Self {
        Self { expected, locked: None }
    }

    /// Judge a valid packet, and lock if nothing is locked yet.
    pub(crate) fn admit(&mut self, now: Instant, source: SocketAddr) -> Admission {
        match self.locked {
            Some((locked, _)) if locked == source => return Admission::Known,
            Some((locked, since)) => {
                let may_move = source == self.expected
                    && locked != self.expected
                    && now.saturating_duration_since(since) <= LOCK_GRACE;
                if !may_move {
                    return Admission::Foreign;
                }
            }
            None => {}
        }
        self.locked = Some((source, now));
        Admission::Locked
    }

    /// The locked source, or where the SDP says.
    pub(crate) fn target(&self) -> SocketAddr {
        self.locked.map_or(self.expected, |(source, _)| source)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some origin of time")]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4000))
    }

    #[test]
    fn the_first_source_locks_and_others_are_foreign() {
        let now = Instant::now();
        let mut lock = SourceLock::new(address(1));
        assert_eq!(lock.target(), address(1));
        assert_eq!(lock.admit(now, address(2)), Admission::Locked);
        assert_eq!(lock.admit(now, address(3)), Admission::Foreign);
        assert_eq!(lock.admit(now, address(2)), Admission::Known);
        assert_eq!(lock.target(), address(2));
    }

    #[test]
    fn the_address_of_the_sdp_takes_over_within_the_grace_only() {
        let start = Instant::now();
        for (after, admission) in
            [(LOCK_GRACE, Admission::Locked), (LOCK_GRACE + Duration::from_millis(1), Admission::Foreign)]
        {
            let mut lock = SourceLock::new(address(1));
            lock.admit(start, address(2));
            assert_eq!(lock.admit(start + after, address(1)), admission);
        }
    }

    #[test]
    fn nobody_takes_over_from_the_address_of_the_sdp() {
        let now = Instant::now();
        let mut lock = SourceLock::new(address(1));
        lock.admit(now, address(1));
        assert_eq!(lock.admit(now, address(2)), Admission::Foreign);
        assert_eq!(lock.target(), address(1));
    }
}
