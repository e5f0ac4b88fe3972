//! The client side of RFC 6455, as far as a stream needs it: masked frames out, messages in.
//!
//! The parts are sans-I/O. Frames are written by our own encoder because the media path writes one
//! frame per packet: header, mask and payload go into one reused buffer and leave in one write.

mod decoder;
mod frame;
mod upgrade;

pub use decoder::{Decoder, Incoming, WsError};
pub use frame::{MaskSource, Opcode, close_payload, encode_frame};
pub use upgrade::{HeaderError, StreamUrl, Upgrade, UpgradeError, check_headers};
