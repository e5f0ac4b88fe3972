//! A worker: one thread, one epoll, the legs that live on it.
//!
//! Descriptors are watched level-triggered and each event costs one receive: a second one only to
//! hear "nothing more" would double the system calls of a call. Deadlines are armed lazily: one that
//! moves away is left to fire early and looked at again.

mod bridge;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use offhook_media::{Port, RelayQueue};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::connect::Connector;
use crate::context::{Context, ForkSockets, PART_RTCP, PART_RTP, PART_STREAMS, Shared};
use crate::counters::Counters;
use crate::events::{Event, What};
use crate::leg::Leg;
use crate::limits::{DATAGRAM_BYTES_MAX, SHUTDOWN_TIMEOUT, STREAM_READ_BYTES, SWEEP_EVERY, WORKER_NICENESS};
use crate::mailbox::{Command, Mailbox};
use crate::ports::LegPorts;
use crate::ws::MaskSource;

const EVENTS_PER_WAIT: usize = 256;
const MAILBOX: u64 = u64::MAX;

/// One media thread.
pub(crate) struct Worker {
    cx: Context,
    legs: Vec<Option<Leg>>,
    free: Vec<u32>,
    by_id: HashMap<u64, u32>,
    /// Legs that are on their way from another worker, and what waits for them.
    expected: HashMap<u64, VecDeque<Command>>,
    deadlines: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Only one worker looks after draining ports.
    sweep_at: Option<Instant>,
    stop_by: Option<Instant>,
    datagram: Box<[u8]>,
    read_buffer: Box<[u8]>,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (index, mailboxes): (usize, Arc<[Arc<Mailbox>]>),
        connector: Connector,
        bind: IpAddr,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        if let Some(mailbox) = mailboxes.get(index) {
            epoll::add(&epoll, mailbox.fd(), EventData::new_u64(MAILBOX), EventFlags::IN)?;
        }
        let forks = ForkSockets::new(bind);
        Ok(Self {
            cx: Context {
                epoll,
                shared,
                index,
                mailboxes,
                connector,
                forks,
                masks: MaskSource::new(),
                frame: Vec::new(),
                relayed: RelayQueue::default(),
            },
            legs: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            expected: HashMap::new(),
            deadlines: BinaryHeap::new(),
            sweep_at: (index == 0).then(|| Instant::now() + SWEEP_EVERY),
            stop_by: None,
            // One byte more, so that a datagram that is too long is seen to be.
            datagram: vec![0; DATAGRAM_BYTES_MAX + 1].into(),
            read_buffer: vec![0; STREAM_READ_BYTES].into(),
        })
    }

    /// Work until told to stop.
    pub(crate) fn run(mut self) {
        // A busy control plane or neighbour is to delay no packet. Without the privilege all is as before.
        let _ = setpriority_process(Some(gettid()), WORKER_NICENESS);
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        let mut now = Instant::now();
        loop {
            let timeout = self.next_deadline().map(|at| timespec(at.saturating_duration_since(now)));
            events.clear();
            let waited =
                epoll::wait(&self.cx.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
            now = Instant::now();
            if waited.is_ok() {
                for event in &events {
                    let (data, flags) = (event.data, event.flags);
                    self.dispatch(data.u64(), flags, now);
                }
            }
            self.expire(now);
            if self.stop_by.is_some_and(|by| (self.by_id.is_empty() && self.expected.is_empty()) || now >= by)
            {
                return;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let leg = self.deadlines.peek().map(|Reverse((at, _))| *at);
        [leg, self.sweep_at, self.stop_by].into_iter().flatten().min()
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags, now: Instant) {
        if token == MAILBOX {
            let mailbox = self.cx.mailboxes.get(self.cx.index).map(Arc::clone);
            for command in mailbox.map(|mailbox| mailbox.take()).unwrap_or_default() {
                self.execute(command, now);
            }
            return;
        }
        let slot = u32::try_from(token >> 32).unwrap_or(u32::MAX);
        let part = u32::try_from(token & u64::from(u32::MAX)).unwrap_or(0);
        let mut datagram = std::mem::take(&mut self.datagram);
        let mut read_buffer = std::mem::take(&mut self.read_buffer);
        self.drive(slot, now, |leg, cx| match part {
            PART_RTP => leg.receive(Port::Rtp, now, &mut datagram, cx),
            PART_RTCP => leg.receive(Port::Rtcp, now, &mut datagram, cx),
            stream => {
                let serial = u16::try_from(stream - PART_STREAMS).unwrap_or(u16::MAX);
                leg.stream_ready(serial, flags, now, &mut read_buffer, cx);
            }
        });
        self.datagram = datagram;
        self.read_buffer = read_buffer;
    }

    /// Let a leg do something, and the leg it is bridged to what follows from that.
    fn drive(&mut self, slot: u32, now: Instant, act: impl FnOnce(&mut Leg, &mut Context)) {
        let other = self.legs.get(slot as usize).and_then(Option::as_ref).and_then(Leg::other);
        self.drive_one(slot, now, act);
        if let Some(other) = other {
            self.hand_over(slot, other, now);
        }
    }

    /// Let a leg do something and look at what has become of it. A fault ends this leg alone.
    fn drive_one(&mut self, slot: u32, now: Instant, act: impl FnOnce(&mut Leg, &mut Context)) {
        let index = slot as usize;
        let Some(Some(leg)) = self.legs.get_mut(index) else { return };
        let cx = &mut self.cx;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            act(leg, cx);
            leg.settle(now, cx);
            (leg.is_done(), leg.poll_timeout())
        }));
        match outcome {
            Ok((false, None)) => {}
            Ok((false, Some(at))) => {
                if leg.armed.is_none_or(|armed| at < armed) {
                    leg.armed = Some(at);
                    self.deadlines.push(Reverse((at, slot)));
                }
            }
            Ok((true, _)) => {
                if let Some(leg) = self.forget(slot, now) {
                    leg.farewell(&self.cx);
                }
            }
            Err(panic) => {
                let message = panic_text(&*panic);
                if let Some(leg) = self.forget(slot, now) {
                    leg.fail(message, now, &self.cx);
                }
            }
        }
    }

    fn forget(&mut self, slot: u32, now: Instant) -> Option<Leg> {
        let leg = self.legs.get_mut(slot as usize)?.take()?;
        self.by_id.remove(&leg.id());
        self.free.push(slot);
        if let Some(other) = leg.other() {
            self.part(other, now);
        }
        Some(leg)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, slot))) = self.deadlines.peek().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            let Some(Some(leg)) = self.legs.get_mut(slot as usize) else { continue };
            // Another deadline has been armed since, or the slot has a new leg.
            if leg.armed != Some(at) {
                continue;
            }
            leg.armed = None;
            self.drive(slot, now, |leg, cx| {
                if leg.poll_timeout().is_some_and(|due| due <= now) {
                    leg.handle_timeout(now, cx);
                }
            });
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.cx.shared.pool().sweep(now);
            self.sweep_at = Some(now + SWEEP_EVERY);
        }
    }

    fn execute(&mut self, command: Command, now: Instant) {
        let awaited = command.legs().into_iter().flatten().find(|leg| self.expected.contains_key(leg));
        if let Some(waiting) = awaited.and_then(|leg| self.expected.get_mut(&leg)) {
            waiting.push_back(command);
            return;
        }
        if let Some(home) = command.home().filter(|home| home.worker() != self.cx.index).cloned() {
            return home.post_result(command);
        }
        match command {
            Command::OpenLeg { leg, ports, seed } => self.open(leg, ports, seed, now),
            Command::Connect { leg, params } => {
                self.command(leg, now, |leg, cx| leg.connect(now, *params, cx).is_ok());
            }
            Command::CloseLeg { leg } => self.close(leg, now),
            Command::AddFork { leg, tap, params } => self.command(leg, now, |leg, cx| {
                leg.add_tap(tap, cx, |media| media.add_fork(now, tap, params));
                true
            }),
            Command::AddSpeech { leg, tap, params } => self.command(leg, now, |leg, cx| {
                leg.add_tap(tap, cx, |media| media.add_speech(now, tap, params));
                true
            }),
            Command::AddStream { leg, tap, params, destination, ping } => {
                self.command(leg, now, |leg, cx| {
                    leg.add_stream(now, tap, (*params, *destination, ping), cx);
                    true
                });
            }
            Command::BeginStream { leg, tap } => {
                self.command(leg, now, |leg, cx| leg.begin_stream(now, tap, cx).is_ok());
            }
            Command::AddRecording { leg, tap, params, path } => self.command(leg, now, |leg, cx| {
                leg.add_recording(now, tap, params, path, cx);
                true
            }),
            Command::PauseRecording { leg, tap } => {
                self.command(leg, now, |leg, _| leg.ask(|media| media.pause_recording(now, tap)).is_ok());
            }
            Command::ResumeRecording { leg, tap } => {
                self.command(leg, now, |leg, cx| leg.resume_recording(now, tap, cx).is_ok());
            }
            Command::FileFailed { leg, tap, .. } => self.command(leg, now, |leg, cx| {
                // It may have ended meanwhile.
                let _ = leg.remove_tap(now, tap, "failed", None, cx);
                true
            }),
            Command::FileClosed { leg, tap, end, .. } => self.command(leg, now, |leg, cx| {
                leg.recording_closed(tap, end, cx);
                true
            }),
            Command::RemoveTap { leg, tap, reason, hangup_cause } => {
                self.command(leg, now, |leg, cx| {
                    leg.remove_tap(now, tap, &reason, hangup_cause.as_deref(), cx).is_ok()
                });
            }
            Command::Play { leg, play, params } => {
                self.command(leg, now, |leg, cx| leg.play(now, play, params, cx).is_ok());
            }
            Command::StopPlay { leg, play } => self.command(leg, now, |leg, cx| {
                leg.stop_play(now, play, cx);
                true
            }),
            Command::SendDigits { leg, digits, duration_ms, gap_ms } => {
                self.command(leg, now, |leg, _| {
                    leg.ask(|media| media.send_digits(now, &digits, duration_ms, gap_ms)).is_ok()
                });
            }
            Command::Stats { leg, reply } => {
                if let Some(Some(leg)) = self.by_id.get(&leg).and_then(|slot| self.legs.get(*slot as usize)) {
                    // Nobody may be waiting any more.
                    let _ = reply.try_send(leg.stats());
                }
            }
            Command::Bridge { leg, other, keys, other_keys } => {
                self.bridge((leg, keys), (other, other_keys), now);
            }
            Command::Unbridge { leg, other } => self.unbridge(leg, other, now),
            Command::Depart { leg, to } => self.depart(leg, to),
            Command::Expect { leg } => {
                self.expected.entry(leg).or_default();
            }
            Command::Arrive { leg, moved } => self.arrive(leg, moved, now),
            Command::StreamOpened { leg, serial, result, tries, .. } => self.command(leg, now, |leg, cx| {
                leg.stream_opened(serial, result, tries, now, cx);
                true
            }),
            Command::Stop => {
                self.stop_by = Some(now + SHUTDOWN_TIMEOUT);
                let slots: Vec<u32> = self.by_id.values().copied().collect();
                for slot in slots {
                    self.drive(slot, now, |leg, cx| leg.close(now, cx));
                }
            }
            #[cfg(feature = "fault-injection")]
            #[expect(clippy::panic, reason = "this is the fault")]
            Command::Panic { leg } => self.command(leg, now, |_, _| panic!("a fault on purpose")),
        }
    }

    /// Commands for a leg that has gone meanwhile are void; one that the leg refuses is counted.
    fn command(&mut self, id: u64, now: Instant, act: impl FnOnce(&mut Leg, &mut Context) -> bool) {
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        self.drive(slot, now, |leg, cx| {
            if !act(leg, cx) {
                Counters::add(&cx.shared.counters.commands_refused_total);
            }
        });
    }

    fn open(&mut self, id: u64, ports: LegPorts, seed: u64, now: Instant) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            u32::try_from(self.legs.len() - 1).unwrap_or(u32::MAX)
        });
        let unix_now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match Leg::open(id, slot, ports, (now, unix_now, seed), &self.cx) {
            Ok(leg) => {
                self.by_id.insert(id, slot);
                if let Some(entry) = self.legs.get_mut(slot as usize) {
                    *entry = Some(leg);
                }
                self.drive(slot, now, |_, _| {});
            }
            Err(err) => {
                self.free.push(slot);
                let tell = |what| self.cx.shared.events.push(Event { leg: id, tap: 0, what });
                tell(What::LegFailed { message: format!("the leg's sockets cannot be watched: {err}") });
                Counters::sub(&self.cx.shared.counters.legs_open);
                tell(What::LegClosed { stats: Box::default() });
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown fault".into())
}
