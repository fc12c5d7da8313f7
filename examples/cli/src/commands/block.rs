//! `claudemesh block`: takes no message of a peer any more.

use super::may::change;
use crate::cli::Capability;
use crate::context::Context;
use crate::exit::{Code, Failure};

pub(super) async fn run(context: &Context, peer: &str) -> Result<Code, Failure> {
    change(context, peer, &[Capability::All], false).await
}
