//! `claudemesh revoke`: allows a peer's messages no more.

use super::may::change;
use crate::cli::Grant;
use crate::context::Context;
use crate::exit::{Code, Failure};

pub(super) async fn run(context: &Context, args: Grant) -> Result<Code, Failure> {
    change(context, &args.peer, &args.what, false).await
}
