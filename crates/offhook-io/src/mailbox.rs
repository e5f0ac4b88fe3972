//! Commands for one worker: a bounded queue and one descriptor that wakes it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use offhook_media::{
    ForkParams, LegParams, LegStats, PlayId, PlayParams, RecordingParams, SpeechParams, StreamParams, TapId,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::connect::{Destination, OpenSocket};
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
        tap: TapId,
    },
    /// The file of a recording is as complete as it will be.
    FileClosed {
        leg: u64,
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
    Stats {
        leg: u64,
        reply: SyncSender<LegStats>,
    },
    StreamOpened {
        leg: u64,
        slot: u32,
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
