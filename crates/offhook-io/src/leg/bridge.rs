//! A leg that is bridged to another one, and one that moves to another worker for that.

use std::time::Instant;

use offhook_media::{Refused, Relayed};
use rustix::event::epoll::{self, EventData, EventFlags};

use super::{Leg, LegSink};
use crate::context::{Context, PART_RTCP, PART_RTP, token};

impl Leg {
    /// Hand what comes to another leg of this worker.
    pub(crate) fn bridge(&mut self, now: Instant, other: u64, keys: bool) -> Result<(), Refused> {
        self.media.bridge(now, keys)?;
        self.io.other = Some(other);
        Ok(())
    }

    /// Hand nothing more to it. False when it is bridged to another one meanwhile.
    pub(crate) fn unbridge(&mut self, now: Instant, other: u64) -> bool {
        if self.io.other != Some(other) {
            return false;
        }
        self.io.other = None;
        self.media.unbridge(now);
        true
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Take what the other leg hands over.
    pub(crate) fn receive_relayed(&mut self, now: Instant, item: Relayed<'_>, cx: &mut Context) {
        self.media.receive_relayed(now, item, &mut LegSink { io: &mut self.io, cx });
    }

    /// Leave this worker: nothing of the leg is watched here from now on.
    pub(crate) fn depart(&mut self, to: usize, cx: &Context) {
        for bound in [&self.io.rtp, &self.io.rtcp].into_iter().flatten() {
            let _ = epoll::delete(&cx.epoll, &bound.socket);
        }
        for stream in &mut self.io.streams {
            if !stream.interest.is_empty()
                && let Some(transport) = stream.transport()
            {
                let _ = epoll::delete(&cx.epoll, transport.fd());
            }
            stream.interest = EventFlags::empty();
        }
        self.io.home.move_to(to);
        self.armed = None;
    }

    /// Live on this worker from now on.
    pub(crate) fn arrive(&mut self, slot: u32, cx: &Context) -> rustix::io::Result<()> {
        self.io.slot = slot;
        // Streams are watched again by `settle`.
        self.io.attention = true;
        for (bound, part) in [(&self.io.rtp, PART_RTP), (&self.io.rtcp, PART_RTCP)] {
            if let Some(bound) = bound {
                epoll::add(&cx.epoll, &bound.socket, EventData::new_u64(token(slot, part)), EventFlags::IN)?;
            }
        }
        Ok(())
    }
}
