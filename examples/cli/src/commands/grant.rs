//! `claudemesh grant`: allows a peer's messages again.

use super::may::change;
use crate::cli::Grant;
use crate::context::Context;
use crate::exit::{Code, Failure};

pub(super) async fn run(context: &Context, args: Grant) -> Result<Code, Failure> {
    change(context, &args.peer, &args.what, true).await
}
