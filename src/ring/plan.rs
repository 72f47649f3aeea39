//! What the system offers, what is used of it, and why.

use crate::gather::Gather;

/// Why a kernel cannot start: cause and cure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(crate) fn from_setup(error: std::io::Error) -> StartError {
        StartError(format!("cannot set up io_uring: {error}"))
    }

    pub(crate) fn from_errno(errno: i32) -> StartError {
        StartError::from_setup(std::io::Error::from_raw_os_error(errno))
    }
}

/// How batches are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// One line.
    pub reason: String,
}

impl Plan {
    pub(crate) fn splice(pipe_bytes: usize) -> (Option<Gather>, Plan) {
        match Gather::new(pipe_bytes) {
            Ok(gather) => {
                let reason = format!("splice: a pipe of {} slots", gather.slots());
                (Some(gather), Plan { reason })
            }
            Err(error) => (None, Plan { reason: format!("copy: {error}") }),
        }
    }
}
