//! A peer in 15 lines: joins by a link, and answers each message with an echo.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use claudemesh_core::{Config, Peer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link = std::env::args().nth(1).ok_or("usage: peer LINK")?;
    let mut config = Config::load_default()?;
    let mesh = config.join(&link, "echo").await?;
    let peer = Peer::connect(&mesh).await?;
    let mut incoming = peer.incoming().await?;
    while let Some(message) = incoming.next().await {
        let echo = format!("you said: {}", message.text());
        message.reply(echo).await?;
    }
    Ok(())
}
