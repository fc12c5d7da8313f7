//! What can be shown without another language: cancelling, panics, ends of subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker_min::testing::TestMesh;

use crate::runtime::run;
use crate::{
    CancelToken, ConnectOptions, Message, MessageListener, NativeError, NativePeer,
    config_in_memory,
};

fn options() -> ConnectOptions {
    ConnectOptions {
        data_dir: None,
        in_memory: true,
        session: None,
        status: None,
        receive: true,
        presence: true,
    }
}

async fn app(mesh: &TestMesh) -> Arc<NativePeer> {
    let config = config_in_memory();
    let link = mesh.invite(Default::default()).await.unwrap();
    let joined = config.join(link, "ana".to_owned(), None).await.unwrap();
    let peer = config.connect(joined.slug, options()).await.unwrap();
    peer.connected(Duration::from_secs(10), None).await.unwrap();
    peer
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let result: Result<(), NativeError> = run(None, async { panic!("a bug") }).await;
    assert_eq!(result.unwrap_err().code(), "internal");
}

#[tokio::test]
async fn a_token_ends_a_call_and_dropping_ends_its_work() {
    let token = CancelToken::new();
    let never = run::<()>(Some(Arc::clone(&token)), std::future::pending());
    let cancel = async { token.cancel() };
    let (result, ()) = tokio::join!(never, cancel);
    assert_eq!(result.unwrap_err().code(), "cancelled");

    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let mut work = run::<()>(None, async move {
        let _inside = inside;
        std::future::pending().await
    });
    let begun = std::future::poll_fn(|context| {
        std::task::Poll::Ready(work.as_mut().poll(context).is_pending())
    });
    assert!(begun.await);
    drop(work);
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_not_named_is_shown_again() {
    let mesh = TestMesh::start().await.unwrap();
    let peer = app(&mesh).await;
    let owner = mesh.peer("owner").await.unwrap();
    for text in ["one", "two"] {
        owner
            .send("ana", text)
            .await
            .unwrap()
            .accepted()
            .await
            .unwrap();
    }
    let messages = peer.messages().await.unwrap();
    let first = messages.next(0, None).await.unwrap().unwrap();
    // As after a call that was cancelled while its answer was on the way.
    assert_eq!(messages.next(0, None).await.unwrap().unwrap(), first);
    let second = messages.next(first.place, None).await.unwrap().unwrap();
    assert_eq!(
        (first.message.text, second.message.text),
        ("one".into(), "two".into())
    );
    messages.stop();
    assert_eq!(messages.next(second.place, None).await.unwrap(), None);
    let other = peer.messages().await.unwrap();
    let again = other.next(0, None).await.unwrap().unwrap();
    assert_eq!(
        (again.message.text.as_str(), again.message.again),
        ("two", true)
    );
    peer.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(other.next(again.place, None).await.unwrap(), None);
}

#[derive(Default)]
struct Failing(AtomicUsize, AtomicUsize);

impl MessageListener for Failing {
    fn on_message(&self, _: Message) -> Result<(), NativeError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(NativeError::new(
            "callback_failed",
            "the app's callback failed",
        ))
    }

    fn on_end(&self, code: Option<String>) -> Result<(), NativeError> {
        assert_eq!(code.as_deref(), Some("callback_failed"));
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_callback_that_fails_ends_its_subscription_and_loses_nothing() {
    let mesh = TestMesh::start().await.unwrap();
    let peer = app(&mesh).await;
    let listener = Arc::new(Failing::default());
    let held = Arc::clone(&listener);
    let subscription = peer.listen_for_messages(held).await.unwrap();
    let owner = mesh.peer("owner").await.unwrap();
    owner
        .send("ana", "hello")
        .await
        .unwrap()
        .accepted()
        .await
        .unwrap();
    subscription.ended(None).await.unwrap();
    assert_eq!(listener.0.load(Ordering::SeqCst), 1);
    assert_eq!(listener.1.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&listener), 1);
    let messages = peer.messages().await.unwrap();
    let shown = messages.next(0, None).await.unwrap().unwrap().message;
    assert_eq!((shown.text.as_str(), shown.again), ("hello", true));
}
