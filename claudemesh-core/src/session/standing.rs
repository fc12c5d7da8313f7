//! What new entries of the log say about people, told as events; and whether this member is out.

use super::{Event, Session};
use crate::id::PublicKey;
use crate::membership::{Body, Entry, Role, Roster};

impl Session {
    /// Tells what entries say that were just taken, in their order.
    pub(super) fn tell_entries(&mut self, entries: &[Entry]) {
        let Some(roster) = self.log.roster() else {
            return;
        };
        let mut events = Vec::new();
        for entry in entries {
            events_of(roster, entry, &mut events);
        }
        let people = !events.is_empty();
        for event in events {
            self.event(event);
        }
        self.judge_own_standing();
        self.names_may_have_changed();
        if people {
            self.state_audience_changed();
        }
    }

    /// This member may be out by an entry that does not name it: with its member, or with an
    /// owner who lost the mesh. So the roster is asked, not the entry.
    fn judge_own_standing(&mut self) {
        let own = self.config.key.public();
        let held = self.log.roster().and_then(|r| r.member_or_former(&own));
        if held.is_some_and(|member| member.removed_at.is_some()) {
            self.removed("the membership log says that this member was removed".into());
        }
    }
}

fn events_of(roster: &Roster, entry: &Entry, events: &mut Vec<Event>) {
    let joined = |key: &PublicKey| {
        let member = roster.member_or_former(key)?;
        let name = roster.shown_name(member);
        Some(Event::MemberJoined { key: *key, name })
    };
    // Who stood in the log before this entry did not come by it.
    let before = |key: &PublicKey| -> Option<Role> {
        let member = roster.member_or_former(key)?;
        member.role_at(entry.seq.checked_sub(1)?)
    };
    match &entry.body {
        Body::MemberJoined { key, .. } | Body::DeviceLinked { key, .. } => {
            events.extend(joined(key));
        }
        Body::MemberAdmitted { key, role, .. } => match before(key) {
            Some(_) => events.push(Event::RoleChanged {
                key: *key,
                role: *role,
            }),
            None => events.extend(joined(key)),
        },
        Body::RoleChanged { key, role } => events.push(Event::RoleChanged {
            key: *key,
            role: *role,
        }),
        Body::OwnerChanged { key, .. } => {
            if before(key).is_none() {
                events.extend(joined(key));
            }
            events.push(Event::OwnerChanged { key: *key });
            events.extend(removed_by(roster, entry, None));
        }
        Body::MemberRemoved { key, .. } => {
            events.push(Event::MemberRemoved { key: *key });
            events.extend(removed_by(roster, entry, Some(key)));
        }
        _ => {}
    }
}

/// Who else is out by an entry.
fn removed_by(
    roster: &Roster,
    entry: &Entry,
    named: Option<&PublicKey>,
) -> impl Iterator<Item = Event> {
    let all = roster.members_and_former();
    all.filter(move |member| member.removed_seq == Some(entry.seq))
        .map(|member| member.key)
        .filter(move |key| Some(key) != named)
        .map(|key| Event::MemberRemoved { key })
}
