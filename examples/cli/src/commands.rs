//! The commands, one file each.

mod admit;
mod apikey;
mod arrive;
mod audit;
mod backup;
mod ban;
mod bans;
mod block;
mod broker;
mod channel;
mod channel_list;
mod completions;
mod create;
mod delete;
mod device;
mod doctor;
mod forget;
mod grant;
mod grants;
mod group;
mod history;
mod hook;
mod inbox;
mod info;
mod install;
mod invite;
mod join;
mod kept;
mod kick;
mod known;
mod launch;
mod leave;
mod list;
mod listen;
mod may;
mod mcp;
mod members;
mod message;
mod msg_status;
mod outbox;
mod owner;
mod passphrase;
mod peers;
mod policy;
mod profile;
mod read_ahead;
mod recall;
mod remember;
mod remind;
mod remove;
mod restore;
mod revoke;
mod role;
mod schedule;
mod send;
mod serve;
mod set_url;
mod state;
mod state_watch;
mod status;
mod status_line;
mod summary;
mod task;
mod topic;
mod topic_read;
mod trust;
mod unban;
mod upgrade;
mod verify;
mod wait;
mod whoami;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::output::Output;

/// Runs the command that was given.
pub(crate) async fn run(cli: Cli, out: &Output) -> Result<Code, Failure> {
    // None of these reads this machine's meshes first.
    let command = match cli.command {
        Command::Demo(args) => return crate::demo::run(args, out).await,
        Command::Broker(args) => return broker::run(*args).await,
        Command::Restore(args) => return restore::run(args, out).await,
        Command::Completions(args) => return completions::run(&args, out),
        // It reads the configuration later, and answers without one.
        Command::Mcp(args) => return mcp::run(cli.global, out, args).await,
        command => command,
    };
    let mut context = Context::load(&cli.global, out)?;
    let context = &mut context;
    match command {
        Command::Create(args) => create::run(context, args).await,
        Command::Invite(args) => invite::run(context, args).await,
        Command::Join(args) => join::run(context, args).await,
        Command::List => list::run(context),
        Command::SetUrl(args) => set_url::run(context, args).await,
        Command::Leave(args) => leave::run(context, args).await,
        Command::Delete(args) => delete::run(context, args).await,
        Command::Upgrade(args) => upgrade::run(context, args).await,
        Command::Info => info::run(context).await,
        Command::Peers => peers::run(context).await,
        Command::Members(args) => members::run(context, args).await,
        Command::Admit(args) => admit::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
        Command::Kick(args) => kick::run(context, &args.peer).await,
        Command::Ban(args) => ban::run(context, &args.peer).await,
        Command::Unban(args) => unban::run(context, &args.peer).await,
        Command::Bans => bans::run(context).await,
        Command::Apikey(args) => apikey::run(context, args.command).await,
        Command::Role(args) => role::run(context, args).await,
        Command::Device(args) => device::run(context, args.command).await,
        Command::Owner(args) => owner::run(context, args.command).await,
        Command::Topic(args) => topic::run(context, args.command).await,
        Command::Group(args) => group::run(context, args.command).await,
        Command::Trust(args) => trust::run(context, args).await,
        Command::Send(args) => send::run(context, args).await,
        Command::Inbox(args) => inbox::run(context, args).await,
        Command::Outbox(args) => outbox::run(context, args.command).await,
        Command::MsgStatus(args) => msg_status::run(context, args).await,
        Command::Listen(args) => listen::run(context, args).await,
        Command::Policy(args) => policy::run(context, args.command).await,
        Command::Requests(args) => policy::requests(context, args.command).await,
        Command::Block(args) => block::run(context, &args.peer).await,
        Command::Grant(args) => grant::run(context, args).await,
        Command::Revoke(args) => revoke::run(context, args).await,
        Command::Grants => grants::run(context).await,
        Command::State(args) => state::run(context, args.command).await,
        Command::Task(args) => task::run(context, args.command).await,
        Command::Remember(args) => remember::run(context, args).await,
        Command::Recall(args) => recall::run(context, args).await,
        Command::Forget(args) => forget::run(context, args).await,
        Command::Remind(args) => remind::run(context, args).await,
        Command::Schedule(args) => schedule::run(context, args.command).await,
        Command::Summary(args) => summary::run(context, args.command),
        Command::Profile(args) => profile::run(context, args).await,
        Command::Status(args) => status::run(context, args.command),
        Command::Whoami => whoami::run(context).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Audit(args) => audit::run(context, args).await,
        Command::Doctor => doctor::run(context).await,
        Command::Backup(args) => backup::run(context, args).await,
        Command::Install(args) => install::run(context, args),
        Command::Uninstall(args) => install::undo(context, args),
        Command::Launch(args) => launch::run(context, args),
        Command::Hook(args) => hook::run(context, args).await,
        Command::Wait(args) => wait::run(context, args).await,
        Command::Serve(args) => serve::run(context, args).await,
        Command::StatusLine => status_line::run(context).await,
        Command::Demo(_)
        | Command::Broker(_)
        | Command::Mcp(_)
        | Command::Restore(_)
        | Command::Completions(_) => Ok(Code::Ok),
    }
}
