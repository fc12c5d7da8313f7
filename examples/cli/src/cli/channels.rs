//! The arguments of what is about topics and groups.

use clap::{Args, Subcommand};

pub(super) const TOPIC_HELP: &str = "\
A topic is written '#deploys', in quotes, or without its mark: a shell takes what follows a bare #
for a comment. `claudemesh send '#deploys' TEXT` says something in it; new messages are in
`claudemesh inbox` too.
What is said is sealed for those who are in at that moment: who comes later cannot read what was
said before, who left or was removed cannot read what is said after. Devices come with their member.
Examples:
  claudemesh topic create deploys
  claudemesh topic invite deploys bob
  claudemesh send '#deploys' 'v2 is out'
  claudemesh topic tail deploys";

pub(super) const GROUP_HELP: &str = "\
A group is written @oncall, or without its mark. Every member of the mesh may join. '*', in quotes,
is everybody in the mesh, and needs no joining.
Examples:
  claudemesh group join oncall
  claudemesh send @oncall 'the build is red'";

const LIST_HELP: &str = "\
MEMBERS is '?' where that is not known: of a private topic of others, and without the broker.
JSON: a list of name, public, leads, members (a number, or null), joined, created_at.";

const MEMBERS_HELP: &str = "\
JSON: a list of name, pubkey, lead.";

const CREATE_HELP: &str = "JSON: channel, public, created.";
const JOIN_HELP: &str = "JSON: channel, joined (false: you were in already).";
const GROUP_JOIN_HELP: &str = "JSON: channel, joined (false: you were in already), created if so.";
const LEAVE_HELP: &str = "JSON: channel, left.";
const INVITE_HELP: &str = "\
PEER is a name or the first digits (four or more) of a key. Who is in already is made a lead by
--lead. What was said before stays closed to who comes.
JSON: channel, added (name and pubkey), lead.";
const REMOVE_HELP: &str = "\
PEER is a name or the first digits (four or more) of a key. What they have read they keep; of what is
said from then on they get nothing. Out of the mesh altogether leads `claudemesh remove`.
JSON: channel, removed (name and pubkey).";

const HISTORY_HELP: &str = "\
The newest are at the bottom. The broker keeps what was said for 90 days, sealed; what cannot be
opened here shows why. Changes nothing in the inbox.
JSON: a list, oldest first, of history_id, channel, message_id, from_name, from_pubkey, verified,
body, content_type, reply_to, sent_at; or of history_id and unreadable, the reason.";

const READ_HELP: &str = "\
What was shown is read: neither this command nor `claudemesh inbox` shows it again. Messages of
other topics, and those to you alone, stay as they are.
JSON: a list, as `claudemesh inbox` has it.";

const TAIL_HELP: &str = "\
Begins with what is unread. What was shown is read. With --json each message is one line.
The mesh does not see that you are there; `claudemesh listen` shows everything, and you.";

#[derive(Debug, Args)]
pub(crate) struct Topic {
    #[command(subcommand)]
    pub(crate) command: TopicCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Make a topic, which you lead
    #[command(after_help = CREATE_HELP)]
    Create {
        /// Its name
        name: String,
        /// Only who is invited comes in; without it every member may join
        #[arg(long)]
        private: bool,
    },
    /// List the topics of this mesh
    #[command(after_help = LIST_HELP)]
    List,
    /// Join a topic
    #[command(after_help = JOIN_HELP)]
    Join {
        /// Its name
        name: String,
    },
    /// Leave a topic: what is said there from then on you cannot read
    #[command(after_help = LEAVE_HELP)]
    Leave {
        /// Its name
        name: String,
    },
    /// List who is in a topic
    #[command(after_help = MEMBERS_HELP)]
    Members {
        /// Its name
        name: String,
    },
    /// Take a member of the mesh into a topic; for its leads, and the mesh's owner
    #[command(after_help = INVITE_HELP)]
    Invite {
        /// Its name
        name: String,
        /// Who
        peer: String,
        /// They lead it, too: take others in and out
        #[arg(long)]
        lead: bool,
    },
    /// Take a member out of a topic; for its leads, and the mesh's owner and admins
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// Its name
        name: String,
        /// Who
        peer: String,
    },
    /// Show what was said in a topic
    #[command(after_help = HISTORY_HELP)]
    History(History),
    /// Show what is new in a topic, and mark it as read
    #[command(after_help = READ_HELP)]
    Read(ReadTopic),
    /// Show what is said in a topic as it comes, until Ctrl-C
    #[command(after_help = TAIL_HELP)]
    Tail {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The topic's name
    pub(crate) name: String,
    /// Show so many, 200 at most
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) limit: u32,
    /// Only what was said before this one, by its history_id
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReadTopic {
    /// The topic's name
    pub(crate) name: String,
    /// Do not mark as read
    #[arg(long)]
    pub(crate) peek: bool,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Group {
    #[command(subcommand)]
    pub(crate) command: GroupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List the groups of this mesh
    #[command(after_help = LIST_HELP)]
    List,
    /// Join a group; if there is none of this name, it is made
    #[command(after_help = GROUP_JOIN_HELP)]
    Join {
        /// Its name
        name: String,
    },
    /// Leave a group
    #[command(after_help = LEAVE_HELP)]
    Leave {
        /// Its name
        name: String,
    },
    /// List who is in a group
    #[command(after_help = MEMBERS_HELP)]
    Members {
        /// Its name
        name: String,
    },
}
