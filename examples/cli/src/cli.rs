//! The arguments.

mod agent;
mod audit;
mod channels;
mod disk;
mod grants;
pub(crate) mod groups;
mod kept;
mod overview;
mod people;
mod policy;
mod profile;
mod service;
mod setup;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use claudemesh_core::CreateToken;
use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::id::{MessageId, Priority, Status};

use agent::{HOOK_HELP, MCP_HELP, SERVE_HELP, WAIT_HELP};
pub(crate) use agent::{Hook, Mcp, Serve, Wait};
use audit::AUDIT_HELP;
pub(crate) use audit::Audit;
use channels::{GROUP_HELP, TOPIC_HELP};
pub(crate) use channels::{Group, GroupCommand, ReadTopic, Topic, TopicCommand};
use disk::{BACKUP_HELP, COMPLETIONS_HELP, RESTORE_HELP};
pub(crate) use disk::{Backup, Completions, PASSPHRASE, Restore};
use grants::{BLOCK_HELP, GRANT_HELP, GRANTS_HELP, REVOKE_HELP};
pub(crate) use grants::{Block, Capability, Grant};
use kept::{
    FORGET_HELP, RECALL_HELP, REMEMBER_HELP, REMIND_HELP, SCHEDULE_HELP, STATE_HELP, SUMMARY_HELP,
};
pub(crate) use kept::{
    Forget, Recall, Remember, Remind, Schedule, ScheduleCommand, SetState, State, StateCommand,
    Summary, SummaryCommand, When, summary,
};
use overview::{DELETE_HELP, INFO_HELP, MSG_STATUS_HELP, UPGRADE_HELP};
pub(crate) use overview::{Delete, MsgStatus, Upgrade};
use people::{ADMIT_HELP, DEVICE_HELP, MEMBERS_HELP, REMOVE_HELP};
pub(crate) use people::{
    Admit, ChangeRole, Device, DeviceCommand, MemberRole, Members, Owner, OwnerCommand, Recover,
    Remove,
};

use policy::{POLICY_HELP, REQUESTS_HELP};
pub(crate) use policy::{Policy, PolicyCommand, Requests, RequestsCommand};
use profile::PROFILE_HELP;
pub(crate) use profile::{MessageMode, Profile};

use service::{APIKEY_HELP, BAN_HELP, BANS_HELP, KICK_HELP, TASK_HELP};
pub(crate) use service::{ApiKey, ApiKeyCommand, Banned, OnePeer, Task, TaskCommand};
use setup::{INSTALL_HELP, LAUNCH_HELP, UNINSTALL_HELP};
pub(crate) use setup::{Install, Launch, Messages, Uninstall};

use crate::agent::address::VARIABLE;
use crate::duration;

/// Where `claudemesh broker` keeps its data if nothing else is said; `~/.claudemesh` stands for
/// the configuration's folder.
pub(crate) const BROKER_DATA: &str = "~/.claudemesh/broker";

const EXAMPLES: &str = "\
See it work, alone on this machine, in a few seconds:
  claudemesh demo

Begin for real, in two terminals:
  claudemesh broker
  claudemesh create team --broker ws://localhost:7900/ws
  claudemesh invite
On the other machine (join may be left out):
  claudemesh join 'LINK'
  claudemesh send ana 'hello'
  claudemesh inbox --wait 30s

Exit codes: 0 done, 1 failed or cancelled, 2 not authorised, 3 wrong arguments, 4 broker not
reached, 5 not found, 6 exists already or has changed, 7 not allowed, 8 internal fault, 10 files,
11 no mesh here, or none of that name.
With --json stdout carries one line of JSON; an error is {\"error\":{\"code\",\"message\"}} and is
told on stderr as well. Times are ISO 8601 in UTC.

Files: ~/.claudemesh, or CLAUDEMESH_CONFIG_DIR. Network: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.";

/// End-to-end encrypted messages between people, programs and agents
#[derive(Debug, Parser)]
#[command(name = "claudemesh", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(propagate_version = false, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command knows.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Answer in JSON
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Which mesh, by its name or id; needed if there are several
    #[arg(
        long,
        global = true,
        value_name = "MESH",
        help_heading = "Everywhere",
        env = "CLAUDEMESH_MESH",
        hide_env_values = true
    )]
    pub(crate) mesh: Option<String>,
    /// Believe this certificate authority (a PEM file) and no other, for a broker with a private
    /// one; a mesh that is made or joined with it remembers it. SSL_CERT_FILE does the same for
    /// programs of many kinds
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Everywhere",
        env = "CLAUDEMESH_CA",
        hide_env_values = true
    )]
    pub(crate) ca: Option<PathBuf>,
    /// The session that this command belongs to, a UUID: messages come and go under its own
    /// address, `you/name`, kept under this id
    #[arg(
        long,
        global = true,
        value_name = "ID",
        help_heading = "Everywhere",
        env = "CLAUDEMESH_SESSION_ID",
        hide_env_values = true
    )]
    pub(crate) session: Option<String>,
    /// What the session is called: as before, or as the current folder, unless this says so.
    /// Without --session: the one of this name on this machine, made if there is none
    #[arg(
        long = "as",
        global = true,
        value_name = "NAME",
        help_heading = "Everywhere",
        env = VARIABLE,
        hide_env_values = true
    )]
    pub(crate) as_name: Option<String>,
    /// Say only the answer, warnings and errors
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole thing at work: broker, three peers, a crash, and what the broker sees
    Demo(Demo),
    /// Run a broker, until Ctrl-C
    #[command(after_help = BROKER_HELP)]
    Broker(Box<broker_min::cli::Args>),
    /// Make a mesh, with yourself as its owner
    #[command(after_help = CREATE_HELP)]
    Create(Create),
    /// Make a link by which others join; or list and close links
    #[command(after_help = INVITE_HELP)]
    Invite(Invite),
    /// Join a mesh by a link
    #[command(
        after_help = "Put the link in quotes: the part after '#' is the secret one, and some \
                            shells cut it off.\nJoining again by the same link changes nothing."
    )]
    Join(Join),
    /// List the meshes of this machine
    List,
    /// Leave a mesh
    Leave(Leave),
    /// End a mesh that you own
    #[command(after_help = DELETE_HELP)]
    Delete(Delete),
    /// Make a mesh with a membership log for those of one without
    #[command(after_help = UPGRADE_HELP)]
    Upgrade(Upgrade),
    /// Show a mesh at a glance
    #[command(after_help = INFO_HELP)]
    Info,
    /// List who is in the mesh, and who is online
    Peers,
    /// List the members of the mesh, as its membership log has them
    #[command(after_help = MEMBERS_HELP)]
    Members(Members),
    /// Let in who waits: a pending member, or one that is unverified
    #[command(after_help = ADMIT_HELP)]
    Admit(Admit),
    /// Remove a member and its devices, for good
    #[command(after_help = REMOVE_HELP)]
    Remove(Remove),
    /// End the connections of a member
    #[command(after_help = KICK_HELP)]
    Kick(OnePeer),
    /// Shut out a member that only the broker vouches for
    #[command(after_help = BAN_HELP)]
    Ban(OnePeer),
    /// Let in again who was banned
    Unban(Banned),
    /// List who is out
    #[command(after_help = BANS_HELP)]
    Bans,
    /// Make, list and take back keys for the broker's HTTP
    #[command(after_help = APIKEY_HELP)]
    Apikey(ApiKey),
    /// Make a member an admin, or an admin a member
    Role(ChangeRole),
    /// Add, list and remove further devices of yours
    #[command(after_help = DEVICE_HELP)]
    Device(Device),
    /// Say that a mesh's broker is at another address now
    #[command(name = "set-url", after_help = SET_URL_HELP)]
    SetUrl(SetUrl),
    /// Hand the mesh over, or take it back with its recovery key
    Owner(Owner),
    /// Show what this machine holds on to, whatever the broker says
    #[command(after_help = TRUST_HELP)]
    Trust(Trust),
    /// Talk in topics: encrypted rooms that members join and leave
    #[command(after_help = TOPIC_HELP)]
    Topic(Topic),
    /// Be called by one name with others
    #[command(after_help = GROUP_HELP)]
    Group(Group),
    /// Send a message
    #[command(after_help = SEND_HELP)]
    Send(Send),
    /// Show new messages, and mark them as read
    #[command(after_help = INBOX_HELP)]
    Inbox(Inbox),
    /// What was sent and has not arrived yet
    Outbox(Outbox),
    /// Show what became of a message
    #[command(name = "msg-status", after_help = MSG_STATUS_HELP)]
    MsgStatus(MsgStatus),
    /// Show messages as they come, until Ctrl-C
    #[command(after_help = LISTEN_HELP)]
    Listen(Listen),
    /// Whose messages are wanted: allow, ask, mute, block
    #[command(after_help = POLICY_HELP)]
    Policy(Policy),
    /// Messages that wait for your answer
    #[command(after_help = REQUESTS_HELP)]
    Requests(Requests),
    /// Take no message of a peer any more
    #[command(after_help = BLOCK_HELP)]
    Block(Block),
    /// Allow a peer's messages again
    #[command(after_help = GRANT_HELP)]
    Grant(Grant),
    /// Allow a peer's messages no more
    #[command(after_help = REVOKE_HELP)]
    Revoke(Grant),
    /// Show whose messages are not allowed
    #[command(after_help = GRANTS_HELP)]
    Grants,
    /// Values that all members share, under keys
    #[command(after_help = STATE_HELP)]
    State(State),
    /// What is to be done, by whom
    #[command(after_help = TASK_HELP)]
    Task(Task),
    /// Keep something for all members to find
    #[command(after_help = REMEMBER_HELP)]
    Remember(Remember),
    /// Find what was remembered
    #[command(after_help = RECALL_HELP)]
    Recall(Recall),
    /// Forget something that was remembered
    #[command(after_help = FORGET_HELP)]
    Forget(Forget),
    /// Send a message later, or again and again; to yourself, or to others
    #[command(after_help = REMIND_HELP)]
    Remind(Remind),
    /// What goes out later, and giving it up
    #[command(after_help = SCHEDULE_HELP)]
    Schedule(Schedule),
    /// Say in a few words what you do
    #[command(after_help = SUMMARY_HELP)]
    Summary(Summary),
    /// Show or change what the broker keeps of a member: tag, groups, how it takes messages
    #[command(after_help = PROFILE_HELP)]
    Profile(Profile),
    /// How attentive `listen` is
    #[command(
        after_help = "A status lives as long as somebody listens: the wish is kept for this \
                            mesh, and `claudemesh listen` follows it, also while it runs."
    )]
    Status(StatusArgs),
    /// Show who you are in the mesh
    Whoami,
    /// Show safety numbers: proof that nobody stands between you and a peer
    #[command(after_help = VERIFY_HELP)]
    Verify(Verify),
    /// Show what the broker wrote down, and check that it rewrote nothing
    #[command(after_help = AUDIT_HELP)]
    Audit(Audit),
    /// Look for what is wrong, and say what to do
    #[command(after_help = DOCTOR_HELP)]
    Doctor,
    /// Write keys, or everything, into a file under a passphrase
    #[command(after_help = BACKUP_HELP)]
    Backup(Backup),
    /// Put a backup back
    #[command(after_help = RESTORE_HELP)]
    Restore(Restore),
    /// Write what a shell completes
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(Completions),
    /// Set up the clients that agents run in
    #[command(after_help = INSTALL_HELP)]
    Install(Install),
    /// Take out what install wrote
    #[command(after_help = UNINSTALL_HELP)]
    Uninstall(Uninstall),
    /// Start an agent that is on the mesh
    #[command(after_help = LAUNCH_HELP)]
    Launch(Launch),
    /// Be the mesh for an agent: an MCP server on stdin and stdout
    #[command(after_help = MCP_HELP)]
    Mcp(Mcp),
    /// Hand messages in where a client calls for it
    #[command(after_help = HOOK_HELP)]
    Hook(Hook),
    /// Wait until a message is there
    #[command(after_help = WAIT_HELP)]
    Wait(Wait),
    /// Run a command for each message
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// One short line for a client's status line
    #[command(name = "status-line")]
    StatusLine,
}

const BROKER_HELP: &str = "\
Peers on other machines need an address that they can dial. For a network of your own:
  claudemesh broker --listen 0.0.0.0:7900 --public-url ws://192.168.1.10:7900/ws
For everywhere, behind a proxy that speaks TLS:
  claudemesh broker --public-url wss://broker.example/ws
It looks after itself by `claudemesh broker check`, `token`, `mesh`, `gc`, `backup`, `restore` and
`audit`, each with its own --help; docs/self-host.md has the steps for a team.
The broker sees who writes to whom and when, never what.";

const CREATE_HELP: &str = "\
The recovery key is shown once and kept nowhere. It replaces a lost owner key: write it down.
Example:
  claudemesh create team --broker ws://localhost:7900/ws --name ana";

const SET_URL_HELP: &str = "\
For a broker that moved. What is on this machine stays; messages that wait here go to the new
address. Links that were made before name the old one: make new ones.
Example:
  claudemesh set-url team wss://new.example/ws
JSON: mesh, mesh_id, broker, before.";

const INVITE_HELP: &str = "\
A link is a secret until it is used up, closed or expired: whoever has it can join.
Examples:
  claudemesh invite --uses 5 --expires 2d
  claudemesh invite --qr
  claudemesh invite list
  claudemesh invite close 3f9a
JSON: link, legacy_link, invite_id, expires_at, uses, role.";

const SEND_HELP: &str = "\
TO is a name, a public key, or the first digits (four or more) of a key; a session (bob/api), for
which it waits while that is away; or a topic ('#deploys'), a group (@oncall), or everybody ('*').
Put # and * in quotes: a shell takes them for itself.
If the broker is away the message is kept and goes out with any later command; exit code 4.
Examples:
  claudemesh send bob 'lunch?'
  claudemesh send bob --wait delivered 'are you there?'
  git diff | claudemesh send bob -
  claudemesh send '#deploys' 'v2 is out'
  claudemesh send bob --online 'typing...'
JSON: message_id, state (queued, accepted, delivered or failed), protected, to (name and pubkey, or
channel), recipients (in how many mailboxes it is, or null), not_for (in a mesh without a membership
log: how many of the channel cannot read it, as untrusted and legacy; else null), reach (online,
status, wake and told, of one peer, or null), and reason if it failed. Not protected is what went as
bare text, which takes --unverified. With --online: online, to, and reached (to how many connections
it was handed); exit code 1 if nobody was reached.";

const INBOX_HELP: &str = "\
Messages are marked as read after they were written out, and only then.
Examples:
  claudemesh inbox
  claudemesh inbox --wait 1m
  claudemesh inbox --all --limit 20
JSON: a list of message_id, mesh, from_name, from_pubkey, verified, protected, kind, channel,
content_type, body, reply_to, subtype, priority, sent_at, received_at, again, from_session (name and
pubkey, or null), to_session (its key, or null), muted, hops, expects_reply. channel is null in a
message to you alone; subtype is \"reminder\" in what `claudemesh remind` sends, by the word of its
sender.";

const LISTEN_HELP: &str = "\
With --json each message is one line, as in `claudemesh inbox --json`.
The mesh sees that you are online, and nothing else unless you say so.";

const TRUST_HELP: &str = "\
What a broker was caught at stays here, and fails `claudemesh doctor`, until --forget-lies. Do that
when you know the reason: a backup of the broker that was put back, for example.
In a mesh without a membership log nobody vouches for whose key is whose: messages and channels are
sealed for those whom you trust by name, and the keys that were seen first are kept. PEER is a name
or the first digits (four or more) of a key; of who is away, the whole key.
Examples:
  claudemesh verify bob
  claudemesh trust bob
  claudemesh trust bob --distrust
JSON: mesh, mesh_id, known_since, owner, recovery_key, log_entries, log_head, challenge_pinned,
broker_store, lies (a list of at and what), keys (a list of names, pubkey and trust: pinned, trusted,
changed or distrusted; empty where there is a log). With PEER: pubkey, trusted, names.";

const DOCTOR_HELP: &str = "\
Tests the whole way: configuration and keys; of each mesh the store, the membership log, the broker,
TLS, the clock, what the broker was caught at, the outbox, and a message to itself; then the MCP
server's greeting, and of each client that was used here whether it is set up, whether its hooks
run, and what wakes an agent in it. Ends with 1 if something failed.
JSON: a list of check, mesh, level (ok, warn or fail), message.";

const VERIFY_HELP: &str = "\
Compare the digits by another way: in person or by voice. If they are the same on both sides,
messages between you two can be read and written by nobody else.";

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the folder with everything that the demo made
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The mesh's name: lower-case letters, digits, '.', '_' or '-'
    pub(crate) mesh_name: String,
    /// The broker's address, such as ws://localhost:7900/ws or wss://broker.example/ws
    #[arg(
        long,
        value_name = "URL",
        env = "CLAUDEMESH_BROKER_URL",
        hide_env_values = true
    )]
    pub(crate) broker: Option<BrokerUrl>,
    /// The name by which others see you
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The token that the broker's operator gave you, if it asks for one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CLAUDEMESH_BROKER_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<CreateToken>,
}

#[derive(Debug, Args)]
pub(crate) struct SetUrl {
    /// The mesh, by its name or id
    pub(crate) of: String,
    /// Where its broker is now
    pub(crate) url: BrokerUrl,
    /// The address is not asked first whether the mesh is there
    #[arg(long)]
    pub(crate) unchecked: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    #[command(subcommand)]
    pub(crate) command: Option<InviteCommand>,
    /// How many may join by it, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) uses: u64,
    /// For how long it is good, 90d at most
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration::parse)]
    pub(crate) expires: Duration,
    /// What those who join by it become: member (talks), admin (also invites and removes), or
    /// pending (waits for `claudemesh admit`: for links in the open)
    #[arg(
        long,
        value_enum,
        default_value = "member",
        hide_possible_values = true
    )]
    pub(crate) role: InviteRole,
    /// Show the link as a QR code too
    #[arg(long)]
    pub(crate) qr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InviteRole {
    /// Talks
    Member,
    /// May also invite and remove members
    Admin,
    /// Waits to be let in
    Pending,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InviteCommand {
    /// List the links of this mesh
    List,
    /// Take a link back: nobody joins by it any more
    Close {
        /// The link's id, or its first digits
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The link, in quotes
    pub(crate) link: String,
    /// The name by which others see you
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Leave {
    /// Delete the messages of this mesh too
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// In a mesh without a membership log: who is trusted from now on, also where the broker showed
    /// its name with another key before. Compare safety numbers first (`verify`)
    #[arg(value_name = "PEER", conflicts_with = "forget_lies")]
    pub(crate) peer: Option<String>,
    /// PEER is not trusted: what is said from now on is not sealed for it
    #[arg(long, requires = "peer")]
    pub(crate) distrust: bool,
    /// Dismiss what the broker was caught at so far
    #[arg(long)]
    pub(crate) forget_lies: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// To whom
    pub(crate) to: String,
    /// What to say; '-' reads it from stdin, without its last line end
    pub(crate) text: String,
    /// How urgent: now (even if busy), next (when idle) or low (when asked for)
    #[arg(long, default_value = "next")]
    pub(crate) priority: Priority,
    /// The id of the message that this one answers
    #[arg(long, value_name = "ID")]
    pub(crate) reply_to: Option<MessageId>,
    /// For how long it waits for its recipient, 30d at most
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration::parse)]
    pub(crate) expires: Duration,
    /// Also to a member that only the broker vouches for: as bare text, sealed but not signed
    #[arg(long)]
    pub(crate) unverified: bool,
    /// Only to who is connected now: kept nowhere, tried once
    #[arg(long, conflicts_with_all = ["expires", "wait", "plaintext"])]
    pub(crate) online: bool,
    /// To a channel of the existing system, which encrypts none: readable by whoever carries it.
    /// Refused wherever channels are encrypted
    #[arg(long, conflicts_with = "unverified")]
    pub(crate) plaintext: bool,
    /// What to wait for, up to 10 s: accepted (the broker has it) or delivered (they have it)
    #[arg(
        long,
        value_enum,
        value_name = "STATE",
        default_value = "accepted",
        hide_possible_values = true
    )]
    pub(crate) wait: WaitFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// The broker has it, safe on its disk
    Accepted,
    /// The recipient's client has it
    Delivered,
}

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    /// Wait so long for a message if there is none
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// Do not mark as read
    #[arg(long)]
    pub(crate) peek: bool,
    /// Show messages that were read before too; marks nothing
    #[arg(long)]
    pub(crate) all: bool,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Outbox {
    #[command(subcommand)]
    pub(crate) command: OutboxCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List messages that have not arrived yet
    List {
        /// Those that arrived or failed too
        #[arg(long)]
        all: bool,
    },
    /// Give up a message that has not left this machine yet
    Cancel {
        /// The message's id, or its first characters
        id: String,
    },
    /// Send what waits
    Flush {
        /// Try for so long
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
        timeout: Duration,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Tell the mesh the name of the current folder (its last part only)
    #[arg(long)]
    pub(crate) share_cwd: bool,
    /// Tell the members of the mesh what you do, while this runs; else as `claudemesh summary` has it
    #[arg(long, value_name = "TEXT", value_parser = kept::summary)]
    pub(crate) summary: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(subcommand)]
    pub(crate) command: StatusCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StatusCommand {
    /// Set it: idle (everything comes), working or dnd (only urgent messages come)
    Set {
        /// idle, working or dnd
        status: Status,
    },
    /// Show it
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// With whom; without it, with everyone
    pub(crate) peer: Option<String>,
}

/// The folder that `--data` means.
pub(crate) fn broker_data(
    given: &std::path::Path,
    config_dir: impl FnOnce() -> Option<PathBuf>,
) -> PathBuf {
    if given == std::path::Path::new(BROKER_DATA)
        && let Some(dir) = config_dir()
    {
        return dir.join("broker");
    }
    given.to_owned()
}
