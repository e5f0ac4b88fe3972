//! L16: samples as they are, in either byte order.

use crate::ByteOrder;

impl ByteOrder {
    /// Append the samples of `payload` to `pcm`; a last odd byte is left out.
    pub fn read(self, payload: &[u8], pcm: &mut Vec<i16>) {
        let pairs = payload.as_chunks::<2>().0.iter();
        match self {
            Self::Little => pcm.extend(pairs.map(|&pair| i16::from_le_bytes(pair))),
            Self::Big => pcm.extend(pairs.map(|&pair| i16::from_be_bytes(pair))),
        }
    }

    /// Append `pcm` to `payload`.
    pub fn write(self, pcm: &[i16], payload: &mut Vec<u8>) {
        match self {
            Self::Little => payload.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes())),
            Self::Big => payload.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ByteOrder;

    #[test]
    fn each_order_is_written_and_read_as_it_is_named() {
        let pcm = [0x0102, -2, i16::MIN, i16::MAX];
        for (order, bytes) in [
            (ByteOrder::Little, [0x02, 0x01, 0xfe, 0xff, 0x00, 0x80, 0xff, 0x7f]),
            (ByteOrder::Big, [0x01, 0x02, 0xff, 0xfe, 0x80, 0x00, 0x7f, 0xff]),
        ] {
            let (mut payload, mut back) = (Vec::new(), Vec::new());
            order.write(&pcm, &mut payload);
            assert_eq!(payload, bytes);
            order.read(&payload, &mut back);
            assert_eq!(back, pcm);
        }
    }
}
