//! Bridged legs on real sockets, on one worker and from several.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the reach of allow-unwrap-in-tests")]

mod common;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use common::{WAIT, counter, engine, leg_params, rtp, stream_params, target, until};
use offhook_io::{Engine, EngineError, What};
use offhook_media::{ForkParams, LegParams};
use tungstenite::Message;

/// A phone: where its leg listens, and its own socket.
struct Phone {
    port: u16,
    socket: UdpSocket,
}

fn phone(engine: &Engine, leg: u64) -> Phone {
    let (port, _) = engine.open_leg(leg, true).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let address = socket.local_addr().unwrap();
    engine.connect_leg(leg, LegParams { remote_rtp: address, remote_rtcp: address, ..leg_params() }).unwrap();
    Phone { port, socket }
}

impl Phone {
    fn say(&self, number: u16) {
        self.socket.send_to(&rtp(number), ("127.0.0.1", self.port)).unwrap();
    }

    /// The first byte of the next packet's payload, and its number.
    fn hear(&self) -> (u8, u16) {
        let (mut datagram, begun) = ([0_u8; 2048], Instant::now());
        loop {
            assert!(begun.elapsed() < WAIT, "nothing is heard");
            let (count, _) = self.socket.recv_from(&mut datagram).unwrap();
            // Reports share the port.
            if count == 172 {
                return (datagram[12], u16::from_be_bytes([datagram[2], datagram[3]]));
            }
        }
    }

    fn hears_nothing(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let silent = self.socket.recv_from(&mut [0; 2048]).is_err();
        self.socket.set_read_timeout(Some(WAIT)).unwrap();
        silent
    }
}

/// Bridge two legs and wait until they are: commands and packets come by different ways.
fn bridge(engine: &Engine, leg: u64, other: u64) {
    engine.bridge(leg, other, true, true).unwrap();
    for leg in [leg, other] {
        engine.stats(leg).unwrap();
    }
}

/// What one says is heard by the other.
fn talk(from: &Phone, to: &Phone, numbers: std::ops::Range<u16>) {
    let mut last = None;
    for number in numbers {
        from.say(number);
        let (said, seq) = to.hear();
        assert_eq!(said, number.to_be_bytes()[1]);
        assert!(last.is_none_or(|last: u16| last.wrapping_add(1) == seq));
        last = Some(seq);
    }
}

fn wait_until_received(engine: &Engine, leg: u64, count: u64) {
    let begun = Instant::now();
    while engine.stats(leg).unwrap().packets_received < count {
        assert!(begun.elapsed() < WAIT, "not received");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_phones_hear_each_other_until_the_bridge_ends() {
    let engine = engine(25_400, 25_409, 1);
    let (a, b, c) = (phone(&engine, 1), phone(&engine, 2), phone(&engine, 3));
    assert!(matches!(engine.bridge(1, 1, true, true), Err(EngineError::BadArgument(_))));
    assert_eq!(engine.bridge(1, 9, true, true), Err(EngineError::UnknownLeg(9)));
    bridge(&engine, 1, 2);
    talk(&a, &b, 0..50);
    talk(&b, &a, 0..50);
    bridge(&engine, 1, 3);
    talk(&a, &c, 50..60);
    assert!(b.hears_nothing());
    b.say(50);
    wait_until_received(&engine, 2, 51);
    assert!(a.hears_nothing(), "parted from the second");
    engine.unbridge(3).unwrap();
    engine.unbridge(3).unwrap();
    a.say(60);
    wait_until_received(&engine, 1, 61);
    assert!(c.hears_nothing());
    assert_eq!(engine.stats(2).unwrap().packets_passed, 50);
}

#[test]
fn one_legs_end_or_fault_ends_the_bridge_and_nothing_else() {
    let engine = engine(25_410, 25_419, 1);
    let mut seen = Vec::new();
    let (a, b, c) = (phone(&engine, 1), phone(&engine, 2), phone(&engine, 3));
    bridge(&engine, 1, 2);
    talk(&a, &b, 0..10);
    engine.close_leg(2).unwrap();
    assert_eq!(engine.bridge(1, 2, true, true), Err(EngineError::LegClosing(2)));
    until(&engine, &mut seen, |event| matches!(event.what, What::LegClosed { .. }));
    bridge(&engine, 3, 1);
    talk(&a, &c, 10..20);
    engine.inject_panic(3).unwrap();
    until(&engine, &mut seen, |event| event.leg == 3 && matches!(event.what, What::LegClosed { .. }));
    a.say(20);
    wait_until_received(&engine, 1, 21);
    assert_eq!(counter(&engine, "legs_failed_total"), 1);
    assert_eq!(counter(&engine, "bridge_packets_passed_total"), 10);
}

#[test]
fn a_leg_moves_to_the_other_ones_worker_with_its_taps_and_its_order() {
    let engine = engine(26_000, 26_999, 2);
    let mut seen = Vec::new();
    let a = phone(&engine, 1);
    // So many that the next live on the second worker.
    for leg in 1000..1255 {
        engine.open_leg(leg, true).unwrap();
    }
    let (b, c) = (phone(&engine, 2), phone(&engine, 3));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let app = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(tcp).unwrap();
        let mut texts = Vec::new();
        while let Ok(message) = socket.read() {
            if let Message::Text(text) = message {
                texts.push(text.to_string());
            }
        }
        texts
    });
    engine.add_stream(2, 5, stream_params(1000), target(address)).unwrap();
    until(&engine, &mut seen, |event| event.what == What::StreamConnected);
    engine.begin_stream(2, 5).unwrap();
    let fork = UdpSocket::bind("127.0.0.1:0").unwrap();
    fork.set_read_timeout(Some(WAIT)).unwrap();
    let rx: SocketAddr = fork.local_addr().unwrap();
    // From worker to worker and back: each command finds the leg, each packet too.
    let mut number = 0;
    for round in 0..20_u64 {
        bridge(&engine, 1, 2);
        engine.add_fork(2, 10 + round, ForkParams { rx: Some(rx), tx: None, strep: None }).unwrap();
        engine.remove_tap(2, 10 + round, "command", None).unwrap();
        talk(&b, &a, number..number + 5);
        talk(&a, &b, number..number + 5);
        bridge(&engine, 3, 2);
        talk(&b, &c, number + 5..number + 10);
        number += 10;
    }
    assert_eq!(engine.stats(2).unwrap().packets_received, 200);
    assert!(counter(&engine, "legs_moved_total") >= 2);
    engine.close_leg(2).unwrap();
    until(&engine, &mut seen, |event| event.leg == 2 && matches!(event.what, What::LegClosed { .. }));
    let texts = app.join().unwrap();
    assert_eq!(texts.len(), 203, "connected, start, 200 media, stop");
    let taps = seen.iter().filter(|event| matches!(event.what, What::TapClosed { .. })).count();
    assert_eq!(taps, 20);
}

#[test]
fn a_socket_that_opens_while_its_leg_moves_finds_it() {
    let engine = engine(27_000, 27_599, 2);
    let mut seen = Vec::new();
    let _a = phone(&engine, 1);
    for leg in 1000..1255 {
        engine.open_leg(leg, true).unwrap();
    }
    for leg in 2..32 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _b = phone(&engine, leg);
        engine.add_stream(leg, 5, stream_params(1000), target(address)).unwrap();
        let app = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let mut socket = tungstenite::accept(tcp).unwrap();
            while socket.read().is_ok() {}
        });
        std::thread::sleep(Duration::from_micros(leg * 50));
        bridge(&engine, 1, leg);
        until(&engine, &mut seen, |event| event.leg == leg && event.what == What::StreamConnected);
        engine.close_leg(leg).unwrap();
        until(&engine, &mut seen, |event| event.leg == leg && matches!(event.what, What::LegClosed { .. }));
        app.join().unwrap();
    }
    engine.shutdown();
}

#[test]
fn a_shutdown_closes_legs_that_are_on_their_way() {
    let engine = engine(28_000, 28_599, 2);
    for leg in 1000..1256 {
        engine.open_leg(leg, true).unwrap();
    }
    let (_a, _b) = (phone(&engine, 1), phone(&engine, 2));
    for round in 0..50 {
        engine.bridge(if round % 2 == 0 { 1000 } else { 2 }, 1, true, true).unwrap();
    }
    engine.shutdown();
    let ended =
        engine.poll_events().iter().filter(|event| matches!(event.what, What::LegClosed { .. })).count();
    assert_eq!(ended, 258);
}
