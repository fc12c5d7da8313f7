//! Connections that keep all they get until it is asked for.

use std::collections::VecDeque;
use std::time::Duration;

use broker_min::testing::TestMesh;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// What a connection got.
#[derive(Debug)]
pub(crate) enum Got {
    Frame(Value),
    Closed(u16, String),
}

impl Got {
    pub(crate) fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Frame(frame) if frame["type"] == kind)
    }
}

pub(crate) struct Line {
    out: SplitSink<WebSocketStream<TcpStream>, Message>,
    from: mpsc::UnboundedReceiver<Got>,
    kept: VecDeque<Got>,
    closed: bool,
}

impl Line {
    pub(crate) async fn open(mesh: &TestMesh) -> Self {
        let stream = TcpStream::connect(mesh.addr()).await.unwrap();
        let url = format!("ws://{}/ws", mesh.addr());
        let (ws, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let (out, mut incoming) = ws.split();
        let (tell, from) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                let got = match message {
                    Message::Text(text) => Got::Frame(serde_json::from_str(&text).unwrap()),
                    Message::Close(Some(frame)) => {
                        Got::Closed(frame.code.into(), frame.reason.to_string())
                    }
                    _ => continue,
                };
                if tell.send(got).is_err() {
                    return;
                }
            }
        });
        Self {
            out,
            from,
            kept: VecDeque::new(),
            closed: false,
        }
    }

    /// Says something; a connection that is closed says nothing.
    pub(crate) async fn send(&mut self, text: &str) {
        let _ = self.out.send(Message::text(text)).await;
    }

    pub(crate) async fn close(&mut self) {
        self.closed = true;
        let _ = self.out.send(Message::Close(None)).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The first that fits, of what came and of what comes in this time.
    pub(crate) async fn take(
        &mut self,
        time: Duration,
        fits: impl Fn(&Got) -> bool,
    ) -> Option<Got> {
        let end = Instant::now() + time;
        let mut seen = 0;
        loop {
            while let Some(got) = self.kept.get(seen) {
                if fits(got) {
                    return self.kept.remove(seen);
                }
                seen += 1;
            }
            let got = timeout_at(end, self.from.recv()).await.ok()??;
            self.kept.push_back(got);
        }
    }

    /// All that came and was not taken.
    pub(crate) fn rest(&mut self) -> Vec<Got> {
        while let Ok(got) = self.from.try_recv() {
            self.kept.push_back(got);
        }
        let closed = self.closed;
        let rest = self.kept.drain(..);
        rest.filter(|got| !(closed && matches!(got, Got::Closed(..))))
            .collect()
    }
}
