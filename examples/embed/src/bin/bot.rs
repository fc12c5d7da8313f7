//! A bot that answers commands, keeps its place over restarts, and says what happens.
//!
//! `bot LINK` joins (once) and listens. It answers `ping`, `time` and `who`, and tells others what
//! it understands. A message is taken only after its answer is in the outbox, so a crash in
//! between loses nothing; what was shown before the crash comes again, marked.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::time::{SystemTime, UNIX_EPOCH};

use claudemesh_core::{Config, Event, Peer, Received};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let link = std::env::args().nth(1).ok_or("usage: bot LINK")?;
    let mesh = Config::load_default()?.join(&link, "bot").await?;
    // A session name keeps the reading position under it, whichever process runs the bot.
    let bot = Peer::builder(&mesh).session("bot").connect().await?;
    println!("I am {} in {}", bot.key(), mesh.slug);
    tokio::spawn(report(bot.clone()));

    let mut incoming = bot.incoming().await?;
    loop {
        tokio::select! {
            message = incoming.next() => match message {
                Some(message) => answer(&bot, &message).await?,
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => {
                bot.close(std::time::Duration::from_secs(5)).await;
                return Ok(());
            }
        }
    }
}

async fn answer(bot: &Peer, message: &Received) -> Result<(), Box<dyn std::error::Error>> {
    // Whoever is not on the mesh's roster gets no answer.
    if !message.from.verified {
        return Ok(());
    }
    let text = match message.text().trim() {
        "ping" => "pong".to_owned(),
        "time" => SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .as_secs()
            .to_string(),
        "who" => {
            let names = bot.members();
            names
                .iter()
                .map(|m| m.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        }
        _ => "I understand: ping, time, who".to_owned(),
    };
    message.reply(text).await?;
    message.taken().await?;
    Ok(())
}

async fn report(bot: Peer) {
    let mut events = bot.events();
    while let Some(event) = events.next().await {
        match event {
            Event::Connected => println!("connected"),
            Event::Reconnecting { reason, .. } => println!("trying again: {reason}"),
            Event::MemberJoined { name, .. } => println!("{name} joined"),
            Event::LiedTo(lie) => println!("the broker cannot be trusted: {lie}"),
            _ => {}
        }
    }
}
