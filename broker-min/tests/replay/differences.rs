//! What our broker does differently on purpose, with the reason, as docs/compatibility.md has it.

/// A difference on purpose.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// How the names of the recordings begin in which it is; empty: any.
    files: &'static [&'static str],
    /// What differs; `*` stands for any text.
    what: &'static str,
    pub(crate) reason: &'static str,
}

const fn differs(
    files: &'static [&'static str],
    what: &'static str,
    reason: &'static str,
) -> Difference {
    Difference {
        files,
        what,
        reason,
    }
}

const ADDED: &str = "fields that their clients do not know are added; they pass over them";
const PLATFORM: &str = "frames of the platform are answered with `unsupported`, by their name, and passed on to nobody";
const HTTP: &str = "what was asked over HTTP meanwhile is not asked again";
const CWD: &str = "a hello without `cwd` is accepted";
const GARBAGE: &str = "what cannot be understood is answered with an error, and what is unknown before a hello as well";
const LARGE: &str = "a frame of more than 65,536 bytes ends its connection with 1009, unread";
const TARGET: &str =
    "a target that is no key is refused for good, and not as if somebody were away";
const TOPIC: &str = "a topic that does not exist, or is another mesh's, is not found";
const PRIORITY: &str = "a priority that does not exist is refused in words";
const SESSIONS: &str = "a message for a member goes to all of its connections that are there";
const UNACKED: &str = "what was not acked comes again to who comes again";
const TOPICS: &str = "a message in a topic is pushed to all who are in it";
const STATS: &str = "counters that no client reported are not made up";
const DELIVERED: &str =
    "a message to many is delivered when all have it; when that was is not kept";
const CONTEXT: &str = "a member is named as the mesh knows it";
const SCHEDULE: &str = "a message that was due is not acked once more to who had it scheduled";
const AUDIT: &str = "audit rows have no content and their own events";
const RETURNED: &str =
    "a session of a member that was here before is told as `peer_returned`, at once";

/// All of them.
pub(crate) const DIFFERENCES: &[Difference] = &[
    differs(&[""], "push .senderMember* is new", ADDED),
    differs(&[""], "push .senderName is new", ADDED),
    differs(&[""], "push .target is new", ADDED),
    differs(&[""], "push .plain is new", ADDED),
    differs(&[""], "push .replyToId is new", ADDED),
    differs(&[""], "push .client_message_id is new", ADDED),
    differs(&[""], "push .subtype is new", ADDED),
    differs(&[""], "peers_list .peers[].pid is new", ADDED),
    differs(&[""], "peers_list .peers[].profile is new", ADDED),
    differs(&[""], "peers_list .peers[].stats is new", ADDED),
    differs(&[""], "hello_ack .memberProfile is new", ADDED),
    differs(&[""], "error:* ._reqId is new", ADDED),
    differs(&[""], "context_shared ._reqId is new", ADDED),
    differs(&[""], "state_* .version is new", ADDED),
    differs(&[""], "state_list .entries[].version is new", ADDED),
    differs(&[""], "ack:refused .code is new", ADDED),
    differs(&[""], "ack:refused .limit is new", ADDED),
    differs(&[""], "ack:refused .retry_after_ms is new", ADDED),
    differs(&["27-", "28-"], "* .type is \"error\", not *", PLATFORM),
    differs(&["27-", "28-"], "* is not there", PLATFORM),
    differs(&["27-", "28-"], "* .code is new", PLATFORM),
    differs(&["27-", "28-"], "* .message is new", PLATFORM),
    differs(&["27-", "28-"], "* missing", PLATFORM),
    differs(&["27-", "28-"], "error:unsupported more", PLATFORM),
    differs(
        &["27-", "28-"],
        "error:* .code is \"unsupported\", not *",
        PLATFORM,
    ),
    differs(&["30-"], "ack:refused .error is not there", HTTP),
    differs(&["30-"], "ack:refused .queued is true, not false", HTTP),
    differs(&["30-"], "push more", HTTP),
    differs(&["32-"], "push missing", HTTP),
    differs(&["32-"], "push:profile_updated missing", HTTP),
    differs(&["05-", "50-"], "hello_ack more", CWD),
    differs(&["05-", "50-"], "push:peer_joined more", CWD),
    differs(&[""], "push:peer_left*", CWD),
    differs(
        &["05-"],
        "error:no_hello .code is \"malformed\", not *",
        GARBAGE,
    ),
    differs(&["05-"], "error:no_hello more", GARBAGE),
    differs(&["11-"], "close 1009 more", LARGE),
    differs(&["11-"], "ack:refused missing", LARGE),
    differs(
        &["11-"],
        "ack:refused .error is \"invalid: a target *",
        TARGET,
    ),
    differs(&["11-"], "ack:queued .code is new", TOPIC),
    differs(&["11-"], "ack:queued .error is new", TOPIC),
    differs(&["11-"], "ack:queued .queued is false, not true", TOPIC),
    differs(&["11-"], "ack:refused more", PRIORITY),
    differs(&["10-", "11-", "13-", "14-", "25-"], "push more", SESSIONS),
    differs(&["24-", "34-"], "push more", UNACKED),
    differs(&["20-"], "push more", TOPICS),
    differs(&[""], "hello_ack .restoredStats is not there", STATS),
    differs(
        &["10-", "25-"],
        "message_status_result .delivered*",
        DELIVERED,
    ),
    differs(
        &["10-", "25-"],
        "message_status_result .recipients[].status is \"held\", not \"delivered\"",
        DELIVERED,
    ),
    differs(&["23-"], "state_change missing", CONTEXT),
    differs(&["23-"], "state_change more", CONTEXT),
    differs(&["24-"], "ack:queued missing", SCHEDULE),
    differs(&["24-"], "push missing", SCHEDULE),
    differs(&["26-"], "audit_result .entries[].payload differs", AUDIT),
    differs(&["34-", "44-"], "push:peer_returned *", RETURNED),
    differs(&["34-", "44-"], "push:peer_joined missing", RETURNED),
    differs(&["34-", "44-"], "hello_ack .lastSeenAt is new", RETURNED),
    differs(&["34-", "44-"], "hello_ack .restored is new", RETURNED),
];

fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    for (n, part) in pattern.split('*').enumerate() {
        let at = match n {
            0 => rest.starts_with(part).then_some(0),
            _ => rest.find(part),
        };
        let Some(at) = at else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.is_empty() || pattern.ends_with('*')
}

/// The difference that explains what was found.
pub(crate) fn reason_of(file: &str, found: &str) -> Option<&'static Difference> {
    let mut all = DIFFERENCES.iter();
    all.find(|it| {
        let here = it.files.iter().any(|begin| file.starts_with(begin));
        here && fits(it.what, found)
    })
}
