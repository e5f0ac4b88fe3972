//! What a leg sends, and when.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use offhook_media::limits::PLAYS_BYTES_MAX;
use offhook_media::{Codec, Event, Format, LegParams, PLAYED_RATES_HZ, PlayParams, Refused, Track};

fn ended(bench: &Bench) -> Vec<(u64, bool)> {
    let play_ended = |event: &Event| match event {
        Event::PlayEnded { played_ms, completed, .. } => Some((*played_ms, *completed)),
        _ => None,
    };
    bench.record.events.iter().filter_map(play_ended).collect()
}

#[test]
fn played_audio_is_paced_exactly_from_its_first_packet() {
    let mut bench = Bench::new(leg_params());
    bench.run_to(1000);
    assert!(bench.record.rtp().is_empty(), "nothing is sent when nothing is played");
    let pcm: Vec<i16> = (0..800).map(|n| n * 40).collect();
    bench.play(&pcm, 8000);
    bench.run_to(3000);
    let sent = bench.record.rtp();
    assert_eq!(sent.iter().map(|packet| packet.ms).collect::<Vec<_>>(), [1000, 1020, 1040, 1060, 1080]);
    assert_eq!(
        sent.iter().map(|packet| packet.marker).collect::<Vec<_>>(),
        [true, false, false, false, false]
    );
    for pair in sent.windows(2) {
        assert_eq!(pair[1].seq.distance_from(pair[0].seq), 1);
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), 160);
    }
    let mut expected = Vec::new();
    Codec::Pcmu.encode(&pcm, &mut expected);
    assert_eq!(sent.into_iter().flat_map(|packet| packet.payload).collect::<Vec<_>>(), expected);
    assert_eq!(ended(&bench), [(100, true)]);
}

#[test]
fn the_last_packet_is_padded_with_silence() {
    let mut bench = Bench::new(LegParams { format: Codec::Pcma.into(), payload_type: 8, ..leg_params() });
    bench.play(&[1000; 200], 8000);
    bench.run_to(100);
    let sent = bench.record.rtp();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].payload_type, 8);
    assert!(sent[1].payload[40..].iter().all(|&byte| byte == 0xd5));
    assert_eq!(sent[1].payload.len(), 160);
    assert_eq!(ended(&bench), [(25, true)]);
}

#[test]
fn a_pause_is_a_jump_of_the_timestamp_and_a_marker() {
    let mut bench = Bench::new(leg_params());
    bench.play(&[1000; 160], 8000);
    bench.run_to(500);
    bench.play(&[1000; 320], 8000);
    bench.run_to(1000);
    let sent = bench.record.rtp();
    assert_eq!(sent[1].timestamp.wrapping_sub(sent[0].timestamp), 4000);
    assert_eq!(sent.iter().map(|packet| packet.marker).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(sent[1].seq.distance_from(sent[0].seq), 1);
}

#[test]
fn audio_queued_in_time_goes_on_without_a_seam() {
    let mut bench = Bench::new(leg_params());
    bench.play(&[1000; 160], 8000);
    bench.run_to(15);
    bench.play(&[1000; 160], 8000);
    bench.run_to(100);
    let sent = bench.record.rtp();
    assert_eq!(sent.iter().map(|packet| packet.ms).collect::<Vec<_>>(), [0, 20]);
    assert!(!sent[1].marker);
    assert_eq!(sent[1].timestamp.wrapping_sub(sent[0].timestamp), 160);
}

#[test]
fn a_late_wake_up_sends_three_at_most_and_then_slips() {
    let mut bench = Bench::new(leg_params());
    bench.play(&vec![1000; 160 * 20], 8000);
    bench.run_to(20);
    // 50 ms late: what is due is caught up, and the next is on the old grid.
    bench.record.now_ms = 90;
    bench.leg.handle_timeout(bench.at(90), &mut bench.record);
    assert_eq!(bench.record.rtp().len(), 5);
    assert_eq!(bench.leg.poll_timeout(), Some(bench.at(100)));
    // 300 ms late: three, then a pause of one ptime; nothing is lost.
    bench.record.now_ms = 400;
    bench.leg.handle_timeout(bench.at(400), &mut bench.record);
    assert_eq!(bench.record.rtp().len(), 8);
    assert_eq!(bench.leg.stats().playout_slips, 1);
    assert_eq!(bench.leg.poll_timeout(), Some(bench.at(420)));
    bench.run_to(2000);
    let sent = bench.record.rtp();
    assert_eq!(sent.len(), 20);
    assert!(sent[8].marker);
    assert_eq!(sent[8].timestamp.wrapping_sub(sent[0].timestamp), 420 * 8);
    assert_eq!(ended(&bench), [(400, true)]);
}

#[test]
fn a_long_play_does_not_drift_when_every_wake_up_is_late() {
    let mut bench = Bench::new(leg_params());
    bench.play(&vec![1000; 8000 * 50], 8000);
    let mut n = 0;
    while let Some(due) = bench.leg.poll_timeout() {
        n += 1;
        let late = due + Duration::from_micros(n * 7919 % 15_000);
        bench.leg.handle_timeout(late, &mut bench.record);
        if !ended(&bench).is_empty() {
            assert_eq!(due, bench.at(49_980));
            break;
        }
    }
    assert_eq!(bench.record.rtp().len(), 2500);
    assert_eq!(bench.leg.stats().playout_slips, 0);
}

#[test]
fn sixteen_kilohertz_is_halved() {
    let mut bench = Bench::new(leg_params());
    for _ in 0..5 {
        bench.play(&[8000; 320], 16_000);
    }
    bench.run_to(500);
    let sent = bench.record.rtp();
    assert_eq!(sent.len(), 6, "the filter's tail of 2 ms fills a sixth");
    assert!(sent[2].payload.iter().all(|&byte| (Codec::Pcmu.decode_sample(byte) - 8000).abs() < 200));
}

#[test]
fn what_is_stopped_says_how_far_it_came() {
    let mut bench = Bench::new(leg_params());
    bench.play(&[1000; 8000], 8000);
    bench.run_to(110);
    assert_eq!(bench.stop_play(1), Ok(()));
    assert_eq!(bench.stop_play(1), Err(Refused::NoSuchPlay));
    bench.run_to(1000);
    assert_eq!(bench.record.rtp().len(), 6);
    assert_eq!(ended(&bench), [(120, false)]);
    let stats = bench.leg.stats();
    assert_eq!((stats.played_ms, stats.discarded_ms, stats.queued_ms), (120, 880, 0));
}

#[test]
fn plays_wait_for_one_another_and_each_is_told_once() {
    let mut bench = Bench::new(leg_params());
    bench.play(&[1000; 320], 8000);
    bench.play(&[3000; 320], 8000);
    bench.play(&[5000; 320], 8000);
    bench.run_to(10);
    assert_eq!(bench.plays(), [(1, None)]);
    bench.stop_play(2).unwrap();
    bench.run_to(200);
    let expected =
        [(1, None), (2, Some((0, false))), (1, Some((40, true))), (3, None), (3, Some((40, true)))];
    assert_eq!(bench.plays(), expected);
    assert_eq!(levels(&bench), [1000, 1000, 5000, 5000]);
}

#[test]
fn rounds_are_counted_and_an_endless_play_ends_with_its_leg() {
    let mut bench = Bench::new(leg_params());
    let params = |loops| PlayParams { pcm: vec![1000; 400], sample_rate_hz: 8000, loops, overlay: false };
    bench.try_play(1, params(3)).unwrap();
    bench.try_play(2, params(0)).unwrap();
    bench.run_to(60_000);
    assert_eq!(bench.record.rtp().len(), 3001);
    bench.leg.close(bench.now(), &mut bench.record);
    let expected = [(1, None), (1, Some((150, true))), (2, None), (2, Some((59_870, false)))];
    assert_eq!(bench.plays(), expected);
}

#[test]
fn an_overlay_is_mixed_over_what_plays_and_neither_stops_the_other() {
    let mut bench = Bench::new(leg_params());
    let over = |loops| PlayParams { pcm: vec![2000; 160], sample_rate_hz: 8000, loops, overlay: true };
    bench.play(&[1000; 800], 8000);
    bench.run_to(10);
    bench.try_play(7, over(1)).unwrap();
    bench.try_play(8, over(0)).unwrap();
    bench.run_to(50);
    bench.stop_play(8).unwrap();
    bench.run_to(200);
    assert_eq!(levels(&bench), [1000, 3000, 3000, 1000, 1000]);
    let expected = [
        (1, None),
        (7, None),
        (7, Some((20, true))),
        (8, None),
        (8, Some((20, false))),
        (1, Some((100, true))),
    ];
    assert_eq!(bench.plays(), expected);
    // Over nothing it is heard alone.
    bench.try_play(9, over(2)).unwrap();
    bench.run_to(400);
    assert_eq!(levels(&bench)[5..], [2000, 2000]);
}

#[test]
fn what_waits_is_bounded_by_number_and_by_bytes() {
    let mut bench = Bench::new(leg_params());
    let params =
        |samples, overlay| PlayParams { pcm: vec![1; samples], sample_rate_hz: 48_000, loops: 1, overlay };
    bench.try_play(1, params(PLAYS_BYTES_MAX / 4, false)).unwrap();
    bench.try_play(2, params(PLAYS_BYTES_MAX / 4, true)).unwrap();
    assert_eq!(bench.try_play(3, params(1, false)), Err(Refused::PlayoutFull));
    assert_eq!(bench.leg.stats().queued_ms, 349_525);
    bench.stop_play(2).unwrap();
    for id in 10..73 {
        bench.try_play(id, params(1, id % 2 == 0)).unwrap();
    }
    assert_eq!(bench.try_play(100, params(1, true)), Err(Refused::PlayoutFull));
    bench.stop_play(72).unwrap();
    assert_eq!(bench.try_play(71, params(1, true)), Err(Refused::PlayExists));
    assert_eq!(bench.try_play(100, params(0, true)), Err(Refused::OutOfRange("pcm")));
    let odd = PlayParams { sample_rate_hz: 44_000, ..params(1, false) };
    assert_eq!(bench.try_play(100, odd), Err(Refused::OutOfRange("sample_rate_hz")));
    assert_eq!(bench.try_play(100, params(1, true)), Ok(()));
}

#[test]
fn every_rate_of_files_is_heard_at_every_rate_of_legs() {
    for leg_hz in [8000, 16_000, 22_050, 24_000, 48_000] {
        for rate_hz in PLAYED_RATES_HZ {
            let format = Format::L16 { sample_rate_hz: leg_hz, byte_order: offhook_media::ByteOrder::Big };
            let mut bench =
                Bench::new(LegParams { format, payload_type: 96, clock_rate_hz: leg_hz, ..leg_params() });
            bench.play(&vec![1000; rate_hz as usize], rate_hz);
            bench.run_to(2000);
            let sent: Vec<u8> = bench.record.rtp().into_iter().flat_map(|packet| packet.payload).collect();
            let middle = &sent[leg_hz as usize..leg_hz as usize + 8000];
            let level = |bytes: &[u8]| i16::from_be_bytes([bytes[0], bytes[1]]);
            assert!(middle.chunks(2).all(|bytes| level(bytes).abs_diff(1000) < 10), "{rate_hz} at {leg_hz}");
            assert_eq!(ended(&bench), [(1000, true)], "{rate_hz} at {leg_hz}");
        }
    }
}

/// The loudness of each packet, rounded.
fn levels(bench: &Bench) -> Vec<i16> {
    let level = |byte| (Codec::Pcmu.decode_sample(byte) + 250) / 500 * 500;
    bench.record.rtp().iter().map(|packet| level(packet.payload[80])).collect()
}

#[test]
fn silence_when_idle_fills_every_ptime_and_stays_in_step_with_play() {
    let mut bench = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    bench.run_to(50);
    bench.play(&[1000; 160], 8000);
    bench.run_to(99);
    let sent = bench.record.rtp();
    assert_eq!(sent.iter().map(|packet| packet.ms).collect::<Vec<_>>(), [0, 20, 40, 60, 80]);
    assert!(sent[1].payload.iter().all(|&byte| byte == 0xff));
    assert!(sent[3].payload.iter().all(|&byte| byte != 0xff));
    assert_eq!(sent.iter().filter(|packet| packet.marker).count(), 1);
}

#[test]
fn a_keepalive_goes_out_at_connect_and_then_in_its_interval() {
    let mut bench = Bench::new(LegParams { keepalive: Duration::from_secs(5), ..leg_params() });
    bench.run_to(10_001);
    assert_eq!(bench.record.rtp().iter().map(|packet| packet.ms).collect::<Vec<_>>(), [0, 5000, 10_000]);
    bench.play(&vec![1; 8000 * 6], 8000);
    bench.run_to(16_001);
    assert_eq!(bench.record.rtp().len(), 3 + 300, "no keepalive while audio goes out");
}

#[test]
fn a_leg_that_may_not_send_keeps_what_is_queued() {
    let mut bench = Bench::new(LegParams { sending: false, silence_when_idle: true, ..leg_params() });
    bench.play(&[1000; 320], 8000);
    bench.run_to(1000);
    assert!(bench.record.rtp().is_empty());
    bench.leg.connect(bench.at(1000), leg_params()).unwrap();
    bench.run_to(2000);
    assert_eq!(bench.record.rtp().iter().map(|packet| packet.ms).collect::<Vec<_>>(), [1000, 1020]);
}

#[test]
fn nothing_is_sent_to_an_address_that_means_hold() {
    let nowhere = "0.0.0.0:4000".parse().unwrap();
    let mut bench = Bench::new(LegParams {
        remote_rtp: nowhere,
        remote_rtcp: nowhere,
        silence_when_idle: true,
        ..leg_params()
    });
    bench.run_to(10_000);
    assert!(bench.record.sent.is_empty());
}

#[test]
fn digits_are_events_with_one_timestamp_each_and_audio_waits() {
    let mut bench = Bench::new(leg_params());
    bench.play(&[1000; 320], 8000);
    bench.leg.send_digits(bench.start, "5#", 60, 40).unwrap();
    bench.run_to(1000);
    let sent = bench.record.rtp();
    let kinds: Vec<_> = sent.iter().map(|packet| (packet.ms, packet.payload_type)).collect();
    let digit = |from: u64| (0..5).map(move |n| (from + n * 20, 101));
    let expected: Vec<_> = digit(0).chain(digit(140)).chain([(280, 0), (300, 0)]).collect();
    assert_eq!(kinds, expected);
    assert!(sent[..5].iter().all(|packet| packet.timestamp == sent[0].timestamp));
    assert_eq!(sent[5].timestamp.wrapping_sub(sent[0].timestamp), 140 * 8);
    assert_eq!(sent[10].timestamp.wrapping_sub(sent[0].timestamp), 280 * 8);
    assert_eq!((sent[0].payload[0], sent[5].payload[0]), (5, 11));
    assert_eq!((bench.leg.stats().digits_sent, ended(&bench)), (2, vec![(40, true)]));
}

#[test]
fn digits_without_an_agreed_payload_type_are_refused() {
    let mut bench = Bench::new(LegParams { dtmf_payload_type: None, ..leg_params() });
    assert_eq!(bench.leg.send_digits(bench.start, "1", 100, 50), Err(Refused::NoTelephoneEvent));
    let mut bench = Bench::new(leg_params());
    assert_eq!(bench.leg.send_digits(bench.start, "1x", 100, 50), Err(Refused::OutOfRange("digits")));
    assert_eq!(bench.leg.send_digits(bench.start, "1", 10, 50), Err(Refused::OutOfRange("duration_ms")));
    assert_eq!(bench.leg.send_digits(bench.start, "1", 100, 9000), Err(Refused::OutOfRange("gap_ms")));
    assert_eq!(bench.leg.send_digits(bench.start, &"1".repeat(257), 100, 0), Err(Refused::DigitsFull));
}

#[test]
fn taps_of_the_tx_track_get_what_is_sent() {
    let mut bench = Bench::new(leg_params());
    bench.add_fork();
    bench.add_stream(stream_params());
    bench.add_speech(Track::Tx, 8000, 20);
    bench.play(&[1000; 480], 8000);
    bench.run_to(100);
    let sent: Vec<_> =
        bench.record.sent.iter().map(|(_, _, _, datagram)| (fork_tx(), datagram.clone())).collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(bench.record.forked, sent);
    let frames = bench.record.media_frames("outbound");
    assert_eq!(frames.iter().map(|frame| frame.timestamp_ms).collect::<Vec<_>>(), [0, 20, 40]);
    assert_eq!(
        frames.into_iter().map(|frame| frame.payload).collect::<Vec<_>>(),
        bench.record.rtp().into_iter().map(|packet| packet.payload).collect::<Vec<_>>()
    );
    assert!(bench.record.media_frames("inbound").is_empty());
    assert_eq!(bench.record.audio.iter().map(|(_, at, _)| *at).collect::<Vec<_>>(), [0, 20, 40]);
}

#[test]
fn two_seeds_give_two_sources() {
    let mut first = Bench::new(LegParams { silence_when_idle: true, ..leg_params() });
    first.run_to(0);
    let mut other = offhook_media::MediaLeg::new(first.start, Duration::ZERO, 43);
    other.connect(first.start, LegParams { silence_when_idle: true, ..leg_params() }).unwrap();
    let mut record = common::Record::default();
    other.handle_timeout(first.start, &mut record);
    assert_ne!(first.record.sent[0].3[2..12], record.sent[0].3[2..12]);
}
