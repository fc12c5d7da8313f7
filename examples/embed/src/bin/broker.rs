//! A broker in 15 lines, inside a program of one's own.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use broker_min::Broker;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("usage: broker DIR [ADDRESS]")?;
    let address = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "127.0.0.1:7900".to_owned());
    let listener = TcpListener::bind(address).await?;
    let broker = Broker::builder().data_dir(dir).serve(listener).await?;
    println!("listening on {}", broker.url());
    tokio::signal::ctrl_c().await?;
    broker.shutdown(std::time::Duration::from_secs(5)).await?;
    Ok(())
}
