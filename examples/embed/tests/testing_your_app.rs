//! The example of docs/testing-your-app.md, as it stands there.

use broker_min::testing::TestMesh;

#[tokio::test]
async fn my_bot_answers_over_a_crash_of_the_broker() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let alice = mesh.peer("alice").await?;
    let bot = mesh.peer("bot").await?;
    alice.send("bot", "ping").await?.accepted().await?;
    mesh.kill_broker().await?; // as SIGKILL does, and starts it again
    let mut incoming = bot.incoming().await?;
    assert_eq!(incoming.next().await.ok_or("no message")?.text(), "ping");
    Ok(())
}

// The document shows this very file's code.
#[test]
fn the_document_shows_this_test() {
    let document = include_str!("../../../docs/testing-your-app.md");
    let shown = document
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let here = include_str!("testing_your_app.rs");
    let code = here
        .split_once("\n\n")
        .and_then(|(_, rest)| rest.split("\n// The doc").next());
    let plain = |text: &str| {
        text.split_whitespace()
            .collect::<String>()
            .replace(",)", ")")
    };
    assert_eq!(shown.map(plain), code.map(plain));
}
