//! How a command ends: exit codes, and errors as sentences that say what to do next.

use std::fmt;
use std::process::ExitCode;

use claudemesh_core::broker_url::BrokerUrlError;
use claudemesh_core::config::{BackupError, ConfigError, SessionKeyError};
use claudemesh_core::enroll::JoinError;
use claudemesh_core::id::IdError;
use claudemesh_core::invite::InviteError;
use claudemesh_core::membership::{ChannelLogError, LogError, RuleError};
use claudemesh_core::peer::{ConnectError, PeerError, ResolveError, SendError};
use claudemesh_core::session::SessionError;
use claudemesh_core::store::StoreError;

/// What the process exits with; the numbers are those of the existing command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done.
    Ok = 0,
    /// It did not work, or was cancelled.
    Failed = 1,
    /// Not who one claims to be, or not in the mesh any more.
    Auth = 2,
    /// Wrong arguments, also ones that could mean several things.
    Usage = 3,
    /// The broker cannot be reached.
    Network = 4,
    /// Nobody and nothing of that name.
    NotFound = 5,
    /// It is there already.
    Exists = 6,
    /// It has changed meanwhile; leaves as [`Code::Exists`] does.
    Conflict = 106,
    /// Not allowed.
    Permission = 7,
    /// A fault of this program.
    Internal = 8,
    /// Files: they cannot be read, written or understood.
    Io = 10,
    /// There is no mesh on this machine, or none of that name.
    NoMesh = 11,
}

impl Code {
    /// As it stands in a JSON error.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Auth => "auth",
            Self::Usage => "invalid_arguments",
            Self::Network => "network",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Conflict => "conflict",
            Self::Permission => "permission",
            Self::Internal => "internal",
            Self::Io => "io",
            Self::NoMesh => "no_mesh",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Conflict => Code::Exists as u8,
            code => code as u8,
        })
    }
}

/// Why a command ended badly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A sentence for a person, with the next step.
    Error(Code, String),
    /// Nobody reads stdout any more (`claudemesh inbox | head -1`): no error.
    Closed,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Error(code, message.into())
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Error(code, _) => *code,
            Self::Closed => Code::Ok,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(_, message) => f.write_str(message),
            Self::Closed => f.write_str("stdout is closed"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<SessionKeyError> for Failure {
    fn from(error: SessionKeyError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let code = match &error {
            BackupError::Config(_)
            | BackupError::Sessions(_)
            | BackupError::Store(_)
            | BackupError::File { .. }
            | BackupError::Truncated
            | BackupError::Altered => Code::Io,
            BackupError::ShortPassphrase => Code::Usage,
            BackupError::NotOpened => Code::Auth,
            BackupError::Exists { .. } => Code::Exists,
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<BrokerUrlError> for Failure {
    fn from(error: BrokerUrlError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Broker(error) => error.into(),
            ConnectError::Store(error) => error.into(),
            ConnectError::Config(error) => error.into(),
            ConnectError::System(error) => error.into(),
            ConnectError::SessionName => Self::usage(error.to_string()),
            other => Self::new(Code::Io, other.to_string()),
        }
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        let code = match &error {
            PeerError::Session(error) => session_code(error),
            PeerError::NotConnected(_) => Code::Network,
            PeerError::Removed(_) => Code::Auth,
            PeerError::AlreadyReading => Code::Failed,
            PeerError::Store(_) | PeerError::System(_) => Code::Io,
            _ => Code::Internal,
        };
        // The library names what can be done; here are the commands for it.
        if let PeerError::Session(SessionError::Unverified(key)) = &error {
            let key = key.short();
            return Self::new(
                code,
                format!(
                    "only the broker says that {key} is a member; nothing was sent. \
                     `claudemesh admit {key}` lets it in, after you compared safety numbers; \
                     `claudemesh send --unverified` writes to it all the same, as bare text"
                ),
            );
        }
        let hint = match (&error, code) {
            (PeerError::Session(SessionError::NotTrusted(_) | SessionError::KeyChanged(_)), _) => {
                ". On the command line: `claudemesh verify PEER`, then `claudemesh trust PEER`"
            }
            (_, Code::Network) => "; `claudemesh doctor` looks closer",
            _ => "",
        };
        Self::new(code, format!("{error}{hint}"))
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Resolve(error) => error.into(),
            SendError::Peer(error) => error.into(),
            SendError::Channel(error) => error.into(),
            other => Self::new(Code::Internal, other.to_string()),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        let code = match error {
            ResolveError::Unknown { .. } => Code::NotFound,
            _ => Code::Usage,
        };
        Self::new(code, error.to_string())
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let code = match &error {
            JoinError::Invite(InviteError::Expired { .. }) | JoinError::Contention => Code::Failed,
            JoinError::Invite(InviteError::Signature)
            | JoinError::DoesNotFit(_)
            | JoinError::Log(_) => Code::Auth,
            JoinError::Invite(_) | JoinError::Name(_) | JoinError::Broker(_) => Code::Usage,
            JoinError::Rule(error) => rule_code(error),
            JoinError::HereAlready => Code::Exists,
            JoinError::Transport(_) => Code::Network,
            JoinError::Refused { status, code, .. } => match code.as_str() {
                "invite_expired" | "invite_exhausted" | "invite_revoked" => Code::Failed,
                _ => status_code(*status),
            },
            JoinError::Config(_) | JoinError::Store(_) | JoinError::System(_) => Code::Io,
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

fn session_code(error: &SessionError) -> Code {
    match error {
        SessionError::Message(_)
        | SessionError::TextOnly
        | SessionError::PlaintextRefused(_)
        | SessionError::Value(_)
        | SessionError::Cron(_) => Code::Usage,
        SessionError::Unverified(_)
        | SessionError::NotTrusted(_)
        | SessionError::KeyChanged(_)
        | SessionError::NobodyTrusted(_) => Code::Permission,
        SessionError::TrustedByLog => Code::Usage,
        SessionError::StateConflict { .. } => Code::Conflict,
        SessionError::NotAMember(_)
        | SessionError::RecipientRemoved(_)
        | SessionError::SessionGone(_)
        | SessionError::NoSuchChannel(_) => Code::NotFound,
        SessionError::NotInChannel(_) => Code::Permission,
        SessionError::ChannelLog(error) => channel_code(error),
        SessionError::Removed => Code::Auth,
        SessionError::NotConnected(_) | SessionError::Timeout | SessionError::OnlineUnknown => {
            Code::Network
        }
        SessionError::Log(LogError::Rule { source, .. }) => rule_code(source),
        SessionError::Refused { code, .. } => refused_code(code),
        SessionError::Store(_) => Code::Io,
        _ => Code::Failed,
    }
}

fn channel_code(error: &ChannelLogError) -> Code {
    match error {
        ChannelLogError::NotAllowed
        | ChannelLogError::NoLongerAllowed
        | ChannelLogError::NotPublic => Code::Permission,
        ChannelLogError::UnknownChannel | ChannelLogError::NotAMember | ChannelLogError::NotIn => {
            Code::NotFound
        }
        ChannelLogError::AlreadyIn => Code::Exists,
        _ => Code::Failed,
    }
}

fn rule_code(error: &RuleError) -> Code {
    match error {
        RuleError::NotAllowed | RuleError::OwnerStays => Code::Permission,
        RuleError::UnknownInvite | RuleError::UnknownMember => Code::NotFound,
        RuleError::InviteTerms | RuleError::ChannelTerms => Code::Usage,
        RuleError::KeyKnown | RuleError::ChannelKnown => Code::Exists,
        _ => Code::Failed,
    }
}

/// What a broker's stable code means for the one who asked.
pub(crate) fn refused_code(code: &str) -> Code {
    match code {
        "not_found" | "mesh_not_found" | "invite_not_found" => Code::NotFound,
        "revoked" | "unauthorized" | "bad_signature" | "timestamp_skew" => Code::Auth,
        "forbidden" | "not_allowed" => Code::Permission,
        "invalid_cron" => Code::Usage,
        _ => Code::Failed,
    }
}

const fn status_code(status: u16) -> Code {
    match status {
        401 => Code::Auth,
        403 => Code::Permission,
        404 => Code::NotFound,
        409 => Code::Exists,
        500..=599 => Code::Network,
        _ => Code::Failed,
    }
}
