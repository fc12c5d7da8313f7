//! Why a WebSocket was closed: codes, and the reasons that stand beside them.

use std::fmt;

/// A WebSocket close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Ended without fault: replaced by a newer connection, or asked to reconnect.
    pub const NORMAL: Self = Self(1000);
    /// The broker is stopping.
    pub const GOING_AWAY: Self = Self(1001);
    /// The hello was refused (an `error` frame came before), or a rule of delivery was broken.
    pub const POLICY: Self = Self(1008);
    /// A frame was longer than allowed.
    pub const TOO_BIG: Self = Self(1009);
    /// The broker cannot go on with this connection now: overload, or a peer that does not read.
    pub const OVERLOAD: Self = Self(1013);
    /// An administrator ended the session.
    pub const KICKED: Self = Self(4001);
    /// The member was removed from the mesh.
    pub const BANNED: Self = Self(4002);

    /// Whether a peer must not reconnect by itself.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::KICKED | Self::BANNED)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The texts that stand beside a [`CloseCode`].
///
/// A refused hello is closed with [`CloseCode::POLICY`] and the error code of the frame before it
/// (see [`code`](super::errors::code)).
pub mod reason {
    /// 1000: the same session connected again.
    pub const SESSION_REPLACED: &str = "session_replaced";
    /// 1000: an administrator asked this connection to come again.
    pub const DISCONNECTED: &str = "disconnected";
    /// 1000: the same, because it had been silent for long.
    pub const DISCONNECTED_STALE: &str = "disconnected_stale";
    /// 1001: the broker is stopping.
    pub const SHUTTING_DOWN: &str = "shutting down";
    /// 1008: a durable peer left a push without its answer for more than a minute.
    pub const ACK_TIMEOUT: &str = "ack_timeout";
    /// 1013: the broker has too much to do.
    pub const OVERLOAD: &str = "overload";
    /// 1013: bytes waited for this socket and it took none.
    pub const SLOW_CONSUMER: &str = "slow_consumer";
    /// 4001: the session was ended.
    pub const KICKED: &str = "kicked";
    /// 4001: the session was ended because it had been silent for long.
    pub const KICKED_STALE: &str = "kicked_stale";
    /// 4002: the member was removed.
    pub const BANNED: &str = "banned";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kicked_and_banned_are_final() {
        let all = [
            CloseCode::NORMAL,
            CloseCode::GOING_AWAY,
            CloseCode::POLICY,
            CloseCode::TOO_BIG,
            CloseCode::OVERLOAD,
            CloseCode::KICKED,
            CloseCode::BANNED,
        ];
        let last: Vec<u16> = all
            .iter()
            .filter(|c| c.is_terminal())
            .map(|c| c.0)
            .collect();
        assert_eq!(last, [4001, 4002]);
    }
}
