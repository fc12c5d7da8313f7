//! What a peer may, in the words of `block`, `grant` and `revoke`: the rules of `policy`.

use claudemesh_core::peer::Peer;
use claudemesh_core::{Rule, Who};
use serde_json::json;

use super::policy::whom;
use crate::cli::Capability;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// Whether direct messages and messages to many come through at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct May {
    dm: bool,
    broadcast: bool,
}

impl May {
    pub(super) const fn of(rule: Rule) -> Self {
        match rule {
            Rule::Ask => Self {
                dm: false,
                broadcast: true,
            },
            Rule::Block => Self {
                dm: false,
                broadcast: false,
            },
            // What is muted does come.
            _ => Self {
                dm: true,
                broadcast: true,
            },
        }
    }

    /// The rule that says this, if there is one.
    const fn rule(self) -> Option<Rule> {
        match (self.dm, self.broadcast) {
            (true, true) => Some(Rule::Allow),
            (false, true) => Some(Rule::Ask),
            (false, false) => Some(Rule::Block),
            (true, false) => None,
        }
    }

    pub(super) fn words(self) -> Vec<&'static str> {
        let all = [("dm", self.dm), ("broadcast", self.broadcast)];
        all.into_iter()
            .filter_map(|(word, may)| may.then_some(word))
            .collect()
    }
}

pub(super) async fn change(
    context: &Context,
    wanted: &str,
    what: &[Capability],
    may: bool,
) -> Result<Code, Failure> {
    let foreign = what.iter().any(|one| {
        !matches!(
            one,
            Capability::Dm | Capability::Broadcast | Capability::All
        )
    });
    if foreign {
        return Err(Failure::usage(
            "only dm, broadcast and all are a peer's to give. State and channels are read and \
             written by every member of the mesh, as its membership log has them (`claudemesh \
             remove`, `claudemesh topic remove`); nobody reads files",
        ));
    }
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = set(context, &peer, wanted, what, may).await;
    finish(&peer).await;
    result
}

async fn set(
    context: &Context,
    peer: &Peer,
    wanted: &str,
    what: &[Capability],
    may: bool,
) -> Result<Code, Failure> {
    let (who, name) = whom(peer, wanted).await?;
    let Who::Peer(key) = who else {
        let message = format!("{wanted:?} is for `claudemesh policy set`; say one peer here");
        return Err(Failure::usage(message));
    };
    let before = rule_of(peer, &who).await?.unwrap_or(Rule::Allow);
    let mut now = May::of(before);
    for one in what {
        if matches!(one, Capability::Dm | Capability::All) {
            now.dm = may;
        }
        if matches!(one, Capability::Broadcast | Capability::All) {
            now.broadcast = may;
        }
    }
    let Some(rule) = now.rule() else {
        return Err(Failure::usage(format!(
            "messages to many cannot be refused from one sender alone; `claudemesh policy set \
             {wanted} mute` has them kept without waking anybody, `claudemesh block {wanted}` \
             refuses everything"
        )));
    };
    // Who is muted and is granted what it has stays muted.
    if now != May::of(before) || before == Rule::Mute && may {
        let kept = (rule != Rule::Allow).then_some(rule);
        peer.set_rule(who, kept).await?;
    }
    let words = now.words();
    let answer = json!({
        "name": name,
        "pubkey": key,
        "capabilities": words,
        "rule": rule.as_str(),
    });
    context.out.answer(&answer, || {
        format!("{} may: {}\n", clean_line(&name), shown(rule))
    })?;
    Ok(Code::Ok)
}

async fn rule_of(peer: &Peer, who: &Who) -> Result<Option<Rule>, Failure> {
    let rules = peer.rules().await?;
    Ok(rules
        .iter()
        .find(|kept| kept.who == *who)
        .map(|kept| kept.rule))
}

/// In words for people.
pub(super) fn shown(rule: Rule) -> &'static str {
    match rule {
        Rule::Ask => "broadcast; direct messages wait for your answer",
        Rule::Block => "nothing",
        Rule::Mute => "dm, broadcast; muted",
        _ => "dm, broadcast",
    }
}
