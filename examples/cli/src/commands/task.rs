//! `claudemesh task`: what is to be done, kept sealed in the state of the mesh. That only one gets a
//! task is by the version of its value.

use claudemesh_core::peer::Peer;
use claudemesh_core::time::iso;
use serde_json::{Map, Value, json};

use crate::cli::TaskCommand;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms, table};
use crate::input;

/// How the keys of tasks begin.
const PREFIX: &str = "task.";

/// A task, with the version under which it is kept.
struct Task {
    id: String,
    fields: Map<String, Value>,
    version: u64,
}

impl Task {
    fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or("")
    }

    fn json(&self) -> Value {
        let field = |name: &str| self.fields.get(name).cloned().unwrap_or(Value::Null);
        json!({
            "id": self.id,
            "title": field("title"),
            "status": field("status"),
            "for": field("for"),
            "claimed_by": field("claimed_by"),
            "created_by": field("created_by"),
            "result": field("result"),
            "created_at": field("created_at"),
        })
    }
}

pub(super) async fn run(context: &Context, command: TaskCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        TaskCommand::Create { title, assignee } => {
            create(context, &peer, &title, assignee.as_deref()).await
        }
        TaskCommand::List { open } => list(context, &peer, open).await,
        TaskCommand::Claim { id } => claim(context, &peer, &id).await,
        TaskCommand::Complete { id, result } => {
            complete(context, &peer, &id, result.as_deref()).await
        }
    };
    finish(&peer).await;
    result
}

async fn all(peer: &Peer) -> Result<Vec<Task>, Failure> {
    let kept = peer.list_state().await?;
    let tasks = kept.into_iter().filter_map(|kept| {
        let id = kept.name.strip_prefix(PREFIX)?.to_owned();
        // What is not sealed could be the broker's.
        let body = kept.body.ok().filter(|_| kept.protected)?;
        let Ok(Value::Object(fields)) = serde_json::from_str(&body) else {
            return None;
        };
        Some(Task {
            id,
            fields,
            version: kept.version,
        })
    });
    let mut tasks: Vec<Task> = tasks.collect();
    tasks.sort_by(|a, b| b.text("created_at").cmp(a.text("created_at")));
    Ok(tasks)
}

async fn one(peer: &Peer, wanted: &str) -> Result<Task, Failure> {
    let mut found = all(peer).await?;
    found.retain(|task| !wanted.is_empty() && task.id.starts_with(wanted));
    match found.len() {
        1 => found.pop().ok_or_else(|| nothing(wanted)),
        0 => Err(nothing(wanted)),
        many => {
            let message = format!("{many} tasks begin with {wanted:?}; write more of the id");
            Err(Failure::usage(message))
        }
    }
}

fn nothing(wanted: &str) -> Failure {
    let message = format!("there is no task {wanted:?}; `claudemesh task list` shows them");
    Failure::new(Code::NotFound, message)
}

/// Who one is, by the name that others see.
fn own_name(peer: &Peer) -> String {
    let members = peer.members_and_former();
    let own = members.iter().find(|member| member.key == peer.key());
    own.map_or_else(|| peer.key().short(), |member| member.shown.clone())
}

async fn keep(peer: &Peer, task: &Task) -> Result<(), Failure> {
    let body = serde_json::to_string(&task.fields)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let key = format!("{PREFIX}{}", task.id);
    peer.set_state(&key, body, Some(task.version)).await?;
    Ok(())
}

fn told(context: &Context, task: &Task, what: &str) -> Result<Code, Failure> {
    context.out.answer(&task.json(), || {
        let (id, title) = (clean_line(&task.id), clean_line(task.text("title")));
        format!("{what} {id}: {title}\n")
    })?;
    Ok(Code::Ok)
}

async fn create(
    context: &Context,
    peer: &Peer,
    title: &str,
    assignee: Option<&str>,
) -> Result<Code, Failure> {
    let title = input::text(title)?;
    if title.trim().is_empty() {
        return Err(Failure::usage("what is to be done? The task has no title"));
    }
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Code::Io, format!("no random bytes: {error}")))?;
    let fields = json!({
        "title": title,
        "status": "open",
        "for": assignee,
        "created_by": own_name(peer),
        "created_at": iso(now_ms()),
    });
    let Value::Object(fields) = fields else {
        return Err(Failure::new(Code::Internal, "a task is an object"));
    };
    let task = Task {
        id: claudemesh_core::encoding::hex(&random).to_string(),
        fields,
        version: 0,
    };
    keep(peer, &task).await?;
    told(context, &task, "Kept")
}

async fn list(context: &Context, peer: &Peer, open: bool) -> Result<Code, Failure> {
    let mut tasks = all(peer).await?;
    tasks.retain(|task| !open || task.text("status") == "open");
    let answer: Vec<Value> = tasks.iter().map(Task::json).collect();
    context.out.answer(&answer, || {
        let rows = tasks.iter().map(|task| {
            vec![
                clean_line(&task.id),
                clean_line(task.text("status")),
                clean_line(task.text("for")),
                clean_line(task.text("claimed_by")),
                clean_line(task.text("title")),
            ]
        });
        table(
            &["ID", "STATUS", "FOR", "CLAIMED BY", "WHAT"],
            rows.collect(),
        )
    })?;
    if tasks.is_empty() && !context.out.is_json() {
        context.out.note("Nothing is to be done.");
    }
    Ok(Code::Ok)
}

async fn claim(context: &Context, peer: &Peer, wanted: &str) -> Result<Code, Failure> {
    let mut task = one(peer, wanted).await?;
    if task.text("status") != "open" {
        let message = format!(
            "task {} is {} already, by {}",
            clean_line(&task.id),
            clean_line(task.text("status")),
            clean_line(task.text("claimed_by"))
        );
        return Err(Failure::new(Code::Exists, message));
    }
    task.fields.insert("status".into(), "claimed".into());
    task.fields
        .insert("claimed_by".into(), own_name(peer).into());
    keep(peer, &task).await?;
    told(context, &task, "Yours is")
}

async fn complete(
    context: &Context,
    peer: &Peer,
    wanted: &str,
    result: Option<&str>,
) -> Result<Code, Failure> {
    let result = result.map(input::text).transpose()?;
    let mut task = one(peer, wanted).await?;
    if task.text("status") == "done" {
        let message = format!("task {} is done already", clean_line(&task.id));
        return Err(Failure::new(Code::Exists, message));
    }
    let own = own_name(peer);
    let by = task.text("claimed_by");
    if !by.is_empty() && by != own {
        let message = format!(
            "task {} was claimed by {}",
            clean_line(&task.id),
            clean_line(by)
        );
        return Err(Failure::new(Code::Permission, message));
    }
    task.fields.insert("status".into(), "done".into());
    task.fields.insert("claimed_by".into(), own.into());
    task.fields.insert("result".into(), result.into());
    keep(peer, &task).await?;
    told(context, &task, "Done is")
}
