//! Magnet links: what was read is read again when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_meta::Magnet;

fuzz_target!(|input: &str| {
    if let Ok(magnet) = Magnet::parse(input) {
        assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
    }
});
