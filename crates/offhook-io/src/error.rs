//! Why a call was refused.

/// A refused call. Nothing has changed; the text is one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No leg has this id, or its `leg_closed` was taken already.
    #[error("leg {0} does not exist")]
    UnknownLeg(u64),
    /// The id is in use.
    #[error("leg {0} exists already")]
    LegExists(u64),
    /// The leg was told to close.
    #[error("leg {0} is closing")]
    LegClosing(u64),
    /// No tap has this id on this leg, or its end was taken already.
    #[error("leg {leg} has no tap {tap}")]
    UnknownTap {
        /// The leg asked for.
        leg: u64,
        /// The tap asked for.
        tap: u64,
    },
    /// The id is in use.
    #[error("leg {leg} has a tap {tap} already")]
    TapExists {
        /// The leg asked for.
        leg: u64,
        /// The tap asked for.
        tap: u64,
    },
    /// The leg carries as many taps as are allowed.
    #[error("leg {leg} has {max} taps, which is the most there may be")]
    TooManyTaps {
        /// The leg asked for.
        leg: u64,
        /// The bound.
        max: usize,
    },
    /// The range is used up.
    #[error("no RTP port is free between {min} and {max}; widen [media] rtp_ports")]
    NoPort {
        /// First port of the range.
        min: u16,
        /// Last port of the range.
        max: u16,
    },
    /// The operating system refused something.
    #[error("{0}")]
    System(String),
    /// An argument makes no sense.
    #[error("{0}")]
    BadArgument(String),
    /// A worker has more to do than it can.
    #[error("the media worker of leg {0} is overloaded")]
    Overloaded(u64),
    /// A worker did not answer in time.
    #[error("the media worker of leg {0} did not answer")]
    NoAnswer(u64),
    /// `shutdown` was called.
    #[error("the media engine has been shut down")]
    ShutDown,
}

impl EngineError {
    /// A refusal for a reason that the caller can read and mend.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::BadArgument(text.into())
    }
}
