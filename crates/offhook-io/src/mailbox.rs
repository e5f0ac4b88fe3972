//! Commands for one worker: a bounded queue and one descriptor that wakes it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offhook_media::{
    ForkParams, LegParams, LegStats, PlayId, PlayParams, RecordingParams, SpeechParams, StreamParams, TapId,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::connect::{Destination, OpenSocket};
use crate::leg::Leg;
use crate::limits::COMMANDS_WAITING_MAX;
use crate::ports::LegPorts;
use crate::recorder::FileEnd;

/// What a worker is told. Arguments were checked by the caller.
pub(crate) enum Command {
    OpenLeg {
        leg: u64,
        ports: LegPorts,
        seed: u64,
    },
    Connect {
        leg: u64,
        params: Box<LegParams>,
    },
    CloseLeg {
        leg: u64,
    },
    AddFork {
        leg: u64,
        tap: TapId,
        params: ForkParams,
    },
    AddStream {
        leg: u64,
        tap: TapId,
        params: Box<StreamParams>,
        destination: Box<Destination>,
        ping: Duration,
    },
    BeginStream {
        leg: u64,
        tap: TapId,
    },
    AddSpeech {
        leg: u64,
        tap: TapId,
        params: SpeechParams,
    },
    AddRecording {
        leg: u64,
        tap: TapId,
        params: RecordingParams,
        path: PathBuf,
    },
    PauseRecording {
        leg: u64,
        tap: TapId,
    },
    ResumeRecording {
        leg: u64,
        tap: TapId,
    },
    /// The file of a recording cannot be written any more.
    FileFailed {
        leg: u64,
        home: Home,
        tap: TapId,
    },
    /// The file of a recording is as complete as it will be.
    FileClosed {
        leg: u64,
        home: Home,
        tap: TapId,
        end: FileEnd,
    },
    RemoveTap {
        leg: u64,
        tap: TapId,
        reason: String,
        hangup_cause: Option<String>,
    },
    Play {
        leg: u64,
        play: PlayId,
        params: PlayParams,
    },
    StopPlay {
        leg: u64,
        play: PlayId,
    },
    SendDigits {
        leg: u64,
        digits: String,
        duration_ms: u32,
        gap_ms: u32,
    },
    /// Let each leg send what the other receives; `keys` of the first, and of the second, too.
    Bridge {
        leg: u64,
        other: u64,
        keys: bool,
        other_keys: bool,
    },
    Unbridge {
        leg: u64,
        other: u64,
    },
    /// The leg will live on another worker from here on.
    Depart {
        leg: u64,
        to: usize,
    },
    /// A leg of another worker will come: what is for it waits until then.
    Expect {
        leg: u64,
    },
    /// It is here, or has ended before it could come.
    Arrive {
        leg: u64,
        moved: Option<Box<Leg>>,
    },
    Stats {
        leg: u64,
        reply: SyncSender<LegStats>,
    },
    StreamOpened {
        leg: u64,
        home: Home,
        serial: u16,
        result: Result<OpenSocket, String>,
        tries: usize,
    },
    /// Close every leg and end the thread.
    Stop,
    #[cfg(feature = "fault-injection")]
    Panic {
        leg: u64,
    },
}

impl Command {
    /// The legs it is about; nothing where it is about none, or about its own way.
    pub(crate) const fn legs(&self) -> [Option<u64>; 2] {
        match self {
            Self::Bridge { leg, other, .. } | Self::Unbridge { leg, other } => [Some(*leg), Some(*other)],
            Self::OpenLeg { leg, .. }
            | Self::Connect { leg, .. }
            | Self::CloseLeg { leg }
            | Self::AddFork { leg, .. }
            | Self::AddStream { leg, .. }
            | Self::BeginStream { leg, .. }
            | Self::AddSpeech { leg, .. }
            | Self::RemoveTap { leg, .. }
            | Self::Play { leg, .. }
            | Self::StopPlay { leg, .. }
            | Self::SendDigits { leg, .. }
            | Self::Depart { leg, .. }
            | Self::Expect { leg }
            | Self::Stats { leg, .. }
            | Self::StreamOpened { leg, .. }
            | Self::AddRecording { leg, .. }
            | Self::PauseRecording { leg, .. }
            | Self::ResumeRecording { leg, .. }
            | Self::FileFailed { leg, .. }
            | Self::FileClosed { leg, .. } => [Some(*leg), None],
            #[cfg(feature = "fault-injection")]
            Self::Panic { leg } => [Some(*leg), None],
            Self::Arrive { .. } | Self::Stop => [None, None],
        }
    }

    /// Where the leg lives, if others have answered it and it may have moved meanwhile.
    pub(crate) const fn home(&self) -> Option<&Home> {
        match self {
            Self::StreamOpened { home, .. }
            | Self::FileFailed { home, .. }
            | Self::FileClosed { home, .. } => Some(home),
            _ => None,
        }
    }
}

/// Where a leg lives, for those who work for it on other threads: a leg may move meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    worker: Arc<AtomicUsize>,
    mailboxes: Arc<[Arc<Mailbox>]>,
}

impl Home {
    pub(crate) fn new(worker: usize, mailboxes: Arc<[Arc<Mailbox>]>) -> Self {
        Self { worker: Arc::new(AtomicUsize::new(worker)), mailboxes }
    }

    /// The leg lives on another worker from here on.
    pub(crate) fn move_to(&self, worker: usize) {
        self.worker.store(worker, Ordering::Release);
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker.load(Ordering::Acquire)
    }

    /// Send an answer to the leg. One that moves at this moment has it sent after it.
    pub(crate) fn post_result(&self, command: Command) {
        if let Some(mailbox) = self.mailboxes.get(self.worker()) {
            mailbox.post_result(command);
        }
    }
}

/// The queue and its descriptor.
#[derive(Debug)]
pub(crate) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    wake: OwnedFd,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Commands hold audio, digits and tokens.
        f.write_str("Command")
    }
}

impl Mailbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { commands: Mutex::default(), wake })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Add a command; false when the worker has too many already.
    pub(crate) fn post(&self, command: Command) -> bool {
        self.push(command, COMMANDS_WAITING_MAX)
    }

    /// Add what a worker has asked for itself, or must not miss: bounded by what was asked.
    pub(crate) fn post_result(&self, command: Command) {
        self.push(command, usize::MAX);
    }

    /// Take all commands.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        let mut count = [0_u8; 8];
        // Empty the descriptor first: a command that comes in between wakes once more.
        let _ = rustix::io::read(&self.wake, &mut count);
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, command: Command, max: usize) -> bool {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() >= max {
            return false;
        }
        let was_empty = commands.is_empty();
        commands.push_back(command);
        drop(commands);
        if was_empty {
            // It fails only when the counter is full, and then the descriptor is readable.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
        true
    }
}
