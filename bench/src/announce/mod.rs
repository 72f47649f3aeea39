//! Announces and scrapes at a fixed rate against a tracker, over UDP (BEP 15) or HTTP (BEP 3, 23,
//! 48): an open loop. Each answer is checked and timed from the moment its request was due,
//! whatever the tracker or the load did meanwhile; how late the load itself was is told beside.
//! Nothing is sent twice: what is not answered in time is an error.
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
use crate::plan::{Kind, Tracker, Transport};

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
    transport: Transport,
    /// Requests a second of all threads.
    rate: f64,
    torrents: u32,
    scrapes: f64,
    /// This thread among so many.
    place: u32,
    places: u32,
}

impl Part {
    /// UDP sockets or HTTP connections of a thread.
    fn sources(&self) -> u32 {
        sources_of(self.transport)
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
/// It is another kind of load, or no thread is to be had.
pub fn start(context: &Context, announcers: &Announcers, kind: &Kind) -> anyhow::Result<usize> {
    let Kind::Announce { transport, rate, torrents, scrapes } = *kind else {
        anyhow::bail!("a load that does not announce");
    };
    let places = context.places.len() as u32;
    for (place, at) in (0..).zip(context.places.iter()) {
        let part = Part { transport, rate, torrents, scrapes, place, places };
        let announcers = announcers.clone();
        context.spawn(format!("announce-{place}"), at.clone(), move |context| {
            thread::run(context, &announcers, &part).map_err(|error| format!("{error:#}"))
        })?;
    }
    Ok(context.places.len())
}
