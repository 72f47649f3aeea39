//! The announcer against small trackers on loopback, in virtual time: nothing here waits for a
//! clock, and the time-outs of minutes are exact.

mod fake_http;
mod fake_udp;
mod http;
mod udp;

use ringseed::service::announcer::{
    Announcer, AnnouncerHandle, AnnouncerOptions, Notice, Owner, StopSummary, Subject, Totals,
};
use ringseed_meta::{InfoHash, PeerId, TorrentId};
use ringseed_sched::announce::Family;
use smallvec::smallvec;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The service, as the announcer sees it.
#[derive(Default)]
struct Desk {
    notices: Mutex<Vec<Notice>>,
    peers: Mutex<Vec<SocketAddr>>,
}

impl Owner for Desk {
    fn totals(&self, torrent: TorrentId) -> Totals {
        let uploaded_bytes = 1000 + u64::from(torrent.0);
        Totals { uploaded_bytes, downloaded_bytes: 0, left_bytes: 0 }
    }

    fn notice(&self, notice: Notice) {
        self.notices.lock().unwrap().push(notice);
    }

    fn peers(&self, _: TorrentId, _: InfoHash, peers: Vec<SocketAddr>) {
        self.peers.lock().unwrap().extend(peers);
    }
}

/// An announcer that runs.
struct Running {
    handle: AnnouncerHandle,
    desk: Arc<Desk>,
    task: tokio::task::JoinHandle<()>,
}

const PORT: u16 = 6881;

fn options() -> AnnouncerOptions {
    let options = AnnouncerOptions::new(PeerId(*b"-RS0001-abcdefghijkl"), PORT, "ringseed/test");
    AnnouncerOptions { families: vec![Family::V4], ..options }
}

impl Running {
    fn start(options: AnnouncerOptions) -> Running {
        let desk = Arc::new(Desk::default());
        let owner: Arc<dyn Owner> = Arc::<Desk>::clone(&desk);
        let (announcer, handle) = Announcer::new(options, owner);
        Running { handle, desk, task: tokio::spawn(announcer.run()) }
    }

    /// Adds a torrent whose infohash repeats its number.
    fn add(&self, torrent: u32, tiers: &[&[&str]]) {
        let tiers: Vec<Vec<String>> =
            tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect();
        self.handle.add(&Subject {
            torrent: TorrentId(torrent),
            swarms: smallvec![info_hash(torrent)],
            tiers: &tiers,
        });
    }

    /// Lets virtual time pass until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&AnnouncerHandle) -> bool) {
        for step in 0..20_000 {
            if condition(&self.handle) {
                return;
            }
            // Packets are on their way at first; later there are only time-outs to pass.
            let millis = if step < 500 { 10 } else { 200 };
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        panic!("never: {what}; {:?} {:?}", self.handle.status(), self.notices());
    }

    async fn until_announced(&self, count: u64) {
        let what = format!("{count} announced");
        self.until(&what, |handle| handle.status().announced >= count).await;
    }

    fn notices(&self) -> Vec<String> {
        self.desk.notices.lock().unwrap().iter().map(Notice::to_string).collect()
    }

    /// Stops, and sees that the task ends.
    async fn stop(self) -> StopSummary {
        let summary = in_small_steps(self.handle.stop_all(Duration::from_secs(10))).await;
        if summary.given_up == 0 {
            self.task.await.unwrap();
        }
        summary
    }
}

/// Runs `future` while virtual time passes in small steps. Without a timer that is near, time would
/// jump to the next time-out whenever a packet is still on its way through the kernel.
async fn in_small_steps<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
}

/// Lets a long time pass.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn info_hash(torrent: u32) -> InfoHash {
    let mut bytes = [0; 20];
    bytes.as_chunks_mut().0.fill(torrent.to_be_bytes());
    InfoHash(bytes)
}

/// Where nobody listens: bound once, and free again.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Seconds of virtual time since `start`.
fn seconds_since(start: Instant) -> u64 {
    start.elapsed().as_secs()
}
