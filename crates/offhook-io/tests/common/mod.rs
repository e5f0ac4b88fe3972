//! What the tests of the engine have in common: usual parameters, packets, waiting for events.

#![allow(dead_code, reason = "not every test uses everything")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the reach of allow-unwrap-in-tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use offhook_io::{Engine, EngineConfig, Event, ReconnectPlan, StreamTarget};
use offhook_media::{AppHeard, Codec, LegParams, OpusSettings, StreamParams};

pub(crate) const WAIT: Duration = Duration::from_secs(30);

pub(crate) fn engine(port_min: u16, port_max: u16, workers: usize) -> Engine {
    Engine::start(&EngineConfig {
        workers,
        bind_address: "127.0.0.1".parse().unwrap(),
        port_min,
        port_max,
        drain: Duration::ZERO,
        ca_file: None,
        tls_verify: true,
    })
    .unwrap()
}

pub(crate) fn leg_params() -> LegParams {
    LegParams {
        format: Codec::Pcmu.into(),
        opus: OpusSettings::default(),
        amr_modes: 0,
        payload_type: 0,
        clock_rate_hz: 8_000,
        ptime_ms: 20,
        dtmf_payload_type: None,
        dtmf_clock_rate_hz: 8000,
        inband_dtmf: offhook_media::InbandDtmf::Auto,
        remote_rtp: "127.0.0.1:9".parse().unwrap(),
        remote_rtcp: "127.0.0.1:9".parse().unwrap(),
        rtcp_mux: true,
        sending: true,
        receiving: true,
        silence_when_idle: false,
        keepalive: Duration::ZERO,
        media_timeout: None,
    }
}

pub(crate) fn stream_params(buffer_ms: u32) -> StreamParams {
    StreamParams {
        rx: true,
        tx: false,
        format: Codec::Pcmu.into(),
        app_format: None,
        app_heard: AppHeard::Own,
        binary_media: false,
        frame_ms: 20,
        stream_id: "s".into(),
        connected_json: r#"{"event":"connected"}"#.into(),
        start_json: "{}".into(),
        stop_json: "{}".into(),
        buffer_ms,
        fill_gaps: true,
    }
}

pub(crate) fn target(address: SocketAddr) -> StreamTarget {
    StreamTarget {
        url: format!("ws://{address}/media"),
        addresses: vec![address],
        headers: vec![],
        connect_timeout: Duration::from_secs(3),
        connect_retries: vec![],
        reconnect: ReconnectPlan::default(),
        ping: Duration::from_secs(20),
    }
}

pub(crate) fn rtp(number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.extend([number.to_be_bytes()[1]; 160]);
    packet
}

pub(crate) fn counter(engine: &Engine, name: &str) -> u64 {
    engine.counters().into_iter().find(|(found, _)| *found == name).unwrap().1
}

/// Collect events until one fits.
pub(crate) fn until(engine: &Engine, seen: &mut Vec<Event>, fits: impl Fn(&Event) -> bool) {
    let begun = Instant::now();
    loop {
        let events = engine.poll_events();
        let found = events.iter().any(&fits);
        seen.extend(events);
        if found {
            return;
        }
        assert!(begun.elapsed() < WAIT, "it did not happen; what did: {seen:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
