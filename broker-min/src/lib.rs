//! A small claudemesh broker: it routes ciphertext, keeps it for those who are away, and can do
//! nothing else. It holds no private key, no channel key and no plaintext.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use broker_min::Broker;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:7900").await?;
//! let broker = Broker::builder()
//!     .data_dir("/var/lib/claudemesh")
//!     .public_url("wss://broker.example/ws".parse()?)
//!     .serve(listener)
//!     .await?;
//! println!("listening on {}", broker.url());
//! broker.shutdown(std::time::Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Parts
//! The [`router`] decides everything and does no I/O; a [`store`] keeps what must survive; the
//! rest is a shell around them: one task per socket, one for the router, one thread that writes
//! and two that read. Each bound is one of [`limits::Limits`].
//!
//! # Features
//! `testing`: an in-process mesh for the tests of applications.

pub mod audit;
mod broker;
pub mod cli;
mod clock;
mod config;
mod create;
mod files;
pub mod hello;
mod http;
mod import;
pub mod limits;
mod message_id;
mod metrics;
pub mod operator;
mod proxied;
pub mod router;
mod rules;
pub mod settings;
mod socket;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod writer;

pub use broker::{Broker, BrokerBuilder, BrokerError, BrokerHandle};
pub use clock::Clock;
pub use create::{CreatePolicy, TokenError, TokenRow, Tokens};
pub use proxied::{Cidr, CidrError};
pub use rules::{MeshRule, MeshState, Rules, RulesError, RulesFile};
pub use store::Durability;
pub use tls::{TlsError, TlsFiles};
