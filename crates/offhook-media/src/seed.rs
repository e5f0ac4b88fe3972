//! Numbers that need not be secret, only different on each leg.

/// Spreads one seed into many numbers (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
    pub(crate) const fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 16 bits will do")]
    pub(crate) const fn next_u16(&mut self) -> u16 {
        self.next_u64() as u16
    }
}
