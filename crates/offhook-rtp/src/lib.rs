//! RTP, RTCP and telephone-event packets: bytes in, values out.
