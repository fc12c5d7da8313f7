//! One WebSocket: hello, decoding, writing, liveness. One task each.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use claudemesh_core::wire::errors::{self, code};
use claudemesh_core::wire::{BrokerFrame, ClientFrame, CloseCode, ErrorFrame, decode_send, reason};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::broker::Shared;
use crate::broker::door::Entry;
use crate::broker::shell::{Handle, Input, REPORT_BYTES, Waiting};
use crate::hello::{self, HelloError};
use crate::router::In;

/// Frames before the hello that are answered; then the socket is closed.
const EARLY_FRAMES: u32 = 8;
/// Frames that could not be read and are answered; then the socket is closed.
const BAD_FRAMES: u32 = 32;
/// For how long a closed socket may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// Frames that are handed to the socket before it is flushed.
const WRITES: usize = 256;

/// What a socket is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Write a text.
    Write(Bytes),
    /// Close after what was written before.
    Close(CloseCode, String),
    /// Read, or do not.
    Reading(bool),
}

impl Command {
    /// The broker is stopping.
    pub(crate) fn going_away() -> Self {
        Self::Close(CloseCode::GOING_AWAY, reason::SHUTTING_DOWN.to_owned())
    }
}

/// What a socket needs from its upgrade.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) challenge: [u8; 32],
    pub(crate) hosts: Vec<String>,
}

/// How a socket ends.
enum End {
    /// The connection is gone.
    Gone,
    /// It is closed with a code and a reason.
    Close(CloseCode, String),
}

impl End {
    fn policy(reason: &str) -> Self {
        Self::Close(CloseCode::POLICY, reason.to_owned())
    }
}

/// Runs a socket until it is closed.
pub(crate) async fn run(socket: WebSocket, context: Context) {
    let (commands, queue) = mpsc::unbounded_channel();
    context.entry.upgraded(commands.clone());
    let waiting = Arc::new(Waiting::default());
    let limits = &context.shared.limits;
    let now = Instant::now();
    let mut socket = Socket {
        hello_by: now + Duration::from_millis(limits.hello_ms),
        next_ping: now + Duration::from_millis(limits.ping_ms),
        alive: now,
        handle: Handle {
            commands,
            waiting,
            entry: context.entry.clone(),
        },
        ws: socket,
        context,
        queue,
        reading: true,
        open: false,
        early: 0,
        bad: 0,
        written: 0,
    };
    let end = socket.live().await;
    if socket.open {
        let conn = socket.context.entry.id;
        let _ = socket.tell(In::Closed { conn }).await;
        tracing::debug!(conn, "closed");
    }
    Box::pin(socket.goodbye(end)).await;
}

struct Socket {
    ws: WebSocket,
    context: Context,
    handle: Handle,
    queue: mpsc::UnboundedReceiver<Command>,
    hello_by: Instant,
    next_ping: Instant,
    /// When something was last heard.
    alive: Instant,
    reading: bool,
    /// Whether the router knows this connection.
    open: bool,
    early: u32,
    bad: u32,
    /// Bytes written since the router was told.
    written: usize,
}

impl Socket {
    async fn live(&mut self) -> End {
        loop {
            let timer = if self.open {
                self.next_ping
            } else {
                self.hello_by
            };
            let step = tokio::select! {
                biased;
                () = self.context.entry.is_cut() => Err(End::Gone),
                command = self.queue.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => Err(End::Gone),
                },
                message = self.ws.next(), if self.reading => self.message(message).await,
                () = sleep_until(timer) => Box::pin(self.timer()).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Carries out a command and those that wait behind it, in one write.
    async fn command(&mut self, first: Command) -> Result<(), End> {
        let mut next = Some(first);
        let mut end = Ok(());
        let mut left = WRITES;
        while let Some(command) = next {
            match command {
                Command::Write(text) => self.feed(text).await?,
                Command::Close(code, reason) => {
                    end = Err(End::Close(code, reason));
                    break;
                }
                Command::Reading(on) => {
                    self.reading = on;
                    // What came meanwhile was not read; silence is judged from here on.
                    self.alive = Instant::now();
                }
            }
            left -= 1;
            next = if left > 0 {
                self.queue.try_recv().ok()
            } else {
                None
            };
        }
        self.ws.flush().await.map_err(|_| End::Gone)?;
        self.report().await?;
        end
    }

    async fn feed(&mut self, text: Bytes) -> Result<(), End> {
        let size = text.len();
        let text = Utf8Bytes::try_from(text).map_err(|_| End::Gone)?;
        self.ws
            .feed(Message::Text(text))
            .await
            .map_err(|_| End::Gone)?;
        self.handle.waiting.bytes.fetch_sub(size, Ordering::AcqRel);
        self.written += size;
        if self.written >= REPORT_BYTES {
            self.report().await?;
        }
        Ok(())
    }

    /// Tells the router that bytes were written, if it thinks that some wait.
    async fn report(&mut self) -> Result<(), End> {
        let waiting = &self.handle.waiting;
        let bytes = waiting.bytes.load(Ordering::Acquire);
        let news = self.written >= REPORT_BYTES || bytes == 0;
        if !news || !waiting.reported.load(Ordering::Acquire) {
            return Ok(());
        }
        self.written = 0;
        if bytes == 0 {
            waiting.reported.store(false, Ordering::Release);
        }
        let conn = self.context.entry.id;
        self.tell(In::Waiting { conn, bytes }).await
    }

    async fn message(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match message {
            Some(Ok(message)) => message,
            // axum hides the kind of the error, and this one has a close code of its own.
            Some(Err(error)) if error.to_string().contains("Message too long") => {
                self.context.shared.metrics.rejected("too_large");
                let reason = format!("a frame has at most {} bytes", self.limit());
                return Err(End::Close(CloseCode::TOO_BIG, reason));
            }
            Some(Err(_)) | None => return Err(End::Gone),
        };
        self.alive = Instant::now();
        match message {
            Message::Text(text) => self.text(text.as_str()).await,
            Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.text(text).await,
                Err(_) => self.bad_frame("the frame is not UTF-8").await,
            },
            Message::Pong(_) if self.open => {
                let conn = self.context.entry.id;
                self.tell(In::Pong { conn }).await
            }
            // The library answers pings and closes; its answers go out with the next flush.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {
                self.ws.flush().await.map_err(|_| End::Gone)
            }
        }
    }

    async fn text(&mut self, text: &str) -> Result<(), End> {
        self.context.shared.metrics.read(text.len());
        let frame = match decode_send(text) {
            Some(send) => send.map(|send| ClientFrame::Send(send.into_owned())),
            None => ClientFrame::decode(text),
        };
        match frame {
            Err(error) => Box::pin(self.bad_frame(&error.to_string())).await,
            Ok(frame @ (ClientFrame::Hello(_) | ClientFrame::SessionHello(_))) => {
                // Boxed: every idle connection would keep the room for it.
                Box::pin(self.hello(text, &frame)).await
            }
            Ok(frame) if self.open => {
                self.tell(In::Frame {
                    conn: self.context.entry.id,
                    frame: Box::new(frame),
                    size: text.len(),
                })
                .await
            }
            Ok(_) => {
                self.early += 1;
                self.error(code::NO_HELLO, errors::NO_HELLO).await?;
                if self.early >= EARLY_FRAMES {
                    return Err(End::policy(code::NO_HELLO));
                }
                Ok(())
            }
        }
    }

    async fn hello(&mut self, text: &str, frame: &ClientFrame) -> Result<(), End> {
        if self.open {
            let message = "this connection has said hello before; open another one";
            return self.error(code::INVALID, message).await;
        }
        let shared = self.context.shared.clone();
        let now = shared.clock.now().wall;
        let challenge = Some(&self.context.challenge);
        let verified = hello::verify(text, frame, challenge, &self.context.hosts, now);
        let verified = match verified {
            Ok(verified) => verified,
            Err(HelloError { code, message }) => {
                shared.metrics.refused(code);
                tracing::debug!(conn = self.context.entry.id, code, "hello refused");
                self.error(code, &message).await?;
                return Err(End::policy(code));
            }
        };
        shared.door.settled(&self.context.entry);
        let conn = self.context.entry.id;
        let (member, proven) = (verified.member.short(), verified.proven);
        tracing::debug!(conn, member, proven, "hello");
        let open = Input::Open(conn, self.handle.clone());
        shared.inputs.send(open).await.map_err(|_| End::Gone)?;
        self.open = true;
        self.next_ping = Instant::now() + Duration::from_millis(shared.limits.ping_ms);
        let verified = Box::new(verified);
        self.tell(In::Hello { conn, verified }).await
    }

    async fn bad_frame(&mut self, why: &str) -> Result<(), End> {
        self.bad += 1;
        self.context.shared.metrics.rejected("malformed");
        self.error(code::MALFORMED, why).await?;
        let most = if self.open { BAD_FRAMES } else { EARLY_FRAMES };
        if self.bad >= most {
            return Err(End::policy(code::MALFORMED));
        }
        Ok(())
    }

    async fn timer(&mut self) -> Result<(), End> {
        let limits = &self.context.shared.limits;
        if !self.open {
            let message = format!("no hello within {} ms; connect again", limits.hello_ms);
            self.error("hello_timeout", &message).await?;
            return Err(End::policy("hello_timeout"));
        }
        let now = Instant::now();
        self.next_ping = now + Duration::from_millis(limits.ping_ms);
        let silent = now.duration_since(self.alive);
        if self.reading && silent > Duration::from_millis(limits.stale_ms) {
            self.context.entry.cut();
            return Err(End::Gone);
        }
        let ping = self.ws.send(Message::Ping(Bytes::new()));
        ping.await.map_err(|_| End::Gone)
    }

    async fn error(&mut self, code: &str, message: &str) -> Result<(), End> {
        let text = BrokerFrame::Error(ErrorFrame::new(code, message)).encode();
        let sent = self.ws.send(Message::Text(text.into()));
        sent.await.map_err(|_| End::Gone)
    }

    async fn tell(&mut self, input: In) -> Result<(), End> {
        let sent = self.context.shared.inputs.send(Input::Router(input));
        sent.await.map_err(|_| End::Gone)
    }

    fn limit(&self) -> usize {
        self.context.shared.limits.frame_bytes
    }

    /// Says why, then waits a little for the other side to have read it: closing at once with
    /// bytes unread would take the close frame back.
    async fn goodbye(mut self, end: End) {
        let End::Close(code, reason) = end else {
            return;
        };
        self.context.entry.cut_after(GOODBYE + GOODBYE);
        let frame = CloseFrame {
            code: code.0,
            reason: cut_to(&reason, 123).into(),
        };
        let close = async {
            if self.ws.send(Message::Close(Some(frame))).await.is_err() {
                return;
            }
            while let Some(message) = self.ws.next().await {
                if message.is_err() {
                    // The rest of a frame that was too long cannot be read past.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    return;
                }
            }
        };
        let _ = timeout(GOODBYE, close).await;
    }
}

/// The first bytes of a text, at a character's end.
fn cut_to(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
