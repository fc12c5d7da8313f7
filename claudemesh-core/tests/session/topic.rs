//! A topic as a broker keeps it, for sessions that are driven by hand.

use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::{Body, ChannelBody, ChannelLog, SignedEntry};
use claudemesh_core::session::Command;
use claudemesh_core::store::{PeerStore, Query, Rows};
use claudemesh_core::wire::{
    CAP_CHANNELS, ClientFrame, LogAppend, LogAppended, LogEntries, LogGet, LogHead,
};

use crate::support::*;

pub(crate) fn ops() -> ChannelName {
    ChannelName::new("#ops").unwrap()
}

/// The log of `#ops`, which Ana made.
#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) mesh: Mesh,
    pub(crate) log: ChannelLog,
    /// From the first of its own, which has the number 1.
    pub(crate) entries: Vec<SignedEntry>,
}

impl Topic {
    pub(crate) fn new(mut mesh: Mesh) -> Self {
        let (channel, public) = (ops(), true);
        mesh.say(ANA, None, Body::ChannelCreated { channel, public });
        let log = ChannelLog::begin(&mesh.log, &ops()).unwrap();
        Self {
            mesh,
            log,
            entries: Vec::new(),
        }
    }

    pub(crate) fn draft(&self, signer: u8, body: ChannelBody) -> SignedEntry {
        self.log
            .draft(NOW, &self.mesh.log, body)
            .sign(&pair(signer))
    }

    pub(crate) fn say(&mut self, signer: u8, body: ChannelBody) -> SignedEntry {
        let entry = self.draft(signer, body);
        self.log.append(&entry, &self.mesh.log).unwrap();
        self.entries.push(entry.clone());
        entry
    }

    pub(crate) fn add(&mut self, member: u8, lead: bool) -> SignedEntry {
        let key = key(member);
        self.say(ANA, ChannelBody::Added { key, lead })
    }

    pub(crate) fn head(&self) -> LogHead {
        let head = self.log.head();
        LogHead::new(head.seq, &head.hash)
    }

    /// The log as it was after so many entries.
    pub(crate) fn cut(&self, entries: usize) -> Self {
        let mut log = ChannelLog::begin(&self.mesh.log, &ops()).unwrap();
        for entry in &self.entries[..entries] {
            log.append(entry, &self.mesh.log).unwrap();
        }
        Self {
            mesh: self.mesh.clone(),
            log,
            entries: self.entries[..entries].to_vec(),
        }
    }

    /// Answers a question for the log with what is there.
    pub(crate) fn page(&self, get: &LogGet) -> LogEntries {
        let from = (get.from as usize).clamp(1, self.entries.len() + 1);
        LogEntries {
            channel: "#ops".to_owned(),
            from: get.from,
            entries: self.entries[from - 1..].iter().map(blob).collect(),
            head: self.head(),
            req_id: get.req_id.clone(),
        }
    }

    /// The newest entry, as others are told of it.
    pub(crate) fn news(&self) -> LogAppended {
        LogAppended {
            channel: "#ops".to_owned(),
            head: self.head(),
            entry: self.entries.last().map(blob),
            req_id: None,
        }
    }

    /// The answer to who added the entry with this number.
    pub(crate) fn taken(&self, append: &LogAppend, seq: u64) -> LogAppended {
        let head = self.cut(seq as usize).head();
        LogAppended {
            channel: "#ops".to_owned(),
            head,
            entry: None,
            req_id: append.req_id.clone(),
        }
    }
}

/// A member on a broker with channels; nothing noted so far.
pub(crate) fn online(mesh: &Mesh, member: u8) -> Rig {
    let mut rig = Rig::new(mesh, member);
    hello(&mut rig);
    rig
}

pub(crate) fn hello(rig: &mut Rig) {
    rig.connect_to(&[CAP_CHANNELS]);
    rig.forget();
}

/// The questions for the log of `#ops` since the last look.
pub(crate) fn gets(rig: &mut Rig) -> Vec<LogGet> {
    let of_ops = |frame: &ClientFrame| match frame {
        ClientFrame::LogGet(get) if get.channel == "#ops" => Some(get.clone()),
        _ => None,
    };
    std::iter::from_fn(|| rig.take(of_ops)).collect()
}

/// The entries that were to be added since the last look.
pub(crate) fn added(rig: &mut Rig) -> Vec<LogAppend> {
    let added = super::logs::appends(rig);
    rig.sent
        .retain(|frame| !matches!(frame, ClientFrame::LogAppend(_)));
    added
}

/// Asks for the channel, and answers with this.
pub(crate) fn sync(rig: &mut Rig, topic: &Topic) -> u64 {
    let command = rig.command(Command::SyncChannel(ops()));
    let get = gets(rig).pop().unwrap();
    rig.frame(topic.page(&get));
    command
}

pub(crate) fn kept(rig: &Rig) -> Vec<u64> {
    match rig.store.read(&Query::ChannelLogs) {
        Ok(Rows::ChannelLogs(rows)) => rows.iter().map(|row| row.seq).collect(),
        other => panic!("{other:?}"),
    }
}
