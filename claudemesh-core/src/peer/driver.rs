//! The one task of a peer: it carries between the session, the socket, the store and the handles.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WsCloseCode;

use super::lanes::{Held, Lanes};
use super::receipt::Progress;
use super::shared::{Connection, Shared};
use super::store_thread::FromStore;
use crate::broker_url::BrokerUrl;
use crate::id::MessageId;
use crate::membership::Log;
use crate::session::{Command, CommandId, Event, In, Now, Out, Reply, Session, SessionError};
use crate::store::{Outcome, PeerOp, Query, Rows};
use crate::transport::{self, ByteStream, Network, TransportError, Upgraded};

type Socket = WebSocketStream<Box<dyn ByteStream>>;
type Answer = oneshot::Sender<Result<Reply, SessionError>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Upgraded, TransportError>> + Send>>;

/// How often lanes of processes that died are looked for.
const ADOPT_EVERY: Duration = Duration::from_secs(2);
/// How often the store forgets what is no longer needed.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// Frames that wait for the socket beyond which none is read: a broker that does not read what it
/// asked for fills no memory.
const MAX_UNWRITTEN: usize = 2_048;
/// For how long a socket that was given up may still write what was handed over.
const LINGER: Duration = Duration::from_secs(5);

/// What a handle asks of the driver.
pub(super) enum Request {
    Command(Command, Answer),
    /// Ends the task after closing the socket.
    Close(oneshot::Sender<()>),
}

pub(super) struct Driver {
    pub(super) session: Session,
    pub(super) shared: Arc<Shared>,
    pub(super) broker: BrokerUrl,
    pub(super) network: Network,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) from_store: mpsc::UnboundedReceiver<FromStore>,
    pub(super) lanes: Option<(Lanes, Held)>,
}

/// The writing half of a socket: its task writes what was handed over, and ends, when `frames` is
/// dropped.
struct Writer {
    frames: mpsc::UnboundedSender<Message>,
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

/// How many frames wait for the socket.
#[derive(Default)]
struct Waiting {
    frames: AtomicUsize,
    /// Told whenever there are fewer.
    fewer: Notify,
}

impl Writer {
    /// Lets the task write what was handed over, but not for ever.
    fn retire(self) {
        let Self {
            frames, mut task, ..
        } = self;
        drop(frames);
        tokio::spawn(async move {
            if tokio::time::timeout(LINGER, &mut task).await.is_err() {
                task.abort();
            }
        });
    }
}

struct Run {
    driver: Driver,
    start: tokio::time::Instant,
    answers: HashMap<CommandId, Answer>,
    next_command: CommandId,
    connecting: Option<Connecting>,
    reader: Option<SplitStream<Socket>>,
    writer: Option<Writer>,
    /// A lane that is being taken over; held until its rows are ours.
    adopting: Option<(CommandId, Held)>,
    lanes_token: Option<oneshot::Receiver<Vec<u32>>>,
}

impl Driver {
    /// Runs until the last handle is gone or the peer is closed.
    pub(super) async fn run(self) {
        let mut run = Run {
            driver: self,
            start: tokio::time::Instant::now(),
            answers: HashMap::new(),
            next_command: 0,
            connecting: None,
            reader: None,
            writer: None,
            adopting: None,
            lanes_token: None,
        };
        run.go().await;
    }
}

impl Run {
    async fn go(&mut self) {
        let mut adopt = tokio::time::interval(ADOPT_EVERY);
        adopt.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.input(In::Tick);
        loop {
            self.outputs();
            let deadline = self.driver.session.deadline();
            let deadline =
                deadline.and_then(|at| self.start.checked_add(Duration::from_millis(at)));
            let reads = self.driver.session.wants_frames() && self.unwritten() < MAX_UNWRITTEN;
            let waiting = self
                .writer
                .as_ref()
                .map(|writer| Arc::clone(&writer.waiting));
            tokio::select! {
                request = self.driver.requests.recv() => match request {
                    Some(Request::Command(command, answer)) => {
                        self.command(command, answer);
                    }
                    Some(Request::Close(done)) => {
                        self.close().await;
                        let _ = done.send(());
                        return;
                    }
                    None => return self.close().await,
                },
                told = self.driver.from_store.recv() => match told {
                    Some(told) => self.told(told),
                    // The store's thread died: nothing can be kept any more.
                    None => return self.close().await,
                },
                opened = opening(&mut self.connecting) => self.opened(opened),
                frame = reading(&mut self.reader), if reads => self.read(frame),
                () = fewer(waiting), if !reads => {}
                lanes = listed(&mut self.lanes_token) => self.adopt_one(&lanes),
                _ = adopt.tick(), if self.driver.lanes.is_some() => self.list_lanes(),
                _ = prune.tick() => self.prune(),
                () = sleep_until(deadline) => self.input(In::Tick),
            }
        }
    }

    fn now(&self) -> Now {
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now {
            mono,
            wall: unix_ms(),
        }
    }

    fn input(&mut self, input: In) {
        let now = self.now();
        self.driver.session.handle(now, input);
    }

    fn command(&mut self, command: Command, answer: Answer) -> CommandId {
        self.next_command += 1;
        let id = self.next_command;
        self.answers.insert(id, answer);
        self.input(In::Command(id, command));
        id
    }

    fn told(&mut self, told: FromStore) {
        match told {
            FromStore::Stored(token, result) => self.input(In::Stored(token, result)),
            FromStore::Loaded(token, result) => self.input(In::Loaded(token, result)),
            FromStore::Changed => {
                self.driver.shared.inbox_changed();
                self.input(In::Changed);
                self.list_lanes();
                let ids = self.driver.shared.receipts.waiting();
                if !ids.is_empty() {
                    let (answer, _) = oneshot::channel();
                    self.command(Command::Refresh(ids), answer);
                }
            }
        }
    }

    fn opened(&mut self, opened: Result<Upgraded, TransportError>) {
        self.connecting = None;
        match opened {
            Ok(Upgraded {
                socket,
                challenge,
                date,
            }) => {
                let (sink, stream) = socket.split();
                self.reader = Some(stream);
                let (frames, queue) = mpsc::unbounded_channel();
                let waiting = Arc::new(Waiting::default());
                self.writer = Some(Writer {
                    frames,
                    task: tokio::spawn(write(sink, queue, Arc::clone(&waiting))),
                    waiting,
                });
                if let Some(ahead) = date.and_then(|date| i64::try_from(date).ok()) {
                    let here = i64::try_from(unix_ms()).unwrap_or(i64::MAX);
                    self.driver.shared.clock_is(ahead.saturating_sub(here));
                }
                // The broker's clock counts only where the own one is far off it.
                let date = date.filter(|date| date.abs_diff(unix_ms()) > 20_000);
                self.input(In::Opened { challenge, date });
            }
            Err(error) => self.input(In::Closed {
                code: None,
                reason: error.to_string(),
            }),
        }
    }

    fn read(&mut self, frame: Option<Result<Message, String>>) {
        match frame {
            Some(Ok(Message::Text(text))) => self.input(In::Frame(text.to_string())),
            Some(Ok(Message::Binary(bytes))) => {
                if let Ok(text) = String::from_utf8(bytes.to_vec()) {
                    self.input(In::Frame(text));
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = match frame {
                    Some(frame) => (Some(u16::from(frame.code)), frame.reason.to_string()),
                    None => (None, "the broker closed the connection".to_owned()),
                };
                self.hang_up();
                self.input(In::Closed { code, reason });
            }
            Some(Ok(_)) => self.input(In::Alive),
            Some(Err(reason)) => {
                self.hang_up();
                self.input(In::Closed { code: None, reason });
            }
            None => {
                self.hang_up();
                let reason = "the connection broke".to_owned();
                self.input(In::Closed { code: None, reason });
            }
        }
    }

    fn hang_up(&mut self) {
        self.reader = None;
        if let Some(writer) = self.writer.take() {
            writer.retire();
        }
    }

    fn unwritten(&self) -> usize {
        let waiting = self.writer.as_ref().map(|writer| &writer.waiting.frames);
        waiting.map_or(0, |frames| frames.load(Ordering::Relaxed))
    }

    fn outputs(&mut self) {
        // Published first: whoever is answered below sees the log that the answer is about.
        self.driver.shared.log_is(self.driver.session.membership());
        while let Some(out) = self.driver.session.poll() {
            match out {
                Out::Connect => {
                    let broker = self.driver.broker.clone();
                    let network = self.driver.network.clone();
                    self.connecting = Some(Box::pin(async move {
                        transport::upgrade(&broker, &network).await
                    }));
                }
                Out::Transmit(text) => self.write(Message::text(text)),
                Out::Close(code) => {
                    let code = WsCloseCode::from(code);
                    self.write(Message::Close(Some(CloseFrame {
                        code,
                        reason: "".into(),
                    })));
                    self.connecting = None;
                    // What was handed over before is still written.
                    self.hang_up();
                    let reason = "closed from this side".to_owned();
                    self.input(In::Closed { code: None, reason });
                }
                Out::Store(token, ops) => self.driver.shared.store.apply(token, ops),
                Out::Load(token, query) => self.driver.shared.store.load(token, query),
                Out::Done(id, result) => self.done(id, result),
                Out::Event(event) => self.event(event),
            }
        }
    }

    fn write(&mut self, message: Message) {
        if let Some(writer) = &self.writer {
            writer.waiting.frames.fetch_add(1, Ordering::Relaxed);
            let _ = writer.frames.send(message);
        }
    }

    fn done(&mut self, id: CommandId, result: Result<Reply, SessionError>) {
        if self
            .adopting
            .as_ref()
            .is_some_and(|(command, _)| *command == id)
        {
            self.adopting = None;
            // A store that fails is left alone until the next turn.
            if result.is_ok() {
                self.list_lanes();
            }
        }
        let receipts = &self.driver.shared.receipts;
        // Registered before the sender learns the id, so that no step is missed.
        match &result {
            Ok(Reply::Queued(message, copies)) => receipts.register(message, copies),
            Ok(Reply::QueuedBare(message)) => receipts.register(message, &[]),
            _ => {}
        }
        let unheard = self.answers.remove(&id).and_then(|a| a.send(result).err());
        if let Some(Ok(Reply::Queued(message, _) | Reply::QueuedBare(message))) = unheard {
            receipts.forget(&message);
        }
    }

    fn event(&mut self, event: Event) {
        let shared = &self.driver.shared;
        match &event {
            Event::Connected => shared.connection_is(Connection::Connected),
            Event::Reconnecting { reason, .. } => {
                shared.connection_is(Connection::Waiting(reason.clone()));
            }
            Event::Refused { message, .. } => {
                shared.connection_is(Connection::Waiting(message.clone()));
            }
            Event::Removed { reason } => shared.connection_is(Connection::Removed(reason.clone())),
            Event::Kicked => shared.connection_is(Connection::Kicked),
            Event::Received => shared.inbox_changed(),
            Event::CaughtUp => shared.caught_up(),
            Event::SessionRenamed { name } => {
                let (shared, name) = (Arc::clone(shared), name.clone());
                tokio::task::spawn_blocking(move || shared.session_renamed(&name));
            }
            Event::LiedTo(lie) => super::lies::keep(shared, lie),
            Event::Sent {
                id,
                state,
                reason,
                recipients,
            } => {
                let progress = Progress {
                    state: *state,
                    reason: reason.as_ref().map(|why| named(shared, id, why)),
                    recipients: *recipients,
                    skipped: None,
                };
                shared.receipts.progressed(id, progress);
            }
            Event::Skipped {
                id,
                untrusted,
                legacy,
            } => {
                let (untrusted, legacy) = (*untrusted, *legacy);
                let skipped = super::Skipped { untrusted, legacy };
                shared.receipts.skipped(id, skipped);
            }
            _ => {}
        }
        shared.tell(event);
    }

    fn list_lanes(&mut self) {
        if self.driver.lanes.is_none() || self.lanes_token.is_some() || self.adopting.is_some() {
            return;
        }
        let (tell, told) = oneshot::channel();
        let store = self.driver.shared.store.clone();
        self.lanes_token = Some(told);
        tokio::spawn(async move {
            let lanes = store.with(|store| store.read(&Query::Lanes)).await;
            let _ = tell.send(match lanes {
                Ok(Ok(Rows::Lanes(lanes))) => lanes,
                _ => Vec::new(),
            });
        });
    }

    fn adopt_one(&mut self, lanes: &[u32]) {
        self.lanes_token = None;
        let Some((files, own)) = &self.driver.lanes else {
            return;
        };
        let own = own.number;
        for lane in lanes.iter().copied().filter(|lane| *lane != own) {
            // A lane that is held belongs to a process that lives; one whose file cannot be
            // opened is left for later.
            if let Ok(Some(held)) = files.try_hold(lane) {
                let (answer, _) = oneshot::channel();
                let id = self.next_command + 1;
                self.adopting = Some((id, held));
                self.command(Command::Adopt(lane), answer);
                return;
            }
        }
    }

    fn prune(&self) {
        self.driver.shared.store.run(|store| {
            let now = unix_ms();
            // In steps, so that nobody waits long; a failure is no loss.
            for _ in 0..10 {
                match store.apply(&[PeerOp::Prune { now }]).as_deref() {
                    Ok([Outcome::Count(10_000)]) => {}
                    _ => return,
                }
            }
        });
    }

    async fn close(&mut self) {
        self.outputs();
        self.connecting = None;
        self.reader = None;
        if let Some(Writer { frames, task, .. }) = self.writer.take() {
            let frame = CloseFrame {
                code: WsCloseCode::Normal,
                reason: "".into(),
            };
            let _ = frames.send(Message::Close(Some(frame)));
            drop(frames);
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(1), task)
                .await
                .is_err()
            {
                abort.abort();
            }
        }
        self.driver.shared.connection_is(Connection::Closed);
        self.driver.shared.closed();
    }
}

/// Why a message failed; of a copy, with the device that it is for.
fn named(shared: &Shared, id: &MessageId, why: &str) -> String {
    let Some(device) = id.device() else {
        return why.to_owned();
    };
    let log = shared.log();
    let roster = log.as_deref().map(Log::roster);
    let name = roster.and_then(|roster| {
        let mut all = roster.members_and_former();
        let member = all.find(|member| member.key.short() == device)?;
        Some(roster.display_name(member))
    });
    format!("{}: {why}", name.as_deref().unwrap_or(device))
}

async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut queue: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<Waiting>,
) {
    while let Some(message) = queue.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if sink.feed(message).await.is_err() {
                return;
            }
            waiting.frames.fetch_sub(1, Ordering::Relaxed);
            next = queue.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
        waiting.fewer.notify_one();
    }
    let _ = sink.close().await;
}

async fn fewer(waiting: Option<Arc<Waiting>>) {
    match waiting {
        Some(waiting) => waiting.fewer.notified().await,
        None => std::future::pending().await,
    }
}

async fn opening(connecting: &mut Option<Connecting>) -> Result<Upgraded, TransportError> {
    match connecting {
        Some(connecting) => connecting.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn reading(reader: &mut Option<SplitStream<Socket>>) -> Option<Result<Message, String>> {
    match reader {
        Some(reader) => reader
            .next()
            .await
            .map(|frame| frame.map_err(|e| e.to_string())),
        None => std::future::pending().await,
    }
}

async fn listed(lanes: &mut Option<oneshot::Receiver<Vec<u32>>>) -> Vec<u32> {
    match lanes {
        Some(lanes) => lanes.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
