//! A socket on which one op brings many completions: a listener, or a UDP socket.

use ringseed_ring::Socket;

/// The socket and how its op stands.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) socket: Socket,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Its op brings completions.
    Running,
    /// Its op has ended, as when file descriptors run out, and is to be begun again.
    Ended,
    /// A close was pushed.
    Closing,
    /// The close has completed.
    Closed,
}

impl Source {
    /// One whose op was just begun.
    pub(crate) fn running(socket: Socket) -> Source {
        Source { socket, standing: Standing::Running }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.standing == Standing::Running
    }

    /// Nobody has asked to close it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Running | Standing::Ended)
    }

    /// Takes a completion of its op without `more`. True when it is to be begun again later.
    pub(crate) fn ended(&mut self) -> bool {
        if self.standing == Standing::Running {
            self.standing = Standing::Ended;
        }
        self.standing == Standing::Ended
    }

    /// True when its op is to be begun again now.
    pub(crate) fn begin_again(&mut self) -> bool {
        let ended = self.standing == Standing::Ended;
        if ended {
            self.standing = Standing::Running;
        }
        ended
    }

    /// True when its socket is to be closed now.
    pub(crate) fn close(&mut self) -> bool {
        let open = self.is_open();
        if open {
            self.standing = Standing::Closing;
        }
        open
    }

    /// Takes the completion of its close.
    pub(crate) fn closed(&mut self) {
        self.standing = Standing::Closed;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.standing == Standing::Closed
    }
}
