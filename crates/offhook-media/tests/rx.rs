//! What a leg does with what it receives.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use offhook_media::{
    Event, ForkParams, LegParams, PlayParams, Port, Refused, StreamParams, Strep, TapId, Track,
};
use offhook_rtp::{NtpTime, ReportBlock, RtcpBuilder, RtcpItem, SenderInfo, StrepHeader, parse_compound};

#[test]
fn packets_before_the_answer_are_counted_and_dropped() {
    let mut bench = Bench::unconnected();
    bench.receive(0, &packet(1, 1, 1, 0, &[1; 160]));
    assert_eq!(bench.leg.stats().packets_early, 1);
    assert_eq!(bench.leg.poll_timeout(), None);
    assert!(bench.record.events.is_empty());
}

#[test]
fn the_first_packet_tells_that_media_has_started_once() {
    let mut bench = Bench::new(leg_params());
    for n in 0..5 {
        bench.voice(n);
    }
    assert_eq!(bench.record.events, [Event::MediaStarted { ssrc: 7, source: phone() }]);
}

#[test]
fn a_stranger_is_counted_and_heard_by_nobody() {
    let mut bench = Bench::new(leg_params());
    bench.add_fork();
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.receive_from(5, stranger(), &packet(1001, 5160, 7, 0, &[9; 160]));
    bench.voice(1);
    assert_eq!(bench.leg.stats().packets_foreign, 1);
    assert_eq!(bench.record.forked.len(), 2);
    assert_eq!(bench.record.media_frames("inbound").len(), 2);
}

#[test]
fn the_leg_sends_to_where_packets_come_from() {
    let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    bench.receive_from(30, stranger(), &packet(1, 1, 1, 0, &[1; 160]));
    bench.run_to(100);
    let targets: Vec<_> = bench.record.sent.iter().map(|(_, _, to, _)| *to).collect();
    assert_eq!(targets, [phone(), phone(), stranger(), stranger(), stranger(), stranger()]);
    // The phone itself comes within the grace time and takes over.
    bench.receive(110, &packet(1, 1, 2, 0, &[1; 160]));
    bench.run_to(120);
    assert_eq!(bench.record.sent.last().unwrap().2, phone());
    assert_eq!(bench.record.events.len(), 2);
}

#[test]
fn rubbish_locks_nothing() {
    let mut bench = Bench::new(leg_params());
    bench.receive_from(0, stranger(), b"hello");
    bench.receive_from(0, stranger(), &packet(1, 1, 1, 77, &[1; 160]));
    bench.receive_from(0, stranger(), &[0x80; 4000]);
    bench.voice(1);
    let stats = bench.leg.stats();
    assert_eq!((stats.packets_malformed, stats.packets_unexpected, stats.packets_foreign), (2, 1, 0));
    assert_eq!(stats.packets_received, 1);
}

#[test]
fn a_second_answer_opens_the_lock_and_keeps_the_taps() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.leg.connect(bench.at(10), LegParams { remote_rtp: stranger(), ..leg_params() }).unwrap();
    bench.receive_from(20, stranger(), &packet(50, 777, 8, 0, &[5; 160]));
    bench.receive_from(40, phone(), &packet(1001, 5160, 7, 0, &[1; 160]));
    assert_eq!(bench.leg.stats().packets_foreign, 1);
    let frames = bench.record.media_frames("inbound");
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[1].chunk, frames[1].timestamp_ms), (2, 20));
}

#[test]
fn a_leg_on_hold_counts_and_drops() {
    let mut bench = Bench::new(LegParams { receiving: false, ..leg_params() });
    bench.add_fork();
    bench.voice(0);
    assert_eq!(bench.leg.stats().packets_not_receiving, 1);
    assert!(bench.record.forked.is_empty());
}

#[test]
fn a_fork_gets_every_packet_byte_for_byte() {
    let mut bench = Bench::new(leg_params());
    bench.add_fork();
    let mut sent = Vec::new();
    // Out of order, twice, with a key press, with an extension: all as it came.
    for (seq, payload_type) in [(1, 0), (3, 0), (2, 0), (3, 0), (4, 101), (5, 13)] {
        let mut datagram = packet(seq, u32::from(seq) * 160, 7, payload_type, &[5, 0x0a, 0, 160]);
        if seq == 2 {
            datagram = [&[0x90], &datagram[1..12], &[0xbe, 0xde, 0, 1, 1, 2, 3, 4], &datagram[12..]].concat();
        }
        bench.receive(u64::from(seq), &datagram);
        sent.push((fork_rx(), datagram));
    }
    assert_eq!(bench.record.forked, sent);
}

#[test]
fn a_strep_header_tells_leg_and_direction() {
    let mut bench = Bench::new(LegParams { keepalive: Duration::from_secs(5), ..leg_params() });
    let strep = Some(Strep { leg_id: *b"0123456789abcdef", b_leg: true });
    let params = ForkParams { rx: Some(fork_rx()), tx: Some(fork_rx()), strep };
    bench.leg.add_fork(bench.start, FORK, params).unwrap();
    let datagram = packet(1, 1, 1, 0, &[1; 160]);
    bench.receive(10, &datagram);
    let read: Vec<_> =
        bench.record.forked.iter().map(|(_, bytes)| StrepHeader::parse(bytes).unwrap()).collect();
    assert_eq!(read.len(), 2);
    assert!(read[0].0.transmitted && !read[1].0.transmitted && read[1].0.b_leg);
    assert_eq!(read[0].1, bench.record.sent[0].3);
    assert_eq!(read[1].1, datagram);
}

#[test]
fn a_key_press_is_told_once_and_streamed_with_its_time() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.voice(0);
    for (seq, flags, duration) in [(1001, 0x0a, 160), (1002, 0x0a, 320), (1003, 0x8a, 480), (1004, 0x8a, 480)]
    {
        let [high, low] = u16::to_be_bytes(duration);
        bench.receive(u64::from(seq - 1000) * 20, &packet(seq, 5160, 7, 101, &[11, flags, high, low]));
    }
    let digits: Vec<_> =
        bench.record.events.iter().filter(|event| matches!(event, Event::Digit { .. })).collect();
    assert_eq!(digits, [&Event::Digit { digit: '#', at_ms: 0, duration_ms: 60 }]);
    let frames = bench.record.events_named("dtmf");
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["dtmf"]["digit"], "#");
    assert_eq!(frames[0]["occurred_at"], "2026-11-23T08:00:00.000000Z");
    assert_eq!(frames[0]["sequence_number"], "3");
}

#[test]
fn a_key_press_without_its_end_is_told_after_a_while() {
    let mut bench = Bench::new(leg_params());
    bench.receive(0, &packet(1, 1000, 7, 101, &[5, 0x0a, 0, 160]));
    bench.run_to(199);
    assert_eq!(bench.leg.stats().digits_received, 0);
    bench.run_to(200);
    assert_eq!(bench.leg.stats().digits_received, 1);
}

#[test]
fn silence_is_reported_once_each_time() {
    let timeout = Some(Duration::from_secs(1));
    let mut bench = Bench::new(LegParams { media_timeout: timeout, ..leg_params() });
    bench.run_to(5000);
    assert_eq!(bench.record.events, [Event::MediaTimeout], "before any packet");
    bench.receive(5000, &packet(1, 1, 1, 0, &[1; 160]));
    bench.run_to(5999);
    assert_eq!(bench.record.events.len(), 2);
    bench.run_to(20_000);
    assert_eq!(bench.record.events.last(), Some(&Event::MediaTimeout));
    assert_eq!(bench.record.events.len(), 3);
}

#[test]
fn speech_is_aligned_to_the_rtp_clock_over_losses() {
    let mut bench = Bench::new(leg_params());
    bench.add_speech(Track::Rx, 8000, 100);
    for n in (0..20).filter(|n| ![3, 4, 11].contains(n)) {
        bench.voice(n);
    }
    let chunks: Vec<_> = bench.record.audio.iter().map(|(_, at, pcm)| (*at, pcm.len())).collect();
    assert_eq!(chunks, [(0, 800), (100, 800), (200, 800), (300, 800)]);
    let pcm: Vec<i16> = bench.record.audio.iter().flat_map(|(_, _, pcm)| pcm.clone()).collect();
    for n in (0..20_u8).filter(|n| ![3, 4, 11].contains(n)) {
        let expected = offhook_media::Codec::Pcmu.decode_sample(n);
        // After a loss 4 ms lead over from what was made up.
        let place = usize::from(n) * 160 + if [5, 12].contains(&n) { 32 } else { 0 };
        let end = usize::from(n + 1) * 160;
        assert!(pcm[place..end].iter().all(|&sample| sample == expected), "packet {n}");
    }
    // What is made up sounds like what was heard, and fades.
    assert!(pcm[480] < -20_000 && (-20_000..-1000).contains(&pcm[780]), "{} {}", pcm[480], pcm[780]);
    assert_eq!(bench.leg.stats().taps[0].1.filled_ms, 60);
    assert_eq!(bench.leg.stats().gap_ms, 60);
}

#[test]
fn speech_hears_silence_for_two_seconds_when_the_track_stops() {
    let mut bench = Bench::new(leg_params());
    bench.add_speech(Track::Rx, 16_000, 200);
    for n in 0..8 {
        bench.voice(n);
    }
    bench.run_to(20_000);
    let samples: usize = bench.record.audio.iter().map(|(_, _, pcm)| pcm.len()).sum();
    assert_eq!(samples, (160 + 2000) * 16);
    for pair in bench.record.audio.windows(2) {
        assert_eq!(pair[0].1 + pair[0].2.len() as u64 / 16, pair[1].1);
    }
    bench.receive(20_000, &packet(1008, 99, 7, 0, &[1; 160]));
    bench.leg.remove_tap(bench.now(), SPEECH, "command", &mut bench.record).unwrap();
    assert_eq!(bench.record.audio.last().map(|(_, at, pcm)| (*at, pcm.len())), Some((20_000, 320)));
    assert!(matches!(bench.record.events.last(), Some(Event::TapClosed { tap: SPEECH, .. })));
}

#[test]
fn rtcp_from_the_far_end_gives_loss_and_round_trip() {
    let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    bench.run_to(4000);
    let (_, port, to, ours) = bench.record.sent.iter().find(|(_, port, ..)| *port == Port::Rtcp).unwrap();
    assert_eq!((*port, *to), (Port::Rtcp, phone_rtcp()));
    let mut read = Vec::new();
    parse_compound(ours).unwrap().for_each(|item| read.push(item));
    let RtcpItem::SenderReport { ssrc, info, .. } = read[0] else { panic!("{read:?}") };
    assert!(matches!(read[1], RtcpItem::Cname { .. }));
    // Sent at 2500 ms; the far end kept it for 1000 ms; its answer comes 40 ms later.
    let block = ReportBlock {
        ssrc,
        fraction_lost: 1,
        cumulative_lost: 12,
        highest_seq: 1,
        jitter: 16,
        last_sr: info.ntp.middle(),
        delay_since_last_sr: 65_536,
    };
    let sender = SenderInfo { ntp: NtpTime(0), rtp_timestamp: 0, packets: 0, octets: 0 };
    let mut datagram = Vec::new();
    let _ = RtcpBuilder::new(&mut datagram).sender_report(99, &sender, &[block]);
    bench.leg.receive_rtcp(bench.at(3540), phone_rtcp(), &datagram, &mut bench.record);
    bench.leg.receive_rtcp(bench.at(3540), stranger(), &datagram, &mut bench.record);
    bench.leg.receive_rtcp(bench.at(3540), phone_rtcp(), b"rubbish", &mut bench.record);
    let stats = bench.leg.stats();
    assert_eq!((stats.rtcp_received, stats.rtcp_foreign, stats.packets_malformed), (1, 1, 1));
    assert_eq!((stats.remote_lost, stats.remote_jitter_us), (12, 2000));
    assert!((39_900..40_100).contains(&stats.rtt_us), "{}", stats.rtt_us);
}

#[test]
fn our_report_tells_what_we_received_and_ends_with_bye() {
    let mut bench = Bench::new(LegParams { rtcp_mux: true, ..leg_params() });
    for n in (0..50).filter(|n| *n != 10) {
        bench.voice(n);
    }
    bench.leg.close(bench.at(1000), &mut bench.record);
    let (_, port, to, datagram) = bench.record.sent.last().unwrap();
    assert_eq!((*port, *to), (Port::Rtp, phone()));
    let mut read = Vec::new();
    parse_compound(datagram).unwrap().for_each(|item| read.push(item));
    let blocks: Vec<_> = read[0].report_blocks().collect();
    assert!(matches!(read[0], RtcpItem::ReceiverReport { .. }), "nothing was sent");
    assert_eq!((blocks[0].ssrc, blocks[0].cumulative_lost), (7, 1));
    assert!(matches!(read[2], RtcpItem::Bye { .. }));
}

#[test]
fn muxed_rtcp_is_told_from_rtp() {
    let mut bench = Bench::new(LegParams { rtcp_mux: true, ..leg_params() });
    let mut datagram = Vec::new();
    let _ = RtcpBuilder::new(&mut datagram).receiver_report(1, &[]);
    bench.receive(0, &datagram);
    let stats = bench.leg.stats();
    assert_eq!((stats.rtcp_received, stats.packets_received), (1, 0));
}

#[test]
fn a_new_ssrc_goes_on_without_a_hole() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.receive(20, &packet(9, 123_456, 8, 0, &[2; 160]));
    bench.receive(40, &packet(10, 123_616, 8, 0, &[3; 160]));
    bench.receive(1000, &packet(11, 123_776, 8, 0, &[3; 160]));
    let frames = bench.record.media_frames("inbound");
    assert_eq!(frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(), [0, 20, 40, 60]);
    assert_eq!(bench.record.events.len(), 2, "told, but not more often than once a second");
    assert_eq!((bench.leg.stats().resyncs, bench.leg.stats().packets_lost), (1, 0));
}

#[test]
fn what_is_out_of_range_is_refused_and_changes_nothing() {
    let mut bench = Bench::unconnected();
    let now = bench.start;
    for params in [
        LegParams { clock_rate_hz: 16_000, ..leg_params() },
        LegParams { payload_type: 128, ..leg_params() },
        LegParams { dtmf_payload_type: Some(0), ..leg_params() },
        LegParams { ptime_ms: 0, ..leg_params() },
    ] {
        assert!(matches!(bench.leg.connect(now, params), Err(Refused::OutOfRange(_))));
    }
    for params in [
        StreamParams { format: l16(11_025), ..stream_params() },
        StreamParams { frame_ms: 10, ..stream_params() },
        StreamParams { frame_ms: 101, ..stream_params() },
        StreamParams { buffer_ms: 1_000_000, ..stream_params() },
        StreamParams { start_json: "[]".to_owned(), ..stream_params() },
    ] {
        assert!(matches!(bench.leg.add_stream(now, STREAM, params), Err(Refused::OutOfRange(_))));
    }
    assert!(bench.leg.stats().taps.is_empty());
    let fork = ForkParams { rx: None, tx: None, strep: None };
    for tap in 0..offhook_media::limits::TAPS_MAX as u64 {
        bench.leg.add_fork(now, TapId(tap), fork).unwrap();
    }
    assert_eq!(bench.leg.add_fork(now, TapId(3), fork), Err(Refused::TapExists));
    assert_eq!(bench.leg.add_fork(now, TapId(99), fork), Err(Refused::TooManyTaps));
    assert_eq!(bench.leg.remove_tap(now, TapId(99), "x", &mut bench.record), Err(Refused::NoSuchTap));
    assert_eq!(bench.leg.begin_stream(now, TapId(0), &mut bench.record), Err(Refused::NoSuchTap));
}

#[test]
fn a_closed_leg_does_nothing_more() {
    let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    bench.add_fork();
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.leg.close(bench.at(10), &mut bench.record);
    let closed = bench.record.events.iter().filter(|event| matches!(event, Event::TapClosed { .. })).count();
    assert_eq!(closed, 2);
    let before = bench.record.sent.len();
    bench.voice(1);
    bench.run_to(10_000);
    bench.leg.close(bench.at(10_000), &mut bench.record);
    assert_eq!(bench.record.sent.len(), before);
    assert_eq!(bench.leg.poll_timeout(), None);
    let params = PlayParams { pcm: vec![1], sample_rate_hz: 8000, loops: 1, overlay: false };
    assert_eq!(bench.try_play(1, params), Err(Refused::Closed));
    assert_eq!(bench.leg.connect(bench.now(), leg_params()), Err(Refused::Closed));
}

#[test]
fn what_is_held_for_a_late_packet_is_not_lost_at_the_end() {
    let mut bench = Bench::new(leg_params());
    bench.add_stream(stream_params());
    bench.voice(0);
    bench.voice(2);
    bench.leg.close(bench.now(), &mut bench.record);
    assert_eq!(bench.record.media_frames("inbound").len(), 3);
    assert_eq!(bench.leg.poll_timeout(), None);
}

#[test]
fn a_peer_that_plays_tricks_costs_counters_and_few_events() {
    let mut bench = Bench::new(leg_params());
    for n in 0..1000_u16 {
        bench.receive(
            u64::from(n) / 10,
            &packet(n, u32::from(n) * 500, u32::from(n % 2), 101, &[1, 0x8a, 0, 160]),
        );
        bench.receive(u64::from(n) / 10, &packet(n, u32::from(n) * 500, u32::from(n % 2), 0, &[1; 1600]));
    }
    assert!(bench.record.events.len() <= 26, "{}", bench.record.events.len());
    let stats = bench.leg.stats();
    assert_eq!(stats.digits_received, 25);
    assert!(stats.digits_dropped > 100);
}
