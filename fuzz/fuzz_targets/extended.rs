//! Extended handshakes and metadata messages: what was read is read again when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringseed_wire::ExtendedHandshake;
use ringseed_wire::extended::MetadataMessage;
use ringseed_wire::limits::CLIENT_NAME_BYTES_MAX;

fuzz_target!(|input: &[u8]| {
    let mut out = Vec::new();
    if let Ok(mut read) = ExtendedHandshake::parse(input) {
        assert!(!read.client.contains(char::is_control));
        // A byte that is no UTF-8 becomes three, so a name can be cut once more.
        assert!(read.client.len() <= 3 * CLIENT_NAME_BYTES_MAX);
        if read.client.len() > CLIENT_NAME_BYTES_MAX {
            read.client.clear();
        }
        read.write(&mut out);
        assert_eq!(ExtendedHandshake::parse(&out[6..]), Ok(read));
        out.clear();
    }
    if let Ok(read) = MetadataMessage::parse(input) {
        read.write(&mut out, 1, b"data");
        assert_eq!(MetadataMessage::parse(&out[6..]), Ok(read));
    }
});
