//! The engine on real sockets of this machine, with `tungstenite` as the foreign WebSocket peer.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the reach of allow-unwrap-in-tests")]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{WAIT, counter, engine, leg_params, rtp, stream_params, target, until};
use offhook_io::{Engine, EngineConfig, EngineError, What};
use offhook_media::{ForkParams, LegParams, PlayParams, SpeechParams, StreamParams, Track};
use tungstenite::Message;

/// Ten seconds of packets: no more may come ahead of their time.
const PACKETS: u16 = 480;

/// An application that keeps every text it gets.
fn listening_app() -> (SocketAddr, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&texts);
    let thread = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(tcp).unwrap();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message {
                kept.lock().unwrap().push(text.to_string());
            }
        }
    });
    (address, texts, thread)
}

#[test]
fn a_foreign_reader_understands_every_frame_of_ours() {
    let engine = engine(25_100, 25_109, 1);
    let mut seen = Vec::new();
    let (address, texts, app) = listening_app();
    let (port, _) = engine.open_leg(1, true).unwrap();
    engine.connect_leg(1, leg_params()).unwrap();
    // A start frame of each length form of RFC 6455 section 5.2.
    for (tap, size) in [(1_u64, 20_usize), (2, 2_000), (3, 200_000)] {
        let params = StreamParams {
            start_json: format!("{{\"x\":\"{}\"}}", "a".repeat(size)),
            ..stream_params(1_000)
        };
        if tap == 1 {
            engine.add_stream(1, tap, params, target(address)).unwrap();
            until(&engine, &mut seen, |event| event.what == What::StreamConnected);
            engine.begin_stream(1, tap).unwrap();
        } else {
            let (address, texts, app) = listening_app();
            engine.add_stream(1, tap, params, target(address)).unwrap();
            until(&engine, &mut seen, |event| event.tap == tap && event.what == What::StreamConnected);
            engine.begin_stream(1, tap).unwrap();
            engine.remove_tap(1, tap, "command", None).unwrap();
            until(&engine, &mut seen, |event| matches!(event.what, What::StreamClosed { .. }));
            app.join().unwrap();
            let texts = texts.lock().unwrap();
            assert_eq!(texts.len(), 3);
            assert!(texts[1].contains(&"a".repeat(size)));
        }
    }
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..100 {
        far.send_to(&rtp(number), ("127.0.0.1", port)).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    let begun = Instant::now();
    while texts.lock().unwrap().len() < 102 && begun.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    engine.close_leg(1).unwrap();
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
    app.join().unwrap();
    let texts = texts.lock().unwrap();
    assert_eq!(texts.len(), 103, "connected, start, 100 media, stop");
    assert!(texts[102].contains("call_ended"), "{}", texts[102]);
}

#[test]
fn an_app_that_does_not_read_loses_its_own_oldest_audio_and_nobody_elses() {
    let engine = engine(25_120, 25_139, 1);
    let mut seen = Vec::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stalled = listener.local_addr().unwrap();
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let slow = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(tcp).unwrap();
        while !released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut texts = Vec::new();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message {
                texts.push(text.to_string());
            }
        }
        texts
    });
    let (quick, quick_texts, quick_app) = listening_app();
    let (slow_port, _) = engine.open_leg(1, true).unwrap();
    let (quick_port, _) = engine.open_leg(2, true).unwrap();
    for (leg, address) in [(1, stalled), (2, quick)] {
        engine.connect_leg(leg, leg_params()).unwrap();
        // More than the kernel takes at once: who does not read is behind from the start.
        let start_json = format!("{{\"x\":\"{}\"}}", "a".repeat(if leg == 1 { 4_000_000 } else { 1 }));
        let params = StreamParams { start_json, ..stream_params(1_000) };
        engine.add_stream(leg, 9, params, target(address)).unwrap();
        until(&engine, &mut seen, |event| event.leg == leg && event.what == What::StreamConnected);
        engine.begin_stream(leg, 9).unwrap();
    }
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..PACKETS {
        far.send_to(&rtp(number), ("127.0.0.1", slow_port)).unwrap();
        far.send_to(&rtp(number), ("127.0.0.1", quick_port)).unwrap();
        // No more at once than a socket's buffer holds, however busy the machine is.
        let begun = Instant::now();
        for leg in [1, 2] {
            while number % 32 == 31 && engine.stats(leg).unwrap().packets_received <= u64::from(number) {
                assert!(begun.elapsed() < WAIT, "packet {number} of leg {leg} did not arrive");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let arrived = engine.stats(2).unwrap().packets_received;
    let begun = Instant::now();
    while (quick_texts.lock().unwrap().len() as u64) < arrived + 2 && begun.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let quick_stats = engine.stats(2).unwrap().taps[0].1;
    assert_eq!(quick_stats.frames_dropped, 0);
    let quick_count = quick_texts.lock().unwrap().len() as u64;
    assert!(quick_count >= arrived, "{quick_count} of {:?}", engine.stats(2));
    let slow_stats = engine.stats(1).unwrap().taps[0].1;
    assert_eq!(slow_stats.frames_dropped, u64::from(PACKETS) - 50, "all but the last second");
    release.store(true, Ordering::Relaxed);
    // The other end reads again: what was kept comes, in order and without a gap in the numbers.
    std::thread::sleep(Duration::from_millis(300));
    engine.close_leg(1).unwrap();
    engine.close_leg(2).unwrap();
    until(&engine, &mut seen, |event| event.leg == 1 && matches!(event.what, What::LegClosed { .. }));
    let texts = slow.join().unwrap();
    let mut numbers = 0;
    for text in texts.iter().skip(1) {
        if let Some((_, rest)) = text.split_once(r#""sequence_number":""#) {
            numbers += 1;
            assert_eq!(rest.split('"').next().unwrap().parse::<u64>().unwrap(), numbers);
        }
    }
    assert_eq!(texts.iter().filter(|text| text.contains("100002")).count(), 1, "one error an episode");
    assert!(texts.last().unwrap().contains(r#""event":"stop""#));
    assert_eq!(numbers, 1 + 50 + 1, "start, the last second, stop");
    drop(quick_app);
}

#[test]
fn a_fault_ends_its_leg_and_no_other() {
    let engine = engine(25_140, 25_149, 1);
    let mut seen = Vec::new();
    let (address, _, app) = listening_app();
    for leg in [1, 2] {
        engine.open_leg(leg, true).unwrap();
        engine.connect_leg(leg, leg_params()).unwrap();
    }
    engine.add_stream(1, 3, stream_params(1_000), target(address)).unwrap();
    let fork = ForkParams { rx: Some("127.0.0.1:9".parse().unwrap()), tx: None, strep: None };
    engine.add_fork(1, 4, fork).unwrap();
    let endless = PlayParams { pcm: vec![1_000; 160], sample_rate_hz: 8_000, loops: 0, overlay: false };
    engine.play(1, 5, endless).unwrap();
    until(&engine, &mut seen, |event| event.what == What::StreamConnected);
    engine.inject_panic(1).unwrap();
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
    let kinds: Vec<_> = seen
        .iter()
        .skip_while(|event| !matches!(event.what, What::LegFailed { .. }))
        .map(|event| match &event.what {
            What::LegFailed { message } => message.as_str(),
            What::PlayEnded { completed: false, .. } => "play ended",
            What::TapClosed { .. } => "tap closed",
            What::StreamFailed { reason, .. } => reason,
            What::LegClosed { .. } => "leg closed",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["a fault on purpose", "play ended", "tap closed", "connection_lost", "leg closed"]);
    assert_eq!(engine.stats(1), Err(EngineError::UnknownLeg(1)));
    assert!(engine.stats(2).is_ok());
    engine.close_leg(2).unwrap();
    until(&engine, &mut seen, |event| event.leg == 2 && matches!(event.what, What::LegClosed { .. }));
    for name in ["legs_open", "taps_open", "stream_sockets_open", "ports_in_use", "streams_connecting"] {
        assert_eq!(counter(&engine, name), 0, "{name}");
    }
    assert_eq!(counter(&engine, "legs_failed_total"), 1);
    app.join().unwrap();
}

#[test]
fn shutdown_ends_everything_and_tells_it() {
    let engine = engine(25_150, 25_169, 2);
    let mut seen = Vec::new();
    let (address, _, app) = listening_app();
    for leg in 0..6 {
        engine.open_leg(leg, true).unwrap();
        engine.connect_leg(leg, leg_params()).unwrap();
        let params =
            SpeechParams { track: Track::Rx, sample_rate_hz: 16_000, chunk_ms: 100, skip_own: false };
        engine.add_speech(leg, 8, params).unwrap();
    }
    engine.add_stream(0, 9, stream_params(1_000), target(address)).unwrap();
    // Nobody accepts here: the connection is still under way when the end comes.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    engine.add_stream(1, 9, stream_params(1_000), target(nobody.local_addr().unwrap())).unwrap();
    until(&engine, &mut seen, |event| event.what == What::StreamConnected);
    engine.shutdown();
    seen.extend(engine.poll_events());
    let count = |fits: fn(&What) -> bool| seen.iter().filter(|event| fits(&event.what)).count();
    assert_eq!(count(|what| matches!(what, What::LegClosed { .. })), 6);
    assert_eq!(count(|what| matches!(what, What::TapClosed { .. })), 6);
    assert_eq!(count(|what| matches!(what, What::StreamClosed { .. })), 2);
    assert_eq!(engine.open_leg(9, true), Err(EngineError::ShutDown));
    for name in ["legs_open", "taps_open", "stream_sockets_open", "ports_in_use", "streams_connecting"] {
        assert_eq!(counter(&engine, name), 0, "{name}");
    }
    app.join().unwrap();
}

#[test]
fn ipv6_legs_hear_and_are_heard() {
    let engine = Engine::start(&EngineConfig {
        workers: 1,
        bind_address: "::1".parse().unwrap(),
        port_min: 25_190,
        port_max: 25_199,
        drain: Duration::ZERO,
        ca_file: None,
        tls_verify: true,
    });
    let engine = engine.unwrap();
    let Ok(far) = UdpSocket::bind("[::1]:0") else { return };
    let fork = UdpSocket::bind("[::1]:0").unwrap();
    for socket in [&far, &fork] {
        socket.set_read_timeout(Some(WAIT)).unwrap();
    }
    let mut seen = Vec::new();
    let (port, _) = engine.open_leg(1, true).unwrap();
    let remote = far.local_addr().unwrap();
    engine.connect_leg(1, LegParams { remote_rtp: remote, remote_rtcp: remote, ..leg_params() }).unwrap();
    let params = ForkParams { rx: Some(fork.local_addr().unwrap()), tx: None, strep: None };
    engine.add_fork(1, 2, params).unwrap();
    far.send_to(&rtp(1), ("::1", port)).unwrap();
    let mut buffer = [0_u8; 2_048];
    let count = fork.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..count], rtp(1));
    let params = PlayParams { pcm: vec![1_000; 160], sample_rate_hz: 8_000, loops: 1, overlay: false };
    engine.play(1, 3, params).unwrap();
    let (count, source) = far.recv_from(&mut buffer).unwrap();
    assert_eq!((count, source.port()), (172, port));
    engine.close_leg(1).unwrap();
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
}

#[test]
fn a_released_port_drains_before_it_is_free() {
    let engine = Engine::start(&EngineConfig {
        workers: 1,
        bind_address: "127.0.0.1".parse().unwrap(),
        port_min: 25_170,
        port_max: 25_179,
        drain: Duration::from_millis(500),
        ca_file: None,
        tls_verify: true,
    })
    .unwrap();
    let mut seen = Vec::new();
    let (port, _) = engine.open_leg(1, true).unwrap();
    engine.close_leg(1).unwrap();
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
    assert_eq!((counter(&engine, "ports_in_use"), counter(&engine, "ports_draining")), (0, 1));
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&rtp(1), ("127.0.0.1", port)).unwrap();
    let begun = Instant::now();
    while counter(&engine, "ports_draining") > 0 {
        assert!(begun.elapsed() < WAIT, "it drains for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(counter(&engine, "datagrams_drained_total"), 1);
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_ok());
}

#[test]
fn bytes_behind_the_handshake_are_not_lost() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let app = std::thread::spawn(move || {
        let (mut tcp, _): (TcpStream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0_u8; 1];
        while !head.ends_with(b"\r\n\r\n") {
            tcp.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        // A close frame in the same segment as the handshake.
        answer.extend([0x88, 0x02, 0x03, 0xE8]);
        tcp.write_all(&answer).unwrap();
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        rest
    });
    let engine = engine(25_180, 25_189, 1);
    let mut seen = Vec::new();
    engine.open_leg(1, true).unwrap();
    engine.add_stream(1, 2, stream_params(1_000), target(address)).unwrap();
    until(
        &engine,
        &mut seen,
        |event| matches!(&event.what, What::StreamClosed { reason, .. } if reason == "app_closed"),
    );
    let rest = app.join().unwrap();
    assert_eq!(
        rest.len(),
        2 + 4 + r#"{"event":"connected"}"#.len() + 2 + 4 + 2,
        "connected, then the close echoed"
    );
}

/// The niceness of each media thread of this process (field 19 of `stat`).
#[cfg(target_os = "linux")]
fn media_niceness() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    tasks
        .filter(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("offhook-media"))
        })
        .filter_map(|task| std::fs::read_to_string(task.join("stat")).ok())
        .map(|stat| stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap())
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn media_threads_go_first_where_the_system_lets_them() {
    use rustix::process::setpriority_process;
    use rustix::thread::gettid;

    let allowed = std::thread::spawn(|| setpriority_process(Some(gettid()), -10).is_ok()).join().unwrap();
    let engine = engine(25_190, 25_199, 1);
    // A worker that answers is at work.
    engine.open_leg(1, true).unwrap();
    engine.stats(1).unwrap();
    let first = if allowed { -10 } else { 0 };
    assert!(media_niceness().contains(&first), "{:?}", media_niceness());
    engine.shutdown();
}
