//! Packets of UDP trackers, read as a tracker and as a client would.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_wire::limits::{SCRAPE_MAX, URL_DATA_BYTES_MAX};
use ringseed_wire::tracker_udp::{Request, Response, url_data, write_announce_request};

fuzz_target!(|input: &[u8]| {
    match Request::parse(input) {
        Ok(Request::Announce { connection_id, transaction_id, announce, options }) => {
            assert!(announce.port != 0);
            assert!(url_data(options).len() <= URL_DATA_BYTES_MAX);
            let mut out = Vec::new();
            write_announce_request(&mut out, connection_id, transaction_id, &announce, "");
            // All but an unknown event and a negative number of peers stand as they did.
            assert_eq!(out[..80], input[..80]);
            assert_eq!(out[84..92], input[84..92]);
            assert_eq!(out[96..98], input[96..98]);
        }
        Ok(Request::Scrape { info_hashes, .. }) => {
            assert!((1..=SCRAPE_MAX).contains(&info_hashes.iter().count()));
        }
        Ok(Request::Connect { .. }) | Err(_) => {}
    }
    if let Ok(response) = Response::parse(input) {
        let taken = response.peers_v4().count() + response.stats().count();
        assert!(taken <= input.len() && response.peers_v6().count() <= input.len());
    }
});
