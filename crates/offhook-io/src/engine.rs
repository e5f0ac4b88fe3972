//! The engine: what the control plane holds. Each call checks its arguments, posts a command to the
//! worker that owns the leg and returns; what happens comes back as events.

mod registry;
mod taps;

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use offhook_media::limits::{DIGITS_MAX, PLAYS_BYTES_MAX, PLAYS_MAX};
use offhook_media::{Format, LegParams, LegStats, PlayId, PlayParams, Refused, can_bridge};
use rustix::rand::{GetRandomFlags, getrandom};

use self::registry::Registry;
use crate::connect::Connector;
use crate::context::Shared;
use crate::counters::Counters;
use crate::error::EngineError;
use crate::events::{Event, EventQueue, What};
use crate::limits::{STATS_TIMEOUT, WORKERS_MAX};
use crate::mailbox::{Command, Mailbox};
use crate::ports::PortPool;
use crate::reconnect::ReconnectPlan;
use crate::recorder::Recorder;
use crate::tls::client_config;
use crate::worker::Worker;

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Media threads.
    pub workers: usize,
    /// Local address of all RTP sockets.
    pub bind_address: IpAddr,
    /// First UDP port of the range.
    pub port_min: u16,
    /// Last UDP port of the range.
    pub port_max: u16,
    /// How long a port must be quiet before it is used again.
    pub drain: Duration,
    /// More roots for `wss:`.
    pub ca_file: Option<PathBuf>,
    /// Whether certificates are checked at all.
    pub tls_verify: bool,
}

/// Where a stream goes and how hard to try; the rest is in [`offhook_media::StreamParams`].
#[derive(Clone, Debug)]
pub struct StreamTarget {
    /// `ws:` or `wss:`; names Host, SNI and certificate.
    pub url: String,
    /// Where to connect, in this order. Names were resolved, and allowed, by the caller.
    pub addresses: Vec<std::net::SocketAddr>,
    /// Sent with the upgrade.
    pub headers: Vec<(String, String)>,
    /// For TCP, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// Pauses before further tries.
    pub connect_retries: Vec<Duration>,
    /// What is tried when the socket is lost in mid-call.
    pub reconnect: ReconnectPlan,
    /// Time between pings, and the time a pong may take; zero for none.
    pub ping: Duration,
}

struct WorkerHandle {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

/// Workers, ports and all media legs of one process.
pub struct Engine {
    shared: Arc<Shared>,
    registry: Mutex<Registry>,
    workers: Mutex<Vec<WorkerHandle>>,
    mailboxes: Arc<[Arc<Mailbox>]>,
    connector: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Start the threads. No port is bound before a leg needs it.
    ///
    /// # Errors
    /// When an argument makes no sense, or the operating system refuses.
    pub fn start(config: &EngineConfig) -> Result<Self, EngineError> {
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            return Err(EngineError::bad(format!("workers must be 1 to {WORKERS_MAX}")));
        }
        let system =
            |err: std::io::Error| EngineError::System(format!("the media engine cannot start: {err}"));
        let tls = client_config(config.ca_file.as_deref(), config.tls_verify)?;
        let pool = PortPool::new(config.bind_address, config.port_min, config.port_max, config.drain)?;
        let counters = Arc::new(Counters::default());
        let events = EventQueue::new(Arc::clone(&counters)).map_err(system)?;
        let recorder = Recorder::start(Arc::clone(&counters)).map_err(system)?;
        let shared = Arc::new(Shared { counters, events, ports: Mutex::new(pool), recorder });
        let (connector, connector_thread) = Connector::start(tls).map_err(system)?;
        let mailboxes: Result<Vec<_>, _> =
            (0..config.workers).map(|_| Mailbox::new().map(Arc::new)).collect();
        let mailboxes: Arc<[_]> = mailboxes.map_err(system)?.into();
        let mut workers = Vec::new();
        for (index, mailbox) in mailboxes.iter().map(Arc::clone).enumerate() {
            let all = (index, Arc::clone(&mailboxes));
            let worker = Worker::new(Arc::clone(&shared), all, connector.clone(), config.bind_address)
                .map_err(system)?;
            let thread = std::thread::Builder::new()
                .name(format!("offhook-media-{index}"))
                .spawn(move || worker.run())
                .map_err(system)?;
            workers.push(WorkerHandle { mailbox, thread: Some(thread) });
        }
        Ok(Self {
            shared,
            registry: Mutex::new(Registry { loads: vec![0; config.workers], ..Registry::default() }),
            workers: Mutex::new(workers),
            mailboxes,
            connector: Mutex::new(Some(connector_thread)),
        })
    }

    /// Readable while events wait.
    pub fn fileno(&self) -> RawFd {
        self.shared.events.fileno()
    }

    /// Take every waiting event. Legs and taps whose end is among them are forgotten here, not
    /// before: until the caller can know of the end, its calls are accepted and have no effect.
    pub fn poll_events(&self) -> Vec<Event> {
        let events = self.shared.events.take();
        let mut registry = self.registry();
        for event in &events {
            match event.what {
                What::LegClosed { .. } => {
                    registry.remove(event.leg);
                }
                What::StreamFailed { .. }
                | What::StreamClosed { .. }
                | What::RecordingClosed { .. }
                | What::TapClosed { .. } => {
                    if let Some(entry) = registry.legs.get_mut(&event.leg) {
                        entry.taps.remove(&event.tap);
                    }
                }
                What::PlayEnded { .. } => {
                    if let Some(entry) = registry.legs.get_mut(&event.leg) {
                        entry.plays.remove(&event.tap);
                    }
                }
                _ => {}
            }
        }
        events
    }

    /// Bind the ports of a new leg: RTP, and RTCP or RTP again.
    ///
    /// # Errors
    /// When the id is in use, no port is free, or the engine is down.
    pub fn open_leg(&self, leg: u64, rtcp_mux: bool) -> Result<(u16, u16), EngineError> {
        let mut registry = self.registry();
        if registry.down {
            return Err(EngineError::ShutDown);
        }
        if registry.legs.contains_key(&leg) {
            return Err(EngineError::LegExists(leg));
        }
        let ports = self.shared.pool().open(rtcp_mux)?;
        let (rtp, rtcp) = (ports.rtp.port, ports.rtcp.as_ref().map_or(ports.rtp.port, |bound| bound.port));
        let worker = registry.choose_worker();
        Counters::add(&self.shared.counters.legs_open);
        Counters::add(&self.shared.counters.legs_total);
        // The ports must not be lost, so this one command is above the bound; ports bound it.
        if let Some(mailbox) = self.mailboxes.get(worker) {
            mailbox.post_result(Command::OpenLeg { leg, ports, seed: seed() });
        }
        registry.add(leg, worker);
        Ok((rtp, rtcp))
    }

    /// Say what offer and answer agreed on; again on re-INVITE.
    ///
    /// # Errors
    /// When the leg is unknown or closing.
    pub fn connect_leg(&self, leg: u64, params: LegParams) -> Result<(), EngineError> {
        params.check().map_err(refused)?;
        let mut registry = self.registry();
        let (has_dtmf, format) = (params.dtmf_payload_type.is_some(), params.format);
        self.post(&registry, leg, Command::Connect { leg, params: Box::new(params) })?;
        if let Some(entry) = registry.legs.get_mut(&leg) {
            entry.has_dtmf = has_dtmf;
            entry.format = Some(format);
        }
        Ok(())
    }

    /// Close every tap, then the leg; ends with `LegClosed`. Again is allowed.
    ///
    /// # Errors
    /// When the leg is unknown.
    pub fn close_leg(&self, leg: u64) -> Result<(), EngineError> {
        let mut registry = self.registry();
        let entry = registry.legs.get_mut(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if std::mem::replace(&mut entry.closing, true) {
            return Ok(());
        }
        // An end is never refused.
        if let Some(mailbox) = self.mailboxes.get(entry.worker) {
            mailbox.post_result(Command::CloseLeg { leg });
        }
        registry.part(leg);
        Ok(())
    }

    /// Let each leg's far end hear what the other's says, in place of whom it was bridged to before. The keys that
    /// are pressed on a leg go to the other where `keys` and `other_keys` say so.
    ///
    /// # Errors
    /// When a leg is unknown or closing, both are one, or AMR-WB would have to be transcoded and cannot.
    pub fn bridge(&self, leg: u64, other: u64, keys: bool, other_keys: bool) -> Result<(), EngineError> {
        let mut registry = self.registry();
        if leg == other {
            return Err(EngineError::bad("a leg cannot be bridged to itself"));
        }
        let entry = |leg: u64| registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg));
        let (first, second) = (entry(leg)?, entry(other)?);
        for (leg, entry) in [(leg, first), (other, second)] {
            if entry.closing {
                return Err(EngineError::LegClosing(leg));
            }
        }
        if let (Some(one), Some(two)) = (first.format, second.format)
            && !can_bridge(one, two)
        {
            return Err(refused(Refused::Untranscodable));
        }
        let to = first.worker;
        let Some(mailbox) = self.mailboxes.get(to) else { return Err(EngineError::Overloaded(leg)) };
        for leg in [leg, other] {
            self.part(&mut registry, leg);
        }
        if let Some(from) = registry.rehome(other, to) {
            // Bounded by the legs: each is on its way once.
            mailbox.post_result(Command::Expect { leg: other });
            if let Some(old) = self.mailboxes.get(from) {
                old.post_result(Command::Depart { leg: other, to });
            }
        }
        mailbox.post_result(Command::Bridge { leg, other, keys, other_keys });
        for (leg, other) in [(leg, other), (other, leg)] {
            if let Some(entry) = registry.legs.get_mut(&leg) {
                entry.other = Some(other);
            }
        }
        Ok(())
    }

    /// End what `bridge` began; nothing happens where nothing was.
    ///
    /// # Errors
    /// When the leg is unknown.
    pub fn unbridge(&self, leg: u64) -> Result<(), EngineError> {
        let mut registry = self.registry();
        if !registry.legs.contains_key(&leg) {
            return Err(EngineError::UnknownLeg(leg));
        }
        self.part(&mut registry, leg);
        Ok(())
    }

    /// Queue mono audio for the far end; ends with one `PlayEnded`.
    ///
    /// # Errors
    /// When the leg is unknown, the id is in use, a rate is out of bounds, or too much would wait.
    pub fn play(&self, leg: u64, play: u64, params: PlayParams) -> Result<(), EngineError> {
        let mut registry = self.registry();
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        params.check().map_err(refused)?;
        if !entry.format.is_none_or(Format::encodable) {
            return Err(refused(Refused::Untranscodable));
        }
        if entry.plays.contains_key(&play) {
            return Err(refused(Refused::PlayExists));
        }
        let bytes = params.bytes();
        if entry.plays.len() >= PLAYS_MAX || entry.plays.values().sum::<usize>() + bytes > PLAYS_BYTES_MAX {
            return Err(refused(Refused::PlayoutFull));
        }
        self.post(&registry, leg, Command::Play { leg, play: PlayId(play), params })?;
        if let Some(entry) = registry.legs.get_mut(&leg) {
            entry.plays.insert(play, bytes);
        }
        Ok(())
    }

    /// End a play, whether it is heard or waits.
    ///
    /// # Errors
    /// When leg or play are unknown. A play whose end was not polled yet is known still.
    pub fn stop_play(&self, leg: u64, play: u64) -> Result<(), EngineError> {
        let registry = self.registry();
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if !entry.plays.contains_key(&play) {
            return Err(refused(Refused::NoSuchPlay));
        }
        match self.post(&registry, leg, Command::StopPlay { leg, play: PlayId(play) }) {
            // Everything ends already.
            Err(EngineError::LegClosing(_)) => Ok(()),
            other => other,
        }
    }

    /// Send telephone-events.
    ///
    /// # Errors
    /// When the leg is unknown, has no telephone-event, or the digits are none.
    pub fn send_digits(
        &self,
        leg: u64,
        digits: &str,
        duration_ms: u32,
        gap_ms: u32,
    ) -> Result<(), EngineError> {
        let registry = self.registry();
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if !entry.has_dtmf {
            return Err(EngineError::bad("offer and answer have no telephone-event"));
        }
        let known = |digit: char| digit.is_ascii_digit() || "*#ABCDabcd".contains(digit);
        if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.chars().all(known) {
            return Err(EngineError::bad(format!("digits must be 1 to {DIGITS_MAX} of 0-9 * # A-D")));
        }
        if !(40..=6_000).contains(&duration_ms) || gap_ms > 6_000 {
            return Err(EngineError::bad("a digit must last 40 to 6000 ms, with at most 6000 ms after it"));
        }
        let digits = digits.to_ascii_uppercase();
        self.post(&registry, leg, Command::SendDigits { leg, digits, duration_ms, gap_ms })
    }

    /// Counters of a leg and its taps now. Waits for the worker, a fraction of a millisecond.
    ///
    /// # Errors
    /// When the leg is unknown, or the worker is stuck.
    pub fn stats(&self, leg: u64) -> Result<LegStats, EngineError> {
        let (reply, answer) = sync_channel(1);
        let registry = self.registry();
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if registry.down {
            return Err(EngineError::ShutDown);
        }
        let posted = self
            .mailboxes
            .get(entry.worker)
            .is_some_and(|mailbox| mailbox.post(Command::Stats { leg, reply }));
        drop(registry);
        if !posted {
            return Err(EngineError::Overloaded(leg));
        }
        answer.recv_timeout(STATS_TIMEOUT).map_err(|err| match err {
            RecvTimeoutError::Timeout => EngineError::NoAnswer(leg),
            RecvTimeoutError::Disconnected => EngineError::UnknownLeg(leg),
        })
    }

    /// Counters of the process.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = self.shared.counters.read().collect();
        let pool = self.shared.pool();
        all.push(("ports_in_use", pool.in_use() as u64));
        all.push(("ports_draining", pool.draining() as u64));
        all.push(("datagrams_drained_total", pool.datagrams_drained()));
        drop(pool);
        all.push(("events_waiting", self.shared.events.len() as u64));
        all
    }

    /// Close every leg and end the threads. Events of the closing can still be polled.
    pub fn shutdown(&self) {
        self.registry().down = true;
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter() {
            worker.mailbox.post_result(Command::Stop);
        }
        for thread in workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A panic outside all legs would be told here; there is nothing left to do about it.
            let _ = thread.join();
        }
        self.shared.recorder.stop();
        let connector = self.connector.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = connector {
            let _ = thread.join();
        }
    }

    /// Make a leg panic, to test that only the leg ends.
    #[cfg(feature = "fault-injection")]
    pub fn inject_panic(&self, leg: u64) -> Result<(), EngineError> {
        let registry = self.registry();
        self.post(&registry, leg, Command::Panic { leg })
    }

    /// Both legs of a bridge live on one worker.
    fn part(&self, registry: &mut Registry, leg: u64) {
        let Some(other) = registry.part(leg) else { return };
        let worker = registry.legs.get(&leg).map(|entry| entry.worker);
        if let Some(mailbox) = worker.and_then(|worker| self.mailboxes.get(worker)) {
            mailbox.post_result(Command::Unbridge { leg, other });
        }
    }

    fn post(&self, registry: &Registry, leg: u64, command: Command) -> Result<(), EngineError> {
        let entry = registry.legs.get(&leg).ok_or(EngineError::UnknownLeg(leg))?;
        if entry.closing {
            return Err(EngineError::LegClosing(leg));
        }
        match self.mailboxes.get(entry.worker) {
            Some(mailbox) if mailbox.post(command) => Ok(()),
            _ => Err(EngineError::Overloaded(leg)),
        }
    }

    /// What a leg speaks, as far as is known.
    fn format(&self, leg: u64) -> Option<Format> {
        self.registry().legs.get(&leg)?.format
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn refused(refused: Refused) -> EngineError {
    EngineError::BadArgument(refused.to_string())
}

fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    // Cannot fail for so few bytes once the system is up.
    let _ = getrandom(&mut bytes[..], GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
