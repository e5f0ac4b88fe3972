//! Writes the files of recordings, on one thread for the whole process.
//!
//! A worker never waits for the disk: it leaves blocks in a bounded queue. What is dropped there is
//! silence in the file, since every block says where it belongs. The header is right after each
//! block, so that a process that is killed leaves files that can be played.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use offhook_media::TapId;

use crate::counters::Counters;
use crate::limits::{RECORDED_BLOCKS_MAX, RECORDER_SHUTDOWN_TIMEOUT};
use crate::mailbox::{Command, Home};
use crate::wav::{WAV_DATA_BYTES_MAX, WAV_HEADER_BYTES, wav_header};

/// Names a file that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub leg: u64,
    pub tap: TapId,
}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileEnd {
    pub size_bytes: u64,
    /// What the system said.
    pub error: Option<String>,
}

enum Job {
    Open { id: FileId, path: PathBuf, format: (u16, u32), home: Home },
    Write { id: FileId, at: u64, pcm: Vec<i16> },
    Close { id: FileId, frames: u64 },
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    blocks: usize,
    stopping: bool,
    stopped: bool,
}

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The thread and the queue before it.
pub(crate) struct Recorder {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Start the thread.
    pub(crate) fn start(counters: Arc<Counters>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new() });
        let mut writer =
            Writer { queue: Arc::clone(&queue), counters: Arc::clone(&counters), files: HashMap::new() };
        let thread =
            std::thread::Builder::new().name("offhook-recorder".into()).spawn(move || writer.run())?;
        Ok(Self { queue, counters, thread: Mutex::new(Some(thread)) })
    }

    /// Make a file. Its end is told by `FileClosed`; before that perhaps by `FileFailed`, which asks for `close`.
    pub(crate) fn open(&self, id: FileId, path: PathBuf, format: (u16, u32), home: &Home) {
        self.queue.push(Job::Open { id, path, format, home: home.clone() });
    }

    /// Write whole frames, the first of them at `at`.
    pub(crate) fn write(&self, id: FileId, at: u64, pcm: &[i16]) {
        if !self.queue.push_block(|| Job::Write { id, at, pcm: pcm.to_vec() }) {
            Counters::add(&self.counters.recorded_blocks_dropped_total);
        }
    }

    /// Keep so many frames, and close the file.
    pub(crate) fn close(&self, id: FileId, frames: u64) {
        self.queue.push(Job::Close { id, frames });
    }

    /// Write what waits, and end the thread; a disk that hangs is not waited for.
    pub(crate) fn stop(&self) {
        let deadline = Instant::now() + RECORDER_SHUTDOWN_TIMEOUT;
        let mut waiting = self.queue.lock();
        waiting.stopping = true;
        self.queue.changed.notify_all();
        while !waiting.stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.queue.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(waiting);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bounded by the taps there may be.
    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_all();
    }

    fn push_block(&self, job: impl FnOnce() -> Job) -> bool {
        let mut waiting = self.lock();
        if waiting.blocks >= RECORDED_BLOCKS_MAX || waiting.stopped {
            return false;
        }
        waiting.blocks += 1;
        waiting.jobs.push_back(job());
        drop(waiting);
        self.changed.notify_all();
        true
    }

    /// The next job; none at the end.
    fn pop(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                waiting.blocks -= usize::from(matches!(job, Job::Write { .. }));
                return Some(job);
            }
            if waiting.stopping {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Ends with the thread, however it ends.
struct Writer {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    files: HashMap<FileId, WavFile>,
}

impl Writer {
    fn run(&mut self) {
        while let Some(job) = self.queue.pop() {
            match job {
                Job::Open { id, path, format, home } => {
                    Counters::add(&self.counters.recordings_open);
                    let file = WavFile::create(&path, format, home);
                    self.tell_failure(id, &file);
                    self.files.insert(id, file);
                }
                Job::Write { id, at, pcm } => self.write(id, at, &pcm),
                Job::Close { id, frames } => self.close(id, frames),
            }
        }
        let left: Vec<FileId> = self.files.keys().copied().collect();
        for id in left {
            self.close(id, u64::MAX);
        }
    }

    fn write(&mut self, id: FileId, at: u64, pcm: &[i16]) {
        let Some(file) = self.files.get_mut(&id).filter(|file| file.error.is_none()) else { return };
        let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        match file.write(at, &bytes) {
            Ok(()) => Counters::add_many(&self.counters.recorded_bytes_total, bytes.len() as u64),
            Err(err) => file.error = Some(err.to_string()),
        }
        if let Some(file) = self.files.get(&id) {
            self.tell_failure(id, file);
        }
    }

    fn tell_failure(&self, id: FileId, file: &WavFile) {
        if file.error.is_some() {
            Counters::add(&self.counters.recordings_failed_total);
            let home = file.home.clone();
            file.home.post_result(Command::FileFailed { leg: id.leg, home, tap: id.tap });
        }
    }

    fn close(&mut self, id: FileId, frames: u64) {
        let Some(mut file) = self.files.remove(&id) else { return };
        Counters::sub(&self.counters.recordings_open);
        if let Err(err) = file.finish(frames) {
            file.error.get_or_insert(err.to_string());
        }
        let end = FileEnd { size_bytes: WAV_HEADER_BYTES + file.data_bytes, error: file.error };
        let home = file.home.clone();
        file.home.post_result(Command::FileClosed { leg: id.leg, home, tap: id.tap, end });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().stopped = true;
        self.queue.changed.notify_all();
    }
}

/// A file whose header always fits what was written.
struct WavFile {
    file: Option<File>,
    format: (u16, u32),
    data_bytes: u64,
    home: Home,
    error: Option<String>,
}

impl WavFile {
    fn create(path: &PathBuf, format: (u16, u32), home: Home) -> Self {
        // Voices are nobody else's business.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut made = Self { file: None, format, data_bytes: 0, home, error: None };
        match opened.and_then(|file| file.write_all_at(&wav_header(format, 0), 0).map(|()| file)) {
            Ok(file) => made.file = Some(file),
            Err(err) => made.error = Some(err.to_string()),
        }
        made
    }

    fn frame_bytes(&self) -> u64 {
        u64::from(self.format.0) * 2
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let offset = at.saturating_mul(self.frame_bytes());
        let end = offset.saturating_add(bytes.len() as u64);
        if end > WAV_DATA_BYTES_MAX {
            return Err(std::io::Error::other("a WAV file can be no longer"));
        }
        file.write_all_at(bytes, WAV_HEADER_BYTES + offset)?;
        self.data_bytes = self.data_bytes.max(end);
        file.write_all_at(&wav_header(self.format, self.data_bytes), 0)
    }

    fn finish(&mut self, frames: u64) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let wanted = frames.saturating_mul(self.frame_bytes());
        // What was dropped at the end is silence too.
        if wanted <= WAV_DATA_BYTES_MAX && wanted != self.data_bytes {
            file.set_len(WAV_HEADER_BYTES + wanted)?;
            file.write_all_at(&wav_header(self.format, wanted), 0)?;
            self.data_bytes = wanted;
        }
        Ok(())
    }
}
