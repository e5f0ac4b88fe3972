//! Two legs over a bad network, with a virtual clock: each seed is one call.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::*;
use offhook_media::{Codec, Event, LegParams, MediaLeg, PlayId, PlayParams, Port, Track};
use offhook_netem::{Link, Rng, Weather};

const FRAMES: usize = 150;

/// One side of the call: a leg, what came out of it, and how much of that is on the network.
struct Side {
    leg: MediaLeg,
    record: Record,
    carried: usize,
}

impl Side {
    fn new(start: Instant, seed: u64, params: LegParams) -> Self {
        let mut leg = MediaLeg::new(start, Duration::from_secs(1_795_420_800), seed);
        leg.connect(start, params).unwrap();
        Self { leg, record: Record::default(), carried: 0 }
    }

    fn put_on(&mut self, now: Instant, link: &mut Link<(Port, Vec<u8>)>) {
        for (_, port, _, datagram) in &self.record.sent[self.carried..] {
            link.send(now, (*port, datagram.clone()));
        }
        self.carried = self.record.sent.len();
    }

    fn take(&mut self, now: Instant, from: SocketAddr, (port, datagram): (Port, Vec<u8>)) {
        match port {
            Port::Rtp => self.leg.receive_rtp(now, from, &datagram, &mut self.record),
            Port::Rtcp => self.leg.receive_rtcp(now, from, &datagram, &mut self.record),
        }
    }
}

fn weather(seed: u64) -> Weather {
    let mut rng = Rng::new(seed ^ 0xabcd);
    let tenths = |rng: &mut Rng, most: u64| f64::from(u32::try_from(rng.below(most + 1)).unwrap()) / 10.0;
    Weather {
        loss: tenths(&mut rng, 3),
        duplication: tenths(&mut rng, 2),
        reorder: tenths(&mut rng, 3),
        reorder_delay: Duration::from_millis(rng.below(80)),
        delay: Duration::from_millis(rng.below(200)),
        jitter: Duration::from_millis(rng.below(50)),
    }
}

/// A level that names the frame: never silence, and the same again only after 100 frames.
fn level(frame: usize) -> i16 {
    Codec::Pcmu.decode_sample(u8::try_from(frame % 100).unwrap())
}

struct Call {
    server: Side,
    delivered: Vec<Vec<u8>>,
    sent: usize,
}

fn call(seed: u64, weather: Weather) -> Call {
    let start = Instant::now();
    let server_address = SocketAddr::from(([198, 51, 100, 1], 6000));
    let to_server =
        LegParams { remote_rtp: server_address, remote_rtcp: server_address, rtcp_mux: true, ..leg_params() };
    let mut caller = Side::new(start, seed, to_server);
    let params = LegParams { rtcp_mux: true, silence_when_idle: true, ..leg_params() };
    let mut server = Side::new(start, seed + 1, params);
    let mut bench = Bench { start, leg: server.leg, record: server.record, plays: 0 };
    bench.add_fork();
    bench.add_stream(stream_params());
    bench.add_speech(Track::Rx, 8000, 100);
    (server.leg, server.record) = (bench.leg, bench.record);
    let pcm: Vec<i16> = (0..FRAMES).flat_map(|frame| [level(frame); 160]).collect();
    let params = PlayParams { pcm: pcm.clone(), sample_rate_hz: 8000, loops: 1, overlay: false };
    caller.leg.play(start, PlayId(1), params).unwrap();

    let mut there: Link<(Port, Vec<u8>)> = Link::new(seed, weather);
    let mut back = Link::new(seed + 7, weather);
    let mut delivered = Vec::new();
    let end = start + Duration::from_secs(5);
    let mut digits_sent = false;
    loop {
        let dues =
            [caller.leg.poll_timeout(), server.leg.poll_timeout(), there.poll_timeout(), back.poll_timeout()];
        let Some(now) = dues.into_iter().flatten().min().filter(|due| *due <= end) else { break };
        caller.leg.handle_timeout(now, &mut caller.record);
        server.leg.handle_timeout(now, &mut server.record);
        if !digits_sent && caller.record.events.iter().any(|event| matches!(event, Event::PlayEnded { .. })) {
            caller.leg.send_digits(now, "135", 100, 60).unwrap();
            digits_sent = true;
        }
        while let Some((at, datagram)) = there.receive(now) {
            if !offhook_rtp::is_rtcp(&datagram.1) {
                delivered.push(datagram.1.clone());
            }
            server.take(at.max(now), phone(), datagram);
        }
        while let Some((_, datagram)) = back.receive(now) {
            caller.take(now, server_address, datagram);
        }
        caller.put_on(now, &mut there);
        server.put_on(now, &mut back);
    }
    let sent = caller.record.rtp().len();
    caller.leg.close(end, &mut caller.record);
    server.leg.close(end, &mut server.record);
    Call { server, delivered, sent }
}

fn check_fork(call: &Call, seed: u64) {
    let copies: Vec<_> =
        call.server.record.forked.iter().filter(|(to, _)| *to == fork_rx()).map(|(_, copy)| copy).collect();
    assert_eq!(copies, call.delivered.iter().collect::<Vec<_>>(), "seed {seed}");
    let tx: Vec<_> =
        call.server.record.forked.iter().filter(|(to, _)| *to == fork_tx()).map(|(_, copy)| copy).collect();
    let rtp =
        call.server.record.sent.iter().map(|(_, _, _, sent)| sent).filter(|sent| !offhook_rtp::is_rtcp(sent));
    assert_eq!(tx, rtp.collect::<Vec<_>>(), "seed {seed}");
}

fn check_stream(call: &Call, seed: u64) {
    let record = &call.server.record;
    let numbers: Vec<u64> = record
        .frames
        .iter()
        .filter_map(|(_, frame)| frame["sequence_number"].as_str())
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "seed {seed}: sequence numbers have no gap"
    );
    let frames = record.media_frames("inbound");
    let Some(first) = frames.first() else { return };
    let zero = usize::from(first.payload[0]);
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.chunk, n as u64 + 1, "seed {seed}");
        assert_eq!(frame.timestamp_ms, first.timestamp_ms + 20 * n as u64, "seed {seed}: time has no gap");
        let expected = u8::try_from((zero + n) % 100).unwrap();
        let played = frame.payload == [expected; 160];
        assert!(played || frame.payload == [0xff; 160], "seed {seed}: frame {n} is its own audio or silence");
    }
}

fn check_speech(call: &Call, seed: u64) {
    let record = &call.server.record;
    let Some((_, first_at, first)) = record.audio.first() else { return };
    let zero = (0..100).find(|frame| level(*frame) == first[0]).unwrap();
    let mut expected_at = *first_at;
    let (mut position, mut heard) = (0, 0_u64);
    for (_, at, pcm) in &record.audio {
        assert_eq!(*at, expected_at, "seed {seed}: chunks join");
        expected_at += pcm.len() as u64 / 8;
        for &sample in pcm {
            let expected = level(zero + position / 160);
            heard += u64::from(sample == expected);
            position += 1;
        }
    }
    // All but what was made up in place of lost packets, and 4 ms after each gap.
    let filled_ms = record.events.iter().find_map(|event| match event {
        Event::TapClosed { tap: SPEECH, stats } => Some(stats.filled_ms),
        _ => None,
    });
    let filled = (filled_ms.unwrap() + 1) * 8;
    let stats = call.server.leg.stats();
    let joints = (stats.packets_lost + stats.packets_late) * 32;
    assert!(
        heard + filled + joints >= position as u64,
        "seed {seed}: {heard} of {position} are where the RTP clock says"
    );
}

#[test]
fn five_hundred_calls_over_a_bad_network_keep_every_promise() {
    let mut heard = 0;
    for seed in 0..500 {
        let call = call(seed, weather(seed));
        check_fork(&call, seed);
        check_stream(&call, seed);
        check_speech(&call, seed);
        let digits: Vec<_> = call
            .server
            .record
            .events
            .iter()
            .filter_map(|event| if let Event::Digit { digit, .. } = event { Some(*digit) } else { None })
            .collect();
        let in_order = "135".chars().filter(|digit| digits.contains(digit)).collect::<Vec<_>>();
        assert_eq!(digits, in_order, "seed {seed}: each digit once, in order");
        heard += digits.len();
        let stats = call.server.leg.stats();
        assert_eq!(
            stats.packets_foreign + stats.packets_malformed + stats.packets_unexpected,
            0,
            "seed {seed}"
        );
        assert_eq!(stats.packets_received, call.delivered.len() as u64, "seed {seed}");
        assert_eq!(stats.resyncs, 0, "seed {seed}");
        assert!(
            stats.packets_received - stats.packets_duplicate + stats.packets_lost <= call.sent as u64,
            "seed {seed}"
        );
    }
    assert!(heard > 1450, "nearly all digits survive: {heard} of 1500");
}

#[test]
fn a_good_network_loses_nothing_and_adds_nothing() {
    let call = call(1, Weather { delay: Duration::from_millis(40), ..Weather::default() });
    let frames = call.server.record.media_frames("inbound");
    assert_eq!(frames.len(), FRAMES);
    for (n, frame) in frames.iter().enumerate() {
        assert_eq!(frame.timestamp_ms, 40 + 20 * n as u64);
        assert_eq!(frame.payload, [u8::try_from(n % 100).unwrap(); 160]);
    }
    let stats = call.server.leg.stats();
    assert_eq!((stats.packets_lost, stats.gap_ms, stats.jitter_us), (0, 0, 0));
    assert_eq!(stats.digits_received, 3);
    assert!(stats.rtcp_received >= 1);
}
