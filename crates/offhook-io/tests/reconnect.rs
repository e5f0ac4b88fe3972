//! Sockets that break in mid-call, with `tungstenite` as the application that loses them.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the reach of allow-unwrap-in-tests")]
#![allow(clippy::indexing_slicing, reason = "a member that is missing is null")]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::{WAIT, counter, engine, leg_params, rtp, stream_params, target, until};
use offhook_io::{Engine, Event, ReconnectPlan, StreamTarget, What};
use offhook_media::StreamParams;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

type App = WebSocket<TcpStream>;
/// A way in which an application leaves.
type Leave = fn(&mut App, &CloseFrame);

fn plan(pauses_ms: &[u64], total_ms: u64) -> ReconnectPlan {
    ReconnectPlan {
        pauses: pauses_ms.iter().copied().map(Duration::from_millis).collect(),
        total: Duration::from_millis(total_ms),
    }
}

fn reconnecting_target(address: SocketAddr, reconnect: ReconnectPlan) -> StreamTarget {
    StreamTarget { reconnect, ..target(address) }
}

fn accept(listener: &TcpListener) -> App {
    let (tcp, _) = listener.accept().unwrap();
    tcp.set_read_timeout(Some(WAIT)).unwrap();
    tungstenite::accept(tcp).unwrap()
}

/// The next text of the stream as JSON.
fn read(app: &mut App) -> serde_json::Value {
    loop {
        if let Message::Text(text) = app.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn read_to(app: &mut App, event: &str) -> serde_json::Value {
    loop {
        let frame = read(app);
        if frame["event"] == event {
            return frame;
        }
    }
}

/// Leave without a word, as a process does that is killed.
fn drop_dead(app: App) {
    drop(app);
}

struct Call {
    engine: Engine,
    port: u16,
    far: UdpSocket,
    events: Vec<Event>,
    packets: u16,
}

impl Call {
    /// A call with one stream.
    fn new(port_min: u16, stream: StreamParams, target: StreamTarget) -> Self {
        let engine = engine(port_min, port_min + 9, 1);
        let (port, _) = engine.open_leg(1, true).unwrap();
        engine.connect_leg(1, leg_params()).unwrap();
        engine.add_stream(1, 2, stream, target).unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { engine, port, far, events: Vec::new(), packets: 0 }
    }

    fn until(&mut self, wanted: fn(&What) -> bool) {
        until(&self.engine, &mut self.events, |event| wanted(&event.what));
    }

    fn begin(&mut self) {
        self.until(|what| *what == What::StreamConnected);
        self.engine.begin_stream(1, 2).unwrap();
    }

    fn speak(&mut self, packets: u16) {
        for _ in 0..packets {
            self.far.send_to(&rtp(self.packets), ("127.0.0.1", self.port)).unwrap();
            self.packets += 1;
        }
        let begun = Instant::now();
        while self.engine.stats(1).unwrap().packets_received < u64::from(self.packets) {
            assert!(begun.elapsed() < WAIT);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn reasons(&self) -> Vec<String> {
        let reasons = self.events.iter().filter_map(|event| match &event.what {
            What::StreamFailed { reason, detail } => Some(format!("{reason}: {detail}")),
            What::StreamClosed { reason, .. } => Some((*reason).clone()),
            _ => None,
        });
        reasons.collect()
    }
}

/// What the application of the next socket is told first.
fn begun_again(listener: &TcpListener, reconnects: u64) -> App {
    let mut app = accept(listener);
    assert_eq!(read(&mut app)["event"], "connected");
    let start = read(&mut app);
    assert_eq!((&start["event"], &start["sequence_number"]), (&"start".into(), &"1".into()));
    assert_eq!((&start["stream_id"], &start["start"]["reconnect"]), (&"s".into(), &reconnects.into()));
    app
}

#[test]
fn a_lost_socket_is_opened_again_and_the_audio_of_the_gap_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[20, 20, 20], 5_000));
    let mut call = Call::new(25_200, stream_params(5_000), target);
    let mut app = accept(&listener);
    call.begin();
    read_to(&mut app, "start");
    for reconnects in 1..=3 {
        call.speak(5);
        for _ in 0..5 {
            read_to(&mut app, "media");
        }
        drop_dead(app);
        call.until(|what| matches!(what, What::StreamReconnecting { .. }));
        call.speak(5);
        app = begun_again(&listener, reconnects);
        for number in 1..=5 {
            let frame = read(&mut app);
            assert_eq!(frame["event"], "media");
            assert_eq!(frame["sequence_number"], (number + 1).to_string());
            assert_eq!(frame["media"]["chunk"], number.to_string());
        }
        call.until(|what| matches!(what, What::StreamReconnected { .. }));
        call.events.clear();
    }
    let stats = call.engine.stats(1).unwrap().taps[0].1;
    assert_eq!((stats.frames_dropped, stats.reconnects, stats.rx_frames), (0, 3, 30));
    assert_eq!(counter(&call.engine, "streams_reconnected_total"), 3);
    call.engine.close_leg(1).unwrap();
    assert_eq!(read_to(&mut app, "stop")["event"], "stop");
    call.until(|what| matches!(what, What::StreamClosed { reason, .. } if reason == "call_ended"));
    assert_eq!(counter(&call.engine, "stream_sockets_open"), 0);
}

#[test]
fn what_is_a_loss_and_what_is_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[1], 5_000));
    let close = |code: u16| CloseFrame { code: CloseCode::from(code), reason: "".into() };
    let ways: [(&str, Leave); 3] = [
        ("close", |app, code| drop(app.close(Some(code.clone())))),
        ("masked", |app, _| {
            use std::io::Write;
            // A server must not mask (RFC 6455 section 5.1).
            app.get_mut().write_all(&[0x81, 0x81, 1, 2, 3, 4, 5]).unwrap();
        }),
        ("abort", |app, _| {
            app.get_mut().shutdown(std::net::Shutdown::Both).unwrap();
        }),
    ];
    let cases =
        [(0, 1011, true), (0, 4000, true), (1, 0, true), (2, 0, true), (0, 1000, false), (0, 1001, false)];
    for (number, (way, code, lost)) in cases.into_iter().enumerate() {
        let port = 25_210 + u16::try_from(number).unwrap() * 10;
        let mut call = Call::new(port, stream_params(1_000), target.clone());
        let mut app = accept(&listener);
        call.begin();
        read_to(&mut app, "start");
        let (name, act) = ways[way];
        act(&mut app, &close(code));
        if lost {
            let mut app = begun_again(&listener, 1);
            call.engine.close_leg(1).unwrap();
            read_to(&mut app, "stop");
        }
        call.until(|what| matches!(what, What::StreamClosed { .. }));
        let reason = if lost { "call_ended" } else { "app_closed" };
        assert_eq!(call.reasons(), [reason], "{name} {code}");
    }
}

#[test]
fn who_is_gone_for_good_is_given_up_with_the_last_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[1, 2, 4], 5_000));
    let mut call = Call::new(25_280, stream_params(1_000), target);
    let mut app = accept(&listener);
    call.begin();
    read_to(&mut app, "start");
    drop(listener);
    drop_dead(app);
    call.until(|what| matches!(what, What::StreamFailed { .. }));
    let reasons = call.reasons();
    assert!(reasons[0].starts_with("connection_lost: given up after 3 tries; the last: "), "{reasons:?}");
    assert!(reasons[0].contains("refused"), "{reasons:?}");
    assert_eq!(counter(&call.engine, "streams_failed_total"), 1);
    assert_eq!(counter(&call.engine, "streams_connecting"), 0);
}

#[test]
fn time_ends_the_tries_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[1, 10_000], 100));
    let mut call = Call::new(25_290, stream_params(1_000), target);
    let mut app = accept(&listener);
    call.begin();
    read_to(&mut app, "start");
    drop_dead(app);
    // It takes the connection and never answers.
    let (silent, _) = listener.accept().unwrap();
    let begun = Instant::now();
    call.until(|what| matches!(what, What::StreamFailed { .. }));
    assert!(begun.elapsed() < Duration::from_secs(9), "the pause of ten seconds is never begun");
    assert!(call.reasons()[0].contains("no answer within"), "{:?}", call.reasons());
    drop(silent);
}

#[test]
fn a_socket_that_may_not_be_opened_again_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target(listener.local_addr().unwrap());
    let mut call = Call::new(25_300, stream_params(1_000), target);
    let mut app = accept(&listener);
    call.begin();
    read_to(&mut app, "start");
    drop_dead(app);
    call.until(|what| matches!(what, What::StreamFailed { reason: "connection_lost", .. }));
    assert!(!call.events.iter().any(|event| matches!(event.what, What::StreamReconnecting { .. })));
}

#[test]
fn a_stream_that_seeks_a_socket_ends_at_once_when_asked_to() {
    for close_leg in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[8_000], 9_000));
        let mut call = Call::new(if close_leg { 25_310 } else { 25_320 }, stream_params(1_000), target);
        let mut app = accept(&listener);
        call.begin();
        read_to(&mut app, "start");
        drop_dead(app);
        call.until(|what| matches!(what, What::StreamReconnecting { .. }));
        let begun = Instant::now();
        if close_leg {
            call.engine.close_leg(1).unwrap();
            call.until(|what| matches!(what, What::LegClosed { .. }));
        } else {
            call.engine.remove_tap(1, 2, "command", None).unwrap();
            call.until(|what| matches!(what, What::StreamClosed { .. }));
        }
        assert!(begun.elapsed() < Duration::from_secs(9));
        assert_eq!(call.reasons(), [if close_leg { "call_ended" } else { "command" }]);
        for name in ["streams_connecting", "stream_sockets_open", "taps_open"] {
            assert_eq!(counter(&call.engine, name), 0, "{name}");
        }
    }
}

#[test]
fn a_socket_lost_before_the_start_frame_waits_for_the_owner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = reconnecting_target(listener.local_addr().unwrap(), plan(&[1, 1], 5_000));
    let mut call = Call::new(25_330, stream_params(1_000), target);
    drop_dead(accept(&listener));
    call.until(|what| matches!(what, What::StreamReconnecting { .. }));
    let mut app = accept(&listener);
    call.until(|what| matches!(what, What::StreamReconnected { .. }));
    assert_eq!(read(&mut app)["event"], "connected");
    call.engine.begin_stream(1, 2).unwrap();
    assert_eq!(read(&mut app)["event"], "start");
}
