//! `claudemesh whoami`: who one is in a mesh.

use serde_json::json;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let members = peer.members_and_former();
    let own = members.iter().find(|member| member.key == peer.key());
    let role = own.filter(|member| !member.removed).map(|m| m.role);
    let verified = own.is_some_and(|member| member.verified);
    let removed = own.is_some_and(|member| member.removed);
    let session = peer.session();
    finish(&peer).await;
    let name = own
        .map(|member| member.shown.as_str())
        .or(mesh.display_name.as_deref())
        .unwrap_or_default();
    let path = context.config.path().unwrap_or_default();
    let answer = json!({
        "pubkey": mesh.pubkey(),
        "display_name": name,
        "mesh": mesh.slug,
        "mesh_id": mesh.mesh_id,
        "broker": mesh.broker_url,
        "config_path": path,
        "role": role,
        "verified": verified,
        "removed": removed,
        "session": session.as_ref().map(|session| json!({
            "id": session.id().as_str(),
            "name": session.name().as_str(),
            "pubkey": session.public(),
        })),
    });
    context.out.answer(&answer, || {
        let role = match role {
            Some(role) => role.to_string(),
            None if removed => "removed".to_owned(),
            None => "unverified member".to_owned(),
        };
        let session = session.as_ref().map(|session| {
            let name = clean_line(name);
            format!(
                "  session {name}/{} ({})\n",
                session.name(),
                session.public().short()
            )
        });
        let session = session.unwrap_or_default();
        format!(
            "{} in {}\n  role    {role}\n  key     {}\n{session}  broker  {}\n  config  {}\n",
            clean_line(name),
            clean_line(&mesh.slug),
            mesh.pubkey(),
            clean_line(&mesh.broker_url),
            path.display()
        )
    })?;
    Ok(Code::Ok)
}
