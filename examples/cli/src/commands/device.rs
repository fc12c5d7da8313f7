//! `claudemesh device`: further devices of the same person.

use claudemesh_core::peer::Peer;

use super::invite::{MadeLink, hand_over};
use super::members::as_json;
use super::remove::take_out;
use crate::cli::DeviceCommand;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, table};

/// For how long a device's link is good: the longest that the log allows.
const GOOD_FOR: std::time::Duration = std::time::Duration::from_secs(600);

pub(super) async fn run(context: &Context, command: DeviceCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match &command {
        DeviceCommand::Add { name, qr } => add(context, &peer, name, *qr).await,
        DeviceCommand::List => list(context, &peer).await,
        DeviceCommand::Remove { device, yes } => remove(context, &peer, device, *yes).await,
    };
    finish(&peer).await;
    result
}

async fn add(context: &Context, peer: &Peer, name: &str, qr: bool) -> Result<Code, Failure> {
    let invite = peer.link_device(GOOD_FOR).await?;
    hand_over(
        context,
        peer,
        &invite,
        &MadeLink {
            uses: 1,
            role: "device",
            qr,
        },
    )?;
    context.out.note(&format!(
        "Good once, until {}. On the other device: claudemesh join 'LINK' --name {}\nWhoever has \
         the link becomes a device of yours: hand it to nobody else.",
        human_time(invite.expires_at),
        clean_line(name)
    ));
    Ok(Code::Ok)
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let fresh = peer.sync().await;
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    let devices = peer.devices();
    let answer: Vec<_> = devices.iter().map(as_json).collect();
    context.out.answer(&answer, || {
        let rows = devices.iter().map(|device| {
            vec![
                clean_line(&device.shown),
                device.key.short(),
                human_time(device.since),
            ]
        });
        table(&["DEVICE", "KEY", "SINCE"], rows.collect())
    })?;
    Ok(if fresh.is_ok() {
        Code::Ok
    } else {
        Code::Network
    })
}

async fn remove(context: &Context, peer: &Peer, wanted: &str, yes: bool) -> Result<Code, Failure> {
    peer.sync().await?;
    let devices = peer.devices();
    let named = |device: &&claudemesh_core::peer::MemberInfo| {
        device.name.as_str() == wanted || device.shown == wanted
    };
    let found: Vec<_> = devices.iter().filter(named).collect();
    let key = match found.as_slice() {
        [one] => one.key.to_hex(),
        _ => wanted.to_owned(),
    };
    let is_own = |device: &claudemesh_core::peer::MemberInfo| {
        wanted.len() >= 4 && device.key.to_hex().starts_with(&key)
    };
    if found.is_empty() && !devices.iter().any(is_own) {
        let message =
            format!("you have no device called {wanted:?}; `claudemesh device list` shows them");
        return Err(Failure::new(Code::NotFound, message));
    }
    take_out(context, peer, &key, yes).await
}
