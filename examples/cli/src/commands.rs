//! The commands, one file each.

mod broker;
mod create;
mod doctor;
mod inbox;
mod invite;
mod join;
mod leave;
mod list;
mod listen;
mod message;
mod outbox;
mod peers;
mod send;
mod status;
mod verify;
mod whoami;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::output::Output;

/// Runs the command that was given.
pub(crate) async fn run(cli: Cli, out: &Output) -> Result<Code, Failure> {
    // Neither of these two touches this machine's meshes.
    let command = match cli.command {
        Command::Demo(args) => return crate::demo::run(args, out).await,
        Command::Broker(args) => return broker::run(*args).await,
        command => command,
    };
    let mut context = Context::load(&cli.global, out)?;
    let context = &mut context;
    match command {
        Command::Create(args) => create::run(context, args).await,
        Command::Invite(args) => invite::run(context, args).await,
        Command::Join(args) => join::run(context, args).await,
        Command::List => list::run(context),
        Command::Leave(args) => leave::run(context, args).await,
        Command::Peers => peers::run(context).await,
        Command::Send(args) => send::run(context, args).await,
        Command::Inbox(args) => inbox::run(context, args).await,
        Command::Outbox(args) => outbox::run(context, args.command).await,
        Command::Listen(args) => listen::run(context, args).await,
        Command::Status(args) => status::run(context, args.command),
        Command::Whoami => whoami::run(context).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Doctor => doctor::run(context).await,
        Command::Demo(_) | Command::Broker(_) => Ok(Code::Ok),
    }
}
