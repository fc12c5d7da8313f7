//! What others ask of this machine through the broker: files, folders, calls of programs. A peer
//! answers none of it, whatever is in it, and says that it was asked.

use super::{Event, Session};

/// The frames by which the existing system passes such requests on, and their answers.
const FORWARDED: [&str; 5] = [
    "peer_file_request_forward",
    "peer_dir_request_forward",
    "mcp_call_forward",
    "peer_file_response_forward",
    "peer_dir_response_forward",
];

/// Which kinds were told of on this connection.
#[derive(Default)]
pub(super) struct Unserved([bool; FORWARDED.len()]);

impl Unserved {
    pub(super) fn connection_closed(&mut self) {
        *self = Self::default();
    }
}

impl Session {
    /// Takes a frame that asks something of this machine: nothing is sent, and it is told once for
    /// each kind and connection, without a word of what is in it. False if it is another one.
    pub(super) fn unserved(&mut self, kind: &str) -> bool {
        let Some(at) = FORWARDED.iter().position(|known| *known == kind) else {
            return false;
        };
        let (Some(kind), Some(told)) = (FORWARDED.get(at), self.unserved.0.get_mut(at)) else {
            return true;
        };
        if !std::mem::replace(told, true) {
            self.event(Event::NotAnswered { kind });
        }
        true
    }
}
