//! The task around the router: feeds it inputs and carries out its outputs. It never waits for
//! anything but the next input.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::router::{ConnId, HttpCall, HttpReply, In, Kind, Now, Out, Router};
use crate::socket::Command;
use crate::writer::{Answer, Commits, Loads, size};

use super::door::{Door, Entry};

/// Inputs that are handled before the outputs are carried out.
const TURN: usize = 256;
/// Operations that may wait for the writer before sockets are no longer listened to.
const BACKLOG_OPS: usize = 8_192;
/// Bytes that may wait for the writer before sockets are no longer listened to.
const BACKLOG_BYTES: usize = 32 << 20;
/// Bytes waiting for a socket from which on hints are dropped.
const HINT_BYTES: usize = 64 << 10;
/// The router is told of a socket's waiting bytes each time they grow by so many.
pub(crate) const REPORT_BYTES: usize = 16 << 10;

/// For how long a closed socket may take to write what waits.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// What comes to the shell from sockets and HTTP.
pub(crate) enum Input {
    /// A connection that is about to say hello.
    Open(ConnId, Handle),
    /// For the router.
    Router(In),
    /// A call by HTTP.
    Http(HttpCall, oneshot::Sender<HttpReply>),
}

/// What the broker is told by who runs it.
pub(crate) enum Control {
    /// Go down; answered when all that was read is committed and everyone is told.
    Shutdown(oneshot::Sender<()>),
}

/// The way to a socket.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) entry: Arc<Entry>,
}

/// The bytes that were handed to a socket and are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) bytes: AtomicUsize,
    /// Whether the router was told of a number other than 0.
    pub(crate) reported: AtomicBool,
}

/// The shell of one router.
pub(crate) struct Shell {
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) answers: mpsc::UnboundedReceiver<In>,
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
    pub(crate) commits: Commits,
    pub(crate) loads: Loads,
    pub(crate) door: Arc<Door>,
    pub(crate) metrics: Metrics,
    pub(crate) state: State,
}

/// What the shell itself keeps.
#[derive(Default)]
pub(crate) struct State {
    conns: HashMap<ConnId, Handle>,
    calls: HashMap<u64, oneshot::Sender<HttpReply>>,
    next_call: u64,
    /// Batches with the writer, in order: operations and bytes.
    writing: VecDeque<(usize, usize)>,
    backlog: (usize, usize),
    /// Sockets whose waiting bytes have grown.
    grown: Vec<ConnId>,
    leaving: Option<oneshot::Sender<()>>,
    told: bool,
}

impl Shell {
    /// Runs until all senders are gone.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.router.deadline();
            let (ops, bytes) = self.state.backlog;
            let open = ops < BACKLOG_OPS && bytes < BACKLOG_BYTES;
            tokio::select! {
                biased;
                answer = self.answers.recv() => match answer {
                    Some(answer) => self.answered(answer),
                    None => return,
                },
                control = self.control.recv() => match control {
                    Some(Control::Shutdown(done)) => self.leave(done),
                    None => return,
                },
                () = self.clock.until(due.unwrap_or(u64::MAX)), if due.is_some() => {
                    let now = self.clock.now();
                    self.router.handle(now, In::Tick);
                }
                input = self.inputs.recv(), if open => match input {
                    Some(input) => self.input(self.clock.now(), input),
                    None => return,
                },
            }
            self.take_waiting(open);
            self.carry_out();
            self.leaving();
        }
    }

    /// Takes what else waits, so that it shares commits and frames with the first.
    fn take_waiting(&mut self, open: bool) {
        let now = self.clock.now();
        for _ in 0..TURN {
            if let Ok(answer) = self.answers.try_recv() {
                self.answered(answer);
            } else if let Some(input) = open.then(|| self.inputs.try_recv().ok()).flatten() {
                self.input(now, input);
            } else {
                return;
            }
        }
    }

    fn input(&mut self, now: Now, input: Input) {
        match input {
            Input::Open(conn, handle) => {
                self.state.conns.insert(conn, handle);
                self.metrics.opened();
            }
            Input::Router(input) => {
                if let In::Closed { conn } = &input
                    && self.state.conns.remove(conn).is_some()
                {
                    self.metrics.closed();
                }
                self.router.handle(now, input);
            }
            Input::Http(call, answer) => {
                self.state.next_call += 1;
                let request = self.state.next_call;
                self.state.calls.insert(request, answer);
                self.router.handle(now, In::Http { request, call });
            }
        }
    }

    fn answered(&mut self, answer: In) {
        if matches!(answer, In::Committed { .. })
            && let Some((ops, bytes)) = self.state.writing.pop_front()
        {
            self.state.backlog.0 -= ops;
            self.state.backlog.1 -= bytes;
        }
        let now = self.clock.now();
        self.router.handle(now, answer);
    }

    fn carry_out(&mut self) {
        loop {
            while let Some(out) = self.router.next() {
                self.output(out);
            }
            if self.state.grown.is_empty() {
                return;
            }
            let now = self.clock.now();
            for conn in std::mem::take(&mut self.state.grown) {
                if let Some(handle) = self.state.conns.get(&conn) {
                    let bytes = handle.waiting.bytes.load(Ordering::Acquire);
                    handle.waiting.reported.store(true, Ordering::Release);
                    self.router.handle(now, In::Waiting { conn, bytes });
                }
            }
        }
    }

    fn output(&mut self, out: Out) {
        match out {
            Out::Write { conns, text, kind } => {
                for conn in conns {
                    self.write(conn, text.clone(), kind);
                }
            }
            Out::Close { conn, code, reason } => {
                self.metrics.refused_or_closed(code, &reason);
                if let Some(handle) = self.state.conns.get(&conn) {
                    // A socket that takes no bytes takes no close frame either.
                    handle.entry.cut_after(CLOSE_TIME);
                }
                self.tell(conn, Command::Close(code, reason));
            }
            Out::Reading { conn, on } => self.tell(conn, Command::Reading(on)),
            Out::Commit { batch, ops } => {
                let cost = (ops.len(), ops.iter().map(size).sum());
                self.state.backlog.0 += cost.0;
                self.state.backlog.1 += cost.1;
                self.state.writing.push_back(cost);
                self.commits.commit(batch, ops);
            }
            Out::Load { token, query } => self.loads.load(query, Answer::Router(token)),
            Out::Respond { request, reply } => {
                if let Some(answer) = self.state.calls.remove(&request) {
                    let _ = answer.send(reply);
                }
            }
        }
    }

    fn write(&mut self, conn: ConnId, text: Bytes, kind: Kind) {
        let Some(handle) = self.state.conns.get(&conn) else {
            return;
        };
        let waiting = &handle.waiting.bytes;
        if kind == Kind::Hint && waiting.load(Ordering::Acquire) > HINT_BYTES {
            return;
        }
        let before = waiting.fetch_add(text.len(), Ordering::AcqRel);
        if before / REPORT_BYTES != (before + text.len()) / REPORT_BYTES {
            self.state.grown.push(conn);
        }
        self.metrics.wrote(text.len());
        let _ = handle.commands.send(Command::Write(text));
    }

    fn tell(&self, conn: ConnId, command: Command) {
        if let Some(handle) = self.state.conns.get(&conn) {
            let _ = handle.commands.send(command);
        }
    }

    /// Begins to go down: nothing more is read.
    fn leave(&mut self, done: oneshot::Sender<()>) {
        for handle in self.state.conns.values() {
            let _ = handle.commands.send(Command::Reading(false));
        }
        self.state.leaving = Some(done);
    }

    /// Goes down once what was read is committed: then everyone is told, and what follows from
    /// that (last seen, audit) is committed too.
    fn leaving(&mut self) {
        let quiet = self.state.writing.is_empty() && self.inputs.is_empty();
        if self.state.leaving.is_none() || !quiet {
            return;
        }
        if !self.state.told {
            self.state.told = true;
            let now = self.clock.now();
            self.router.handle(now, In::Shutdown);
            self.carry_out();
            self.door.tell_all(Command::going_away);
            if !self.state.writing.is_empty() {
                return;
            }
        }
        if let Some(done) = self.state.leaving.take() {
            let _ = done.send(());
        }
    }
}
