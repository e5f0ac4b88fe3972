//! NTP time stamps as RTCP uses them (RFC 3550 section 4).

use std::time::Duration;

/// Seconds from 1900 to 1970.
const UNIX_EPOCH_S: u64 = 2_208_988_800;

/// A 64-bit NTP time stamp: seconds since 1900 in 32.32 fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The stamp of a wall clock given as time since 1970.
    pub const fn from_unix(unix: Duration) -> Self {
        let seconds = unix.as_secs().wrapping_add(UNIX_EPOCH_S);
        let fraction = ((unix.subsec_nanos() as u64) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, as LSR and DLSR count: units of 1/65536 s.
    #[expect(clippy::cast_possible_truncation, reason = "the middle 32 bits are wanted")]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_zero_is_1970_in_ntp() {
        assert_eq!(NtpTime::from_unix(Duration::ZERO).0, 0x83aa_7e80_0000_0000);
    }

    #[test]
    fn half_a_second_is_half_the_fraction() {
        assert_eq!(NtpTime::from_unix(Duration::from_millis(500)).0, 0x83aa_7e80_8000_0000);
        assert_eq!(NtpTime::from_unix(Duration::from_millis(1500)).middle(), 0x7e81_8000);
    }
}
