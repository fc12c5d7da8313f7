//! The door: takes TCP connections in, counts them, and can cut any of them.
//!
//! Every accepted connection has an [`Entry`]. HTTP and WebSocket run on the same connections, so
//! a bound that holds here holds for both, also for one that never says anything.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::serve::Listener;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::proxied::{Cidr, counted, trusts};
use crate::router::ConnId;
use crate::socket::Command;
use crate::tls::{Stream, Tls};

/// Connections over the bound that are still told so; more are dropped without a word.
const TOLD: usize = 256;
const ALL_OF_ADDRESS: &str = "your address has all the connections it may have";
const TOO_MANY: &str = "too many connections of your address have not said hello yet";

/// One accepted connection.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ConnId,
    pub(crate) addr: SocketAddr,
    /// For whom it counts, once that is known: behind a proxy only its request tells.
    client: OnceLock<IpAddr>,
    opened: Instant,
    /// Why it is refused, for the HTTP layer to say.
    pub(crate) refused: Option<&'static str>,
    pending: AtomicBool,
    cut: AtomicBool,
    /// Milliseconds after `opened` at which it is cut; 0: never.
    cut_at: AtomicU64,
    waker: AtomicWaker,
    commands: OnceLock<mpsc::UnboundedSender<Command>>,
}

impl Entry {
    /// The address that this connection counts for.
    pub(crate) fn client(&self) -> IpAddr {
        *self.client.get().unwrap_or(&self.addr.ip())
    }

    /// Ends the connection without a close frame.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Returns when the connection is cut; only for the task that owns it.
    pub(crate) async fn is_cut(&self) {
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.cut.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ends the connection if it still stands after `time`.
    pub(crate) fn cut_after(&self, time: Duration) {
        let at = self.opened.elapsed() + time;
        let ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.cut_at.store(ms, Ordering::Release);
    }

    /// Tells the door that this is a WebSocket now, which looks after itself.
    pub(crate) fn upgraded(&self, commands: mpsc::UnboundedSender<Command>) {
        let _ = self.commands.set(commands);
    }

    fn due(&self, http_time: Duration) -> bool {
        let at = self.cut_at.load(Ordering::Acquire);
        let age = self.opened.elapsed();
        (at != 0 && age.as_millis() >= u128::from(at))
            || (self.commands.get().is_none() && age >= http_time)
    }
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<ConnId, Arc<Entry>>,
    pending: HashMap<IpAddr, usize>,
    /// All connections of an address.
    of: HashMap<IpAddr, usize>,
}

impl Table {
    fn count(&mut self, ip: IpAddr) {
        *self.pending.entry(ip).or_default() += 1;
        *self.of.entry(ip).or_default() += 1;
    }
}

/// Takes one from a count, which is forgotten at zero.
fn less(counts: &mut HashMap<IpAddr, usize>, ip: IpAddr) {
    if let Some(count) = counts.get_mut(&ip) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&ip);
        }
    }
}

/// All connections of a broker.
#[derive(Debug)]
pub(crate) struct Door {
    table: Mutex<Table>,
    next: AtomicU64,
    connections: usize,
    pending_per_address: usize,
    connections_per_address: usize,
    /// For how long an HTTP request may take from its connection on.
    http_time: Duration,
    /// Proxies, which are many clients each.
    trusted: Vec<Cidr>,
    emptied: Notify,
}

impl Door {
    pub(crate) fn new(limits: &Limits, trusted: Vec<Cidr>) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            next: AtomicU64::new(1),
            connections: limits.connections,
            pending_per_address: limits.pending_per_address,
            connections_per_address: limits.connections_per_address,
            http_time: Duration::from_millis(limits.http_ms),
            trusted,
            emptied: Notify::new(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A poisoned table is still a table: each change of it is one statement.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in, or says that not even a refusal is possible.
    fn enter(&self, addr: SocketAddr) -> Option<Arc<Entry>> {
        let mut table = self.table();
        let total = table.entries.len();
        let client = (!trusts(&self.trusted, addr.ip())).then(|| counted(addr.ip()));
        let count = |counts: &HashMap<IpAddr, usize>| {
            let count = client.and_then(|ip| counts.get(&ip));
            count.copied().unwrap_or_default()
        };
        let (pending, of) = (count(&table.pending), count(&table.of));
        let refused = if total >= self.connections {
            Some("this broker has all the connections it may have")
        } else if pending >= self.pending_per_address {
            Some(TOO_MANY)
        } else if of >= self.connections_per_address {
            Some(ALL_OF_ADDRESS)
        } else {
            None
        };
        if total >= self.connections + TOLD
            || pending >= self.pending_per_address + TOLD
            || of >= self.connections_per_address.saturating_add(TOLD)
        {
            return None;
        }
        let entry = Arc::new(Entry {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            addr,
            client: client.map(OnceLock::from).unwrap_or_default(),
            opened: Instant::now(),
            refused,
            pending: AtomicBool::new(client.is_some()),
            cut: AtomicBool::new(false),
            cut_at: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            commands: OnceLock::new(),
        });
        if let Some(ip) = client {
            table.count(ip);
        }
        table.entries.insert(entry.id, entry.clone());
        Some(entry)
    }

    /// Whether this address speaks for others.
    pub(crate) fn trusted(&self) -> &[Cidr] {
        &self.trusted
    }

    /// A trusted proxy said whose connection it is: from now on it counts for that address. Says
    /// why it is refused, if it is.
    pub(crate) fn attribute(&self, entry: &Entry, client: IpAddr) -> Option<&'static str> {
        let client = counted(client);
        if entry.client.set(client).is_err() {
            return None;
        }
        let mut table = self.table();
        let pending = table.pending.get(&client).copied().unwrap_or_default();
        let of = table.of.get(&client).copied().unwrap_or_default();
        table.count(client);
        entry.pending.store(true, Ordering::Release);
        if pending >= self.pending_per_address {
            Some(TOO_MANY)
        } else {
            (of >= self.connections_per_address).then_some(ALL_OF_ADDRESS)
        }
    }

    /// The connection said a proper hello: it counts no longer against its address.
    pub(crate) fn settled(&self, entry: &Entry) {
        unpend(&mut self.table(), entry);
    }

    fn leave(&self, entry: &Entry) {
        let mut table = self.table();
        unpend(&mut table, entry);
        if let Some(ip) = entry.client.get() {
            less(&mut table.of, *ip);
        }
        table.entries.remove(&entry.id);
        if table.entries.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        self.table().entries.values().cloned().collect()
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.table().entries.len()
    }

    /// Ends every connection at once, without close frames.
    pub(crate) fn cut_all(&self) {
        for entry in self.all() {
            entry.cut();
        }
    }

    /// Says the same to every WebSocket; connections that are none are cut.
    pub(crate) fn tell_all(&self, command: impl Fn() -> Command) {
        for entry in self.all() {
            match entry.commands.get() {
                Some(commands) => drop(commands.send(command())),
                None => entry.cut_after(Duration::from_millis(500)),
            }
        }
    }

    /// Returns when there is no connection.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Cuts what has overstayed, for as long as the broker runs.
    pub(crate) async fn sweep(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            for entry in self
                .all()
                .into_iter()
                .filter(|entry| entry.due(self.http_time))
            {
                entry.cut();
            }
        }
    }
}

fn unpend(table: &mut Table, entry: &Entry) {
    if !entry.pending.swap(false, Ordering::AcqRel) {
        return;
    }
    less(&mut table.pending, entry.client());
}

/// Where connections come from.
pub(crate) enum Source {
    Tcp(TcpListener),
    /// A simulated network.
    #[cfg(feature = "testing")]
    Given(mpsc::Receiver<(Box<dyn claudemesh_core::ByteStream>, SocketAddr)>),
}

impl Source {
    async fn accept(&mut self, tls: Option<&Tls>) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(tcp) => {
                let (stream, addr) = TcpListener::accept(tcp).await?;
                // Frames are small and written whole; waiting for more only adds delay.
                let _ = stream.set_nodelay(true);
                Ok((Stream::new(stream, tls), addr))
            }
            #[cfg(feature = "testing")]
            Self::Given(arrivals) => match arrivals.recv().await {
                Some((stream, addr)) => Ok((Stream::Given(stream), addr)),
                // Nobody comes any more.
                None => std::future::pending().await,
            },
        }
    }
}

/// A listener that lets connections in through a [`Door`].
pub(crate) struct DoorListener {
    pub(crate) source: Source,
    pub(crate) door: Arc<Door>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) metrics: Metrics,
}

impl Listener for DoorListener {
    type Io = Io;
    type Addr = Arc<Entry>;

    async fn accept(&mut self) -> (Io, Arc<Entry>) {
        loop {
            match self.source.accept(self.tls.as_deref()).await {
                Ok((stream, addr)) => {
                    let Some(entry) = self.door.enter(addr) else {
                        self.metrics.refused("connections");
                        continue;
                    };
                    let io = Io {
                        stream,
                        entry: entry.clone(),
                        door: self.door.clone(),
                    };
                    return (io, entry);
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before it was taken.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Arc<Entry>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// A connection that ends when its entry is cut.
pub(crate) struct Io {
    stream: Stream,
    entry: Arc<Entry>,
    door: Arc<Door>,
}

impl Io {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        self.entry.waker.register(cx.waker());
        if self.entry.cut.load(Ordering::Acquire) {
            return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
        }
        Ok(())
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.door.leave(&self.entry);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
