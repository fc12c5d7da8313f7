//! `claudemesh mcp`: an MCP server on stdin and stdout; for an agent, the mesh is a few tools.

mod call;
mod link;
mod mood;
mod push;
mod server;
mod tools;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt as _;

use crate::cli::{Global, Mcp};
use crate::exit::{Code, Failure};
use crate::output::Output;
use crate::signals::interrupted;

use link::Link;
use server::Server;
use wire::{Handover, Wire};

/// How long what the tools accepted may take to reach the broker once the client has gone. What
/// has not by then stays in the outbox, on disk.
const PARTING: Duration = Duration::from_secs(5);

/// What the server says of itself, for `claudemesh doctor`, too.
pub(super) const NAME: &str = "claudemesh";

pub(super) async fn run(global: Global, out: &Output, args: Mcp) -> Result<Code, Failure> {
    let handover = Arc::new(Handover::default());
    let channel = args.channel;
    let link = Arc::new(Link::new(global, *out, &args));
    // Neither the greeting nor the list of tools waits for any of this.
    let early = Arc::clone(&link);
    tokio::spawn(async move { drop(early.joined().await) });
    let server = Server::new(Arc::clone(&link), Arc::clone(&handover), args);
    let wire = Wire::stdio(handover, channel);
    let result = tokio::select! {
        result = serve(server, wire) => result,
        () = interrupted() => Ok(Code::Ok),
    };
    link.close(PARTING).await;
    result
}

async fn serve(server: Server, wire: Wire) -> Result<Code, Failure> {
    let running = match server.serve(wire).await {
        Ok(running) => running,
        // The client went before it said anything: nothing is wrong here.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(Code::Ok),
        Err(error) => {
            let message = format!("the client does not speak MCP: {error}");
            return Err(Failure::new(Code::Failed, clipped(&message)));
        }
    };
    match running.waiting().await {
        Ok(_) => Ok(Code::Ok),
        Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
    }
}

/// What a client sent may be long.
fn clipped(text: &str) -> String {
    text.chars().take(300).collect()
}
