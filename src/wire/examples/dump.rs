//! Prints one direction of a peer connection, a frame a line:
//!
//! ```text
//! cargo run -p ringseed-wire --example dump < bytes
//! ```
//!
//! The bytes may begin with a handshake. A broken stream ends with what is wrong, exit code 1.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use ringseed_wire::Handshake;
use ringseed_wire::frame::{Frame, FrameReader};
use ringseed_wire::handshake::HANDSHAKE_BYTES;
use ringseed_wire::message::FrameLimits;

fn main() -> io::Result<ExitCode> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    let mut out = io::stdout().lock();
    let mut at = 0;
    if let Ok(Some(handshake)) = Handshake::parse(&bytes) {
        let Handshake { info_hash, peer_id, features } = handshake;
        writeln!(out, "{at:>10}  handshake {info_hash} {peer_id:?} {features:?}")?;
        at = HANDSHAKE_BYTES;
    }
    let mut reader = FrameReader::new();
    loop {
        let start = at;
        let frame = match reader.next(&bytes, &mut at, FrameLimits { bitfield_bytes: None }) {
            Ok(Some(Frame::Body { .. })) => continue,
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                writeln!(out, "{start:>10}  {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        };
        writeln!(out, "{start:>10}  {frame}")?;
    }
    if !reader.is_between_frames() {
        writeln!(out, "{at:>10}  the stream ends within a frame")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
