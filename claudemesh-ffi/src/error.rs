//! The one error, with its stable codes.

use claudemesh_core::broker_url::BrokerUrlError;
use claudemesh_core::config::ConfigError;
use claudemesh_core::crypto::KeyError;
use claudemesh_core::id::IdError;
use claudemesh_core::invite::InviteError;
use claudemesh_core::membership::{ChannelLogError, LogError, RuleError};
use claudemesh_core::peer::ConnectError;
use claudemesh_core::session::SessionError;
use claudemesh_core::store::StoreError;
use claudemesh_core::{
    JoinError, PeerError, ReceiptError, ResolveError, SendError, TransportError,
};

/// Why something could not be done. There is one kind of error: its code is what a program looks
/// at, its text is for people and says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum NativeError {
    /// It could not be done.
    #[error("{text} ({code})")]
    Failed {
        /// A stable code, listed in docs/bindings.md.
        code: String,
        /// A sentence for people.
        text: String,
        /// What goes with some codes: the broker's own code for `refused`, the version that is kept
        /// for `state_conflict`.
        detail: Option<String>,
        /// Whether the same call can succeed later without anybody's help.
        retryable: bool,
    },
}

/// Codes whose calls can succeed later by themselves.
const RETRYABLE: [&str; 6] = [
    "not_connected",
    "timeout",
    "contention",
    "config_locked",
    "unreachable",
    "cancelled",
];

impl NativeError {
    pub(crate) fn new(code: &str, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some(advice) = advice(code) {
            text.push_str("; ");
            text.push_str(advice);
        }
        Self::Failed {
            code: code.to_owned(),
            text,
            detail: None,
            retryable: RETRYABLE.contains(&code),
        }
    }

    fn with(mut self, value: impl Into<String>) -> Self {
        let Self::Failed { detail, .. } = &mut self;
        *detail = Some(value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        let Self::Failed { code, .. } = self;
        code
    }

    pub(crate) fn cancelled() -> Self {
        Self::new("cancelled", "this call was cancelled")
    }

    pub(crate) fn internal() -> Self {
        Self::new("internal", "something here is broken")
    }

    pub(crate) fn argument(what: &str, error: impl std::fmt::Display) -> Self {
        Self::new("invalid_argument", format!("{what}: {error}"))
    }
}

/// What to do, where the error's own text does not say it.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "closed" => "connect again to go on",
        "not_connected" => "messages wait in the outbox; other calls can be tried again",
        "already_reading" => "stop the other reader, or connect under another session name",
        "not_a_member" => "look at the list of members",
        "no_such_mesh" => "join it first",
        "recipient_removed" => "this person needs a new invite",
        "message_too_large" => "send less, or a reference to it",
        "cancelled" => "nothing was lost; it can be asked for again",
        "internal" => "this is a bug in claudemesh: please report what was called",
        "callback_failed" => "the subscription has ended, and the message is shown again",
        "no_such_channel" => "look at the list of channels",
        "mesh_invalid" => "ask the mesh's owner, by another way, what happened",
        _ => return None,
    })
}

impl From<uniffi::UnexpectedUniFFICallbackError> for NativeError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        // What the app's own code threw may hold anything; it stays there.
        Self::new("callback_failed", "the app's callback failed")
    }
}

impl From<PeerError> for NativeError {
    fn from(error: PeerError) -> Self {
        let text = error.to_string();
        match error {
            PeerError::Closed => Self::new("closed", text),
            PeerError::NotConnected(_) => Self::new("not_connected", text),
            PeerError::Removed(_) => Self::new("removed", text),
            PeerError::AlreadyReading => Self::new("already_reading", text),
            PeerError::Session(error) => error.into(),
            PeerError::Store(error) => error.into(),
            _ => Self::new("system", text),
        }
    }
}

impl From<SendError> for NativeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Resolve(error) => error.into(),
            SendError::Channel(error) => error.into(),
            SendError::Peer(error) => error.into(),
            other => Self::new("system", other.to_string()),
        }
    }
}

impl From<ResolveError> for NativeError {
    fn from(error: ResolveError) -> Self {
        let code = match &error {
            ResolveError::Ambiguous { .. } => "ambiguous_recipient",
            _ => "unknown_recipient",
        };
        Self::new(code, error.to_string())
    }
}

impl From<SessionError> for NativeError {
    fn from(error: SessionError) -> Self {
        let text = error.to_string();
        let code = match error {
            SessionError::Refused { code, .. } => return Self::new("refused", text).with(code),
            SessionError::StateConflict { current } => {
                return Self::new("state_conflict", text).with(current.to_string());
            }
            SessionError::Store(error) => return error.into(),
            SessionError::Log(error) => return error.into(),
            SessionError::ChannelLog(error) => return error.into(),
            SessionError::Message(_) | SessionError::Value(_) => "message_too_large",
            SessionError::NotAMember(_) => "not_a_member",
            SessionError::RecipientRemoved(_) => "recipient_removed",
            SessionError::Removed => "removed",
            SessionError::NoSuchChannel(_) => "no_such_channel",
            SessionError::NotInChannel(_) => "not_in_channel",
            SessionError::ChannelKey(_) => "channel_key",
            SessionError::ChannelsUnserved | SessionError::ValuesUnserved => "unserved",
            SessionError::Unverified(_)
            | SessionError::NotTrusted(_)
            | SessionError::KeyChanged(_)
            | SessionError::NobodyTrusted(_) => "not_trusted",
            SessionError::NoLog(_) => "not_allowed",
            SessionError::Cron(_) => "invalid_argument",
            SessionError::NotConnected(_) => "not_connected",
            SessionError::Timeout => "timeout",
            SessionError::LogUnusable(_) => "mesh_invalid",
            SessionError::Contention => "contention",
            _ => "system",
        };
        Self::new(code, text)
    }
}

impl From<LogError> for NativeError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Rule { source, .. } => source.into(),
            other => Self::new("mesh_invalid", other.to_string()),
        }
    }
}

impl From<ChannelLogError> for NativeError {
    fn from(error: ChannelLogError) -> Self {
        Self::new("not_allowed", error.to_string())
    }
}

impl From<RuleError> for NativeError {
    fn from(error: RuleError) -> Self {
        let code = match error {
            RuleError::InviteClosed => "invite_closed",
            RuleError::InviteExpired => "invite_expired",
            RuleError::InviteUsedUp => "invite_used_up",
            RuleError::UnknownInvite => "invite_invalid",
            RuleError::UnknownMember => "not_a_member",
            _ => "not_allowed",
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for NativeError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Full { .. } => "disk_full",
            StoreError::Newer { .. } => "newer_format",
            StoreError::Damaged { .. } => "store_damaged",
            _ => "store_failed",
        };
        Self::new(code, error.to_string())
    }
}

impl From<ConfigError> for NativeError {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::Locked { .. } => "config_locked",
            ConfigError::NewerVersion { .. } => "newer_format",
            ConfigError::Read { .. } | ConfigError::Write { .. } | ConfigError::NoHome => {
                "config_unreachable"
            }
            _ => "config_invalid",
        };
        Self::new(code, error.to_string())
    }
}

impl From<InviteError> for NativeError {
    fn from(error: InviteError) -> Self {
        let code = match error {
            InviteError::Expired { .. } => "invite_expired",
            InviteError::Signature => "invite_signature",
            _ => "invite_invalid",
        };
        Self::new(code, error.to_string())
    }
}

impl From<TransportError> for NativeError {
    fn from(error: TransportError) -> Self {
        Self::new("unreachable", error.to_string())
    }
}

impl From<JoinError> for NativeError {
    fn from(error: JoinError) -> Self {
        let text = error.to_string();
        match error {
            JoinError::Invite(error) => error.into(),
            JoinError::Rule(error) => error.into(),
            JoinError::Log(_) => Self::new("mesh_invalid", text),
            JoinError::Name(error) => error.into(),
            JoinError::Broker(error) => error.into(),
            JoinError::Transport(error) => error.into(),
            JoinError::Config(error) => error.into(),
            JoinError::Store(error) => error.into(),
            JoinError::System(error) => error.into(),
            JoinError::DoesNotFit(_) => Self::new("invite_forged", text),
            JoinError::HereAlready => Self::new("already_joined", text),
            JoinError::Contention => Self::new("contention", text),
            JoinError::Refused { code, .. } => {
                let own = match code.as_str() {
                    "invite_expired" => "invite_expired",
                    "invite_exhausted" => "invite_used_up",
                    "invite_revoked" => "invite_closed",
                    _ => "refused",
                };
                Self::new(own, text).with(code)
            }
            _ => Self::new("system", text),
        }
    }
}

impl From<ConnectError> for NativeError {
    fn from(error: ConnectError) -> Self {
        let text = error.to_string();
        match error {
            ConnectError::Broker(error) => error.into(),
            ConnectError::Store(error) => error.into(),
            ConnectError::Config(error) => error.into(),
            ConnectError::System(error) => error.into(),
            ConnectError::SessionName => Self::new("invalid_argument", text),
            _ => Self::new("store_damaged", text),
        }
    }
}

impl From<ReceiptError> for NativeError {
    fn from(error: ReceiptError) -> Self {
        let text = error.to_string();
        match error {
            ReceiptError::Closed => Self::new("closed", text),
            _ => Self::new("not_delivered", text),
        }
    }
}

impl From<IdError> for NativeError {
    fn from(error: IdError) -> Self {
        Self::new("invalid_argument", error.to_string())
    }
}

impl From<KeyError> for NativeError {
    fn from(error: KeyError) -> Self {
        Self::new("invalid_argument", error.to_string())
    }
}

impl From<BrokerUrlError> for NativeError {
    fn from(error: BrokerUrlError) -> Self {
        Self::new("invalid_argument", error.to_string())
    }
}
