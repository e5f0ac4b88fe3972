//! Keys that come as tones in the audio.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use common::*;
use offhook_codec::{ByteOrder, Codec, Encoder, Format};
use offhook_media::{Event, InbandDtmf, LegParams};
use offhook_rtp::TelephoneEventSender;

/// 100 ms of the key 5, then as much silence, in packets of 20 ms.
fn five(format: Format) -> Vec<Vec<u8>> {
    let rate_hz = f64::from(format.sample_rate_hz());
    let sample = |n: usize| {
        let t = std::f64::consts::TAU * n as f64 / rate_hz;
        (5000.0 * ((770.0 * t).sin() + (1336.0 * t).sin())) as i16
    };
    let mut pcm: Vec<i16> = (0..format.samples(100)).map(sample).collect();
    pcm.resize(format.samples(200), 0);
    let mut encoder = Encoder::new(format).unwrap();
    let payload = |frame: &[i16]| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).unwrap();
        payload
    };
    pcm.chunks(format.samples(20)).map(payload).collect()
}

fn without_events(format: Format) -> LegParams {
    LegParams { format, clock_rate_hz: format.clock_rate_hz(), dtmf_payload_type: None, ..leg_params() }
}

/// Let the leg hear `packets` from packet number `first` on; those in `lost` do not come.
fn hear(bench: &mut Bench, format: Format, first: u16, packets: &[Vec<u8>], lost: &[usize]) {
    for (n, payload) in packets.iter().enumerate().filter(|(n, _)| !lost.contains(n)) {
        let number = first + n as u16;
        let datagram = packet(number, u32::from(number) * format.clock_ticks(20), 7, 0, payload);
        bench.receive(u64::from(number) * 20, &datagram);
    }
}

fn digits(bench: &Bench) -> Vec<(char, u64, u32)> {
    let digit = |event: &Event| match event {
        Event::Digit { digit, at_ms, duration_ms } => Some((*digit, *at_ms, *duration_ms)),
        _ => None,
    };
    bench.record.events.iter().filter_map(digit).collect()
}

#[test]
fn a_tone_is_told_as_a_telephone_event_would_be() {
    let l16 = Format::L16 { sample_rate_hz: 16_000, byte_order: ByteOrder::Big };
    for format in [Codec::Pcmu.into(), Codec::Pcma.into(), Format::G722, l16] {
        let mut bench = Bench::new(without_events(format));
        bench.add_stream(stream_params());
        hear(&mut bench, format, 10, &five(format), &[]);
        let [(digit, at_ms, duration_ms)] = digits(&bench)[..] else { panic!("{format:?}") };
        assert_eq!(digit, '5');
        // The packet that came at 200 ms carries what was said from there on, or as good as.
        assert!(at_ms.abs_diff(200) <= 20 && duration_ms.abs_diff(100) <= 15, "{at_ms} {duration_ms}");
        let frames = bench.record.events_named("dtmf");
        assert_eq!((frames.len(), &frames[0]["dtmf"]["digit"]), (1, &"5".into()), "{format:?}");
        let stats = bench.leg.stats();
        assert_eq!((stats.digits_received, stats.digits_inband), (1, 1));
    }
}

#[test]
fn a_lost_packet_neither_hides_nor_doubles_a_key() {
    let format = Codec::Pcmu.into();
    for lost in 0..5 {
        let mut bench = Bench::new(without_events(format));
        hear(&mut bench, format, 0, &five(format), &[lost]);
        bench.run_to(600);
        assert_eq!(digits(&bench).len(), 1, "packet {lost} lost");
    }
}

#[test]
fn a_key_is_told_though_no_audio_follows() {
    let format = Codec::Pcmu.into();
    let mut bench = Bench::new(without_events(format));
    hear(&mut bench, format, 0, &five(format)[..5], &[]);
    assert_eq!(digits(&bench), []);
    bench.run_to(500);
    assert_eq!(digits(&bench).len(), 1);
}

#[test]
fn tones_are_not_listened_for_where_nobody_asked() {
    let format = Codec::Pcmu.into();
    for params in [
        leg_params(),
        LegParams { inband_dtmf: InbandDtmf::Off, ..without_events(format) },
        LegParams { receiving: false, ..without_events(format) },
    ] {
        let mut bench = Bench::new(params);
        hear(&mut bench, format, 0, &five(format), &[]);
        assert_eq!(digits(&bench), []);
    }
    let mut bench = Bench::new(LegParams { inband_dtmf: InbandDtmf::On, ..leg_params() });
    hear(&mut bench, format, 0, &five(format), &[]);
    assert_eq!(digits(&bench).len(), 1);
}

#[test]
fn a_key_that_comes_both_ways_is_told_once() {
    let format = Codec::Pcmu.into();
    let mut bench = Bench::new(LegParams { inband_dtmf: InbandDtmf::On, ..leg_params() });
    // The first 60 ms are heard as a tone before the phone turns to telephone-events.
    for press in 0..3_u16 {
        let first = press * 50;
        hear(&mut bench, format, first, &five(format)[..3], &[]);
        let mut sender = TelephoneEventSender::new('5', 100, 20, 8000).unwrap();
        let mut n = 3;
        while let Some(event) = sender.next_packet() {
            let number = first + n;
            bench.receive(
                u64::from(number) * 20,
                &packet(number, u32::from(first + 3) * 160, 7, 101, &event.payload),
            );
            n += 1;
        }
        hear(&mut bench, format, first + n, &five(format)[5..], &[]);
    }
    bench.run_to(5000);
    assert_eq!(digits(&bench).len(), 3);
    assert_eq!(bench.leg.stats().digits_inband, 0);
}

#[test]
fn a_re_invite_goes_on_listening() {
    let format = Codec::Pcmu.into();
    let mut bench = Bench::new(without_events(format));
    let tones = five(format);
    hear(&mut bench, format, 0, &tones[..2], &[]);
    bench.leg.connect(bench.now(), without_events(format)).unwrap();
    hear(&mut bench, format, 2, &tones[2..], &[]);
    assert_eq!(digits(&bench).len(), 1);
    bench.leg.connect(bench.now(), leg_params()).unwrap();
    hear(&mut bench, format, 50, &tones, &[]);
    assert_eq!(digits(&bench).len(), 1, "telephone-event was agreed on");
}
