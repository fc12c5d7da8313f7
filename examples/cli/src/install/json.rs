//! Changes in JSON that people write by hand: comments, order and spaces stay.

use std::path::Path;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::Value;

use super::SERVER;
use super::edit::{Edit, read};
use super::place::is_ours;
use crate::exit::{Code, Failure};

const SERVERS: &str = "mcpServers";
const HOOKS: &str = "hooks";
const STATUS_LINE: &str = "statusLine";

/// A file with a JSON object, as `change` makes it. An object in which nothing is left is no file.
pub(super) fn edit(
    path: &Path,
    change: impl FnOnce(&CstObject) -> Result<(), Failure>,
) -> Result<Edit, Failure> {
    let before = read(path)?;
    let text = before.as_deref().unwrap_or_default();
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    let in_file = |why: String| {
        let message = format!(
            "{}: {why}. Nothing was changed; put that right first",
            path.display()
        );
        Failure::new(Code::Io, message)
    };
    let root = CstRootNode::parse(text, &ParseOptions::default());
    let root = root.map_err(|error| in_file(error.to_string()))?;
    let object = root
        .object_value()
        .ok_or_else(|| in_file("it holds no JSON object".to_owned()))?;
    let was = root.to_serde_value();
    change(&object).map_err(|failure| in_file(failure.to_string()))?;
    let is = root.to_serde_value();
    let after = if was == is {
        before.clone()
    } else if is_empty(is.as_ref()) {
        None
    } else {
        let mut after = root.to_string();
        if !after.ends_with('\n') && before.is_none() {
            after.push('\n');
        }
        Some(after)
    };
    Ok(Edit::new(path.to_owned(), before, after))
}

/// Nothing, or only the version of its form.
fn is_empty(value: Option<&Value>) -> bool {
    let object = value.and_then(Value::as_object);
    object.is_some_and(|object| object.keys().all(|key| key == "version"))
}

/// Sets the server; what else stands in its entry stays.
pub(super) fn put_server(root: &CstObject, server: &Value) -> Result<(), Failure> {
    let servers = object(root, SERVERS)?;
    let (Some(entry), Some(fields)) = (servers.object_value(SERVER), server.as_object()) else {
        put(&servers, SERVER, server);
        return Ok(());
    };
    for (name, value) in fields {
        put(&entry, name, value);
    }
    Ok(())
}

pub(super) fn remove_server(root: &CstObject) -> Result<(), Failure> {
    if let Some(servers) = root.object_value(SERVERS) {
        if let Some(entry) = servers.get(SERVER) {
            entry.remove();
        }
        drop_if_empty(root, SERVERS);
    }
    Ok(())
}

/// Sets the hooks in the form of Claude Code: events with groups with hooks.
pub(super) fn put_hooks(root: &CstObject, wanted: &[(&str, Value)]) -> Result<(), Failure> {
    let hooks = object(root, HOOKS)?;
    for (event, hook) in wanted {
        let groups = array(&hooks, event)?;
        if !update(handlers(&groups), hook) {
            groups.append(input(&serde_json::json!({ "hooks": [hook] })));
        }
    }
    Ok(())
}

/// Sets the hooks in the form of Cursor: events with hooks.
pub(super) fn put_flat_hooks(root: &CstObject, wanted: &[(&str, Value)]) -> Result<(), Failure> {
    if root.get("version").is_none() {
        put(root, "version", &serde_json::json!(1));
    }
    let hooks = object(root, HOOKS)?;
    for (event, hook) in wanted {
        let handlers = array(&hooks, event)?;
        let ours = objects(&handlers).into_iter().filter(is_our_hook);
        if !update(ours.collect(), hook) {
            handlers.append(input(hook));
        }
    }
    Ok(())
}

/// Takes our hooks out, in either form, and what is empty then.
pub(super) fn remove_hooks(root: &CstObject) -> Result<(), Failure> {
    let Some(hooks) = root.object_value(HOOKS) else {
        return Ok(());
    };
    for event in hooks.properties() {
        let (Some(groups), Some(name)) = (event.array_value(), event.decoded_name()) else {
            continue;
        };
        for group in objects(&groups) {
            if is_our_hook(&group) {
                group.remove();
                continue;
            }
            let Some(inner) = group.array_value(HOOKS) else {
                continue;
            };
            let ours: Vec<CstObject> = objects(&inner).into_iter().filter(is_our_hook).collect();
            if ours.is_empty() {
                continue;
            }
            for hook in ours {
                hook.remove();
            }
            if inner.elements().is_empty() {
                group.remove();
            }
        }
        if groups.elements().is_empty() {
            drop_if_empty(&hooks, &name);
        }
    }
    drop_if_empty(root, HOOKS);
    Ok(())
}

/// Sets the status line, unless there is one of somebody else's.
pub(super) fn put_status_line(root: &CstObject, line: &Value) -> Result<(), Failure> {
    match root.get(STATUS_LINE) {
        Some(_) if !has_our_status_line(root) => Err(Failure::new(
            Code::Exists,
            "there is a status line already; let it call `claudemesh status-line`, or take it out",
        )),
        _ => {
            put(root, STATUS_LINE, line);
            Ok(())
        }
    }
}

pub(super) fn remove_status_line(root: &CstObject) {
    if has_our_status_line(root)
        && let Some(line) = root.get(STATUS_LINE)
    {
        line.remove();
    }
}

fn has_our_status_line(root: &CstObject) -> bool {
    root.object_value(STATUS_LINE)
        .is_some_and(|line| is_our_hook(&line))
}

/// Makes the first of our hooks what it is to be and removes the others; false if there is none.
fn update(ours: Vec<CstObject>, wanted: &Value) -> bool {
    let mut ours = ours.into_iter();
    let (Some(first), Some(fields)) = (ours.next(), wanted.as_object()) else {
        return false;
    };
    for (name, value) in fields {
        put(&first, name, value);
    }
    for more in ours {
        more.remove();
    }
    true
}

/// Our hooks in the groups of an event.
fn handlers(groups: &CstArray) -> Vec<CstObject> {
    let groups = objects(groups).into_iter();
    let inner = groups.filter_map(|group| group.array_value(HOOKS));
    let hooks = inner.flat_map(|hooks| objects(&hooks));
    hooks.filter(is_our_hook).collect()
}

fn is_our_hook(hook: &CstObject) -> bool {
    let command = hook
        .get("command")
        .and_then(|command| command.to_serde_value());
    let command = command.as_ref().and_then(|property| match property {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    });
    command.is_some_and(is_ours)
}

fn objects(array: &CstArray) -> Vec<CstObject> {
    let elements = array.elements().into_iter();
    elements.filter_map(|element| element.as_object()).collect()
}

fn object(of: &CstObject, name: &str) -> Result<CstObject, Failure> {
    let found = of.object_value_or_create(name);
    found.ok_or_else(|| Failure::new(Code::Io, format!("{name:?} is no object")))
}

fn array(of: &CstObject, name: &str) -> Result<CstArray, Failure> {
    let found = of.array_value_or_create(name);
    found.ok_or_else(|| Failure::new(Code::Io, format!("{name:?} is no list")))
}

/// Sets a property, if it is not so already.
fn put(of: &CstObject, name: &str, value: &Value) {
    match of.get(name) {
        Some(property) => {
            let now = property.value().and_then(|node| node.to_serde_value());
            if now.as_ref() != Some(value) {
                property.set_value(input(value));
            }
        }
        None => drop(of.append(name, input(value))),
    }
}

fn drop_if_empty(of: &CstObject, name: &str) {
    let Some(property) = of.get(name) else { return };
    let is_empty = match property.value() {
        Some(CstNode::Container(_)) => {
            let children = property.to_serde_value();
            children.is_some_and(|value| match value {
                Value::Object(fields) => fields.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            })
        }
        _ => false,
    };
    if is_empty {
        property.remove();
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(is) => CstInputValue::Bool(*is),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), input(value)));
            CstInputValue::Object(fields.collect())
        }
    }
}
