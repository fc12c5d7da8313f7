//! The arguments of what a mesh keeps besides messages.

use std::time::Duration;

use clap::{Args, Subcommand};
use claudemesh_core::cron::Cron;

use crate::{duration, when};

/// Characters of a summary at most; peers show no more.
const SUMMARY_CHARS: usize = 512;
/// Bytes of a key of the state at most.
const KEY_BYTES: usize = 256;
/// Tags of a memory at most, and the bytes of one.
const TAGS: usize = 16;
const TAG_BYTES: usize = 64;

pub(super) const STATE_HELP: &str = "\
A value is sealed for the members of the mesh: who joins later reads it, too, once somebody who was
there before has run `claudemesh listen` for some seconds, or kept something; who was removed reads
nothing that is written later. The broker sees keys, sizes, writers and times.
Examples:
  claudemesh state set deploy.lock '{\"by\":\"ana\"}'
  claudemesh state get deploy.lock
  claudemesh state set deploy.lock null --if-version 1
  claudemesh state watch deploy.lock";

const GET_HELP: &str = "\
Shows a text as it is, everything else as JSON; who wrote it is told on stderr, and whatever is not
as it should be. Exit code 5: there is none; 1: it cannot be read, and why.
JSON: key, value (the JSON that is kept), writer, writer_pubkey, version, written_at, verified (the
writer is a member, and proven), protected (it is sealed; if not, the broker can read and write it),
newest (no newer one was seen before).";

const SET_HELP: &str = "\
VALUE is JSON if it reads as JSON, else a text: true, 3 and {\"a\":1} are JSON, hello is a text.
Exit code 6, and nothing is changed: it does not have the version of --if-version any more.
JSON: key, version.";

const LIST_HELP: &str = "\
JSON: a list of what `claudemesh state get` gives; value is null and unreadable says why, if one
cannot be read.";

const WATCH_HELP: &str = "\
Shows what changes from now on, not what there is. The mesh does not see that you are there.
Changes that follow each other quickly may be shown as one.
With --json each change is one line, as in `claudemesh state list --json`.";

pub(super) const REMEMBER_HELP: &str = "\
A memory is sealed for the members of the mesh, as state is, and has at most 32,768 bytes. The
broker sees its tags.
Example:
  claudemesh remember --tag infra 'The production database is PostgreSQL 16'
JSON: memory_id, tags.";

pub(super) const RECALL_HELP: &str = "\
Finds what has every word, in its text or tags, in whatever case; newest first. Without words: all.
JSON: a list of memory_id, text, tags, writer, writer_pubkey, written_at, verified, protected,
newest; text is null and unreadable says why, if one cannot be read.";

pub(super) const FORGET_HELP: &str = "\
Your own ones; the mesh's owner and admins those of others, too.
JSON: memory_id, forgotten.";

pub(super) const REMIND_HELP: &str = "\
Goes out at its time, also if you are away then; without --to into your own inbox. It is sealed now:
if somebody joins or leaves the topic before that, it is not sent, and `claudemesh schedule list`
says so.
TIME is 14:30 (the next one), or 2026-01-31T14:30; in UTC, or with an offset: 14:30+02:00.
With --cron it comes again and again, at times in UTC: minute, hour, day of month, month, weekday (0
to 6 from Sunday). It is sealed for yourself until it is due, and sent by a program of yours: by
`claudemesh listen`, or any other command. What was missed comes once.
Examples:
  claudemesh remind 'look at the build' --in 10m
  claudemesh remind 'stand-up' --cron '0 9 * * 1-5' --to '#team'
JSON: schedule_id, to (name and pubkey, or channel), due_at, cron.";

pub(super) const SCHEDULE_HELP: &str = "\
What goes out later is made by `claudemesh remind`.";

const SCHEDULES_HELP: &str = "\
What they say is not shown: it is sealed for those who get it.
JSON: a list of schedule_id, to (name and pubkey, or channel), due_at, cron, failed (a code, or
null) and advice.";

const CANCEL_HELP: &str = "\
JSON: schedule_id, cancelled.";

pub(super) const SUMMARY_HELP: &str = "\
It is sealed for the members of the mesh, who see it in `claudemesh peers` as long as you listen: it
is kept for this mesh, and `claudemesh listen` follows it, also while it runs.
JSON: mesh, summary.";

#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(subcommand)]
    pub(crate) command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show a value
    #[command(after_help = GET_HELP)]
    Get {
        /// Its key
        #[arg(value_parser = key)]
        key: String,
    },
    /// Keep a value
    #[command(after_help = SET_HELP)]
    Set(SetState),
    /// List all values
    #[command(after_help = LIST_HELP)]
    List,
    /// Show changes as they come, until Ctrl-C
    #[command(after_help = WATCH_HELP)]
    Watch {
        /// Only of this key
        #[arg(value_parser = key)]
        key: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetState {
    /// Its key, at most 256 bytes; the broker sees it
    #[arg(value_parser = key)]
    pub(crate) key: String,
    /// What to keep, at most 32,768 bytes; '-' reads it from stdin, without its last line end
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// Only if the kept value has this version; 0: if there is none
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    /// It is a text, whatever it looks like
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remember {
    /// What to remember; '-' reads it from stdin, without its last line end
    pub(crate) text: String,
    /// A word to find it by; up to 16 times
    #[arg(long = "tag", value_name = "T", value_parser = tag)]
    pub(crate) tags: Vec<String>,
}

impl Remember {
    /// As many tags as can be kept.
    pub(crate) fn tags(self) -> Result<Vec<String>, String> {
        if self.tags.len() > TAGS {
            return Err(format!("a memory has at most {TAGS} tags"));
        }
        Ok(self.tags)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Recall {
    /// What it must have
    pub(crate) words: Vec<String>,
    /// Show so many at most
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The memory's id, or its first characters
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Remind {
    /// What to say; '-' reads it from stdin, without its last line end
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) when: When,
    /// To whom: a name, a key, a topic ('#deploys'), a group (@oncall) or everybody ('*')
    #[arg(long, value_name = "TO")]
    pub(crate) to: Option<String>,
}

/// One of three.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct When {
    /// After so long
    #[arg(long = "in", value_name = "LENGTH", value_parser = duration::parse)]
    pub(crate) in_: Option<Duration>,
    /// At this time: 14:30, or 2026-01-31T14:30
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    pub(crate) at: Option<u64>,
    /// At each of these times: five fields, in UTC
    #[arg(long, value_name = "FIELDS", value_parser = cron)]
    pub(crate) cron: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    pub(crate) command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// List what goes out later, and what could not
    #[command(after_help = SCHEDULES_HELP)]
    List,
    /// Give one up
    #[command(after_help = CANCEL_HELP)]
    Cancel {
        /// Its id, or its first characters
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Summary {
    #[command(subcommand)]
    pub(crate) command: SummaryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SummaryCommand {
    /// Say it
    Set {
        /// What you do, on one line, in 512 characters at most
        #[arg(value_parser = summary)]
        text: String,
    },
    /// Say nothing
    Clear,
    /// Show what is said
    Show,
}

fn key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=KEY_BYTES => Ok(text.to_owned()),
        bytes => Err(format!(
            "a key has 1 to {KEY_BYTES} bytes, this one {bytes}"
        )),
    }
}

fn tag(text: &str) -> Result<String, String> {
    match text.len() {
        1..=TAG_BYTES => Ok(text.to_owned()),
        bytes => Err(format!(
            "a tag has 1 to {TAG_BYTES} bytes, this one {bytes}"
        )),
    }
}

/// A summary that peers show as it is.
pub(crate) fn summary(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty; to say nothing any more: `claudemesh summary clear`".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it is one line, without control characters".to_owned());
    }
    match text.chars().count() {
        0..=SUMMARY_CHARS => Ok(text.to_owned()),
        chars => Err(format!(
            "it has {chars} characters; peers show {SUMMARY_CHARS} at most"
        )),
    }
}

fn cron(text: &str) -> Result<String, String> {
    let wrong = |what: String| {
        format!(
            "{what}; write five fields, in UTC: minute, hour, day of month, month, weekday (0 to 6 \
             from Sunday), as '0 9 * * 1-5'"
        )
    };
    let cron: Cron = text.parse().map_err(|error| wrong(format!("{error}")))?;
    match cron.next(crate::format::now_ms()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(wrong("this time never comes".to_owned())),
    }
}
