//! The pure middle of the broker: what comes in, what goes out, nothing else.
//!
//! A router owns the meshes of one shard: their rosters, the connections of their peers, presence,
//! windows and rate limits. It does no I/O and reads no clock; a seeded simulation can drive it.
//! What must be durable before it is told is not put out before the commit came back.

mod types;

pub use types::{
    ConnId, HttpCall, HttpReply, In, JoinCall, Kind, LinkInfo, Now, Out, RouterConfig, Verified,
};

/// The machine: [`Router::handle`] an input, then take outputs with [`Router::next`] until there
/// is none.
#[derive(Debug)]
pub struct Router {
    _config: RouterConfig,
}

impl Router {
    /// A router that knows no mesh yet; meshes are loaded when someone asks for them. `seed` is
    /// 32 random bytes, from which member and presence ids are made.
    pub fn new(config: RouterConfig, _seed: [u8; 32]) -> Self {
        Self { _config: config }
    }

    /// Takes one input.
    pub fn handle(&mut self, _now: Now, _input: In) {}

    /// The next output, if there is one.
    pub fn next(&mut self) -> Option<Out> {
        None
    }

    /// When [`In::Tick`] is due, in ms of [`Now::mono`].
    pub fn deadline(&self) -> Option<u64> {
        None
    }
}
