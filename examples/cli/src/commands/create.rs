//! `claudemesh create`: a new mesh, owned by who runs this.

use claudemesh_core::broker_url::BrokerUrl;
use serde_json::json;

use crate::cli::Create;
use crate::context::Context;
use crate::exit::{Code, Failure};

/// Where the configuration may name the broker for new meshes.
const BROKER: &str = "brokerUrl";

pub(super) async fn run(context: &mut Context, args: Create) -> Result<Code, Failure> {
    let slug = &args.mesh_name;
    if context.config.mesh(slug).is_some() {
        let message = format!(
            "a mesh called {slug:?} is on this machine already; choose another name, or leave it \
             with `claudemesh leave --mesh {slug}`"
        );
        return Err(Failure::new(Code::Exists, message));
    }
    let broker = match args.broker {
        Some(broker) => broker,
        None => configured(context)?,
    };
    let name = context.display_name(args.name.as_deref());
    let created = context
        .config
        .create_with(slug, &broker, &name, args.token.as_ref())
        .await?;
    let (mesh, recovery_key) = (created.mesh, created.recovery_key.expose());
    let answer = json!({
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "broker": mesh.broker_url,
        "display_name": name,
        "pubkey": mesh.pubkey(),
        "recovery_key": &*recovery_key,
    });
    context.out.answer(&answer, || {
        format!(
            "Made the mesh {} at {}; you are its owner, as {name}.\n\n\
             Recovery key:\n  {}\n\
             It replaces your owner key, should that be lost. It is shown only now and kept \
             nowhere:\nwrite it down, and keep it away from this machine.\n\n\
             Next: `claudemesh invite` makes a link by which others join.\n",
            mesh.slug, mesh.broker_url, &*recovery_key
        )
    })?;
    Ok(Code::Ok)
}

fn configured(context: &Context) -> Result<BrokerUrl, Failure> {
    let configured: Option<String> = context.config.data().extra.get(BROKER);
    match configured {
        Some(text) => Ok(text.parse()?),
        None => Err(Failure::usage(
            "which broker? Say --broker URL, or set CLAUDEMESH_BROKER_URL. To run one of your own: \
             `claudemesh broker` in another terminal, then --broker ws://localhost:7900/ws",
        )),
    }
}
