//! Announces and scrapes against a tracker, over UDP (BEP 15) or HTTP (BEP 3, 23, 48), at a fixed
//! rate: an open loop. Each answer is checked and timed from the moment its request was due,
//! whatever the tracker or the load did meanwhile; how late the load itself was is told beside.
//! Or so many at once: a closed loop, for what a tracker costs when it is busy all the time. Nothing is sent twice: what is not answered in time is an error.
//!
//! What is said and understood is pure (`crowd`, `udp`, `waiting`, `http`, `response`, `check`);
//! `thread` drives it on a ring.

pub mod check;
pub mod crowd;
pub mod http;
pub mod limits;
pub mod response;
pub mod tally;
mod thread;
pub mod udp;
pub mod waiting;

use std::net::IpAddr;

use crate::context::Context;
use crate::plan::{Announces, Tracker, Transport};

use crowd::{Crowd, Size};

/// Whom the load announces to, and from where.
#[derive(Clone, Debug)]
pub struct Announcers {
    pub tracker: Tracker,
    /// The address of the first source, and the step to the next one's.
    pub from: Option<(IpAddr, u32)>,
    /// Connections of the loads before it in the phase, which have the addresses before.
    pub addresses_before: u32,
}

/// The part of a load that one thread carries.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Part {
    /// What all threads do together.
    all: Announces,
    /// This thread among so many.
    place: u32,
    places: u32,
}

impl Part {
    /// UDP sockets or HTTP connections of a thread.
    fn sources(&self) -> u32 {
        sources_of(self.all.transport)
    }

    /// Its peers, if its first source has this number among those of all loads.
    fn crowd(&self, first_source: u32) -> Crowd {
        let size = Size {
            torrents: self.all.torrents,
            sources: self.sources(),
            first_source,
            peers_a_source: self.all.peers.div_ceil(self.places * self.sources()),
        };
        let mut crowd = Crowd::new(size, self.all.scrapes, u64::from(self.place));
        if self.all.fill {
            crowd.fill();
        }
        crowd
    }
}

/// Sources of a thread.
fn sources_of(transport: Transport) -> u32 {
    match transport {
        Transport::Udp => limits::UDP_SOURCES,
        Transport::Http => limits::HTTP_CONNECTIONS,
    }
}

/// Sources of all threads: what descriptors are needed for, and what the opening waits for.
pub fn connections_of(transport: Transport, places: u32) -> u32 {
    places * sources_of(transport)
}

/// Starts the threads of a load that announces, one a place. Returns how many. Each tells
/// [`Ready`](crate::note::Event::Ready) for each source that has a connection id, or for each HTTP
/// connection, then what it sees, and ends when what was due within the counted time is answered.
///
/// # Errors
/// No thread is to be had.
pub fn start(
    context: &Context,
    announcers: &Announcers,
    announces: &Announces,
) -> anyhow::Result<usize> {
    let places = context.places.len() as u32;
    for (place, at) in (0..).zip(context.places.iter()) {
        let part = Part { all: *announces, place, places };
        let announcers = announcers.clone();
        context.spawn(format!("announce-{place}"), at.clone(), move |context| {
            thread::run(context, &announcers, &part).map_err(|error| format!("{error:#}"))
        })?;
    }
    Ok(context.places.len())
}
