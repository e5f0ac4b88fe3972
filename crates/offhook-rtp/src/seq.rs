//! Sequence numbers that wrap.

/// An RTP sequence number. Sixteen bits that wrap, so `<` on the raw value is a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)] // no Ord, on purpose
pub struct SeqNo(pub u16);

impl SeqNo {
    /// How many steps lead from `earlier` to `self`; negative when `self` is the older one.
    pub const fn distance_from(self, earlier: Self) -> i16 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::SeqNo;

    #[test]
    fn distance_is_right_across_the_wrap() {
        assert_eq!(SeqNo(2).distance_from(SeqNo(65534)), 4);
        assert_eq!(SeqNo(65534).distance_from(SeqNo(2)), -4);
        assert_eq!(SeqNo(65535).next(), SeqNo(0));
    }
}
