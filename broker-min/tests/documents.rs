//! The documents an operator goes by, against the program: the settings, the HTTP routes, the
//! metrics that dashboard and alarms name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

use std::collections::BTreeSet;

use broker_min::testing::{HttpAnswer, TestMesh, http};
use broker_min::{cli::Args, settings};
use clap::CommandFactory as _;
use serde_json::Value;

fn document(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_table_of_settings_is_that_of_the_program() {
    let operations = document("docs/operations.md");
    let mut wanted = String::new();
    for setting in settings::all(&Args::command()) {
        let default = match setting.default.as_str() {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let help = setting.help.replace('\n', " ").replace('|', "\\|");
        let row = format!(
            "| `{}` | `{}` | {default} | {help} |\n",
            setting.name, setting.variable
        );
        wanted.push_str(&row);
    }
    let table: String = operations
        .lines()
        .filter(|line| line.contains("`CLAUDEMESH_BROKER_"))
        .filter(|line| line.starts_with("| `"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(table == wanted, "the table should be:\n{wanted}");
}

#[test]
fn the_first_settings_that_are_installed_can_be_read() {
    use clap::Parser as _;
    let file = format!("{}/../deploy/broker.toml", env!("CARGO_MANIFEST_DIR"));
    let given = ["--config", &file, "--data", "d"].map(Into::into).to_vec();
    let all = settings::expand(&Args::command(), given, |_| None).unwrap();
    let args = Args::try_parse_from(std::iter::once("broker-min".into()).chain(all)).unwrap();
    assert!(args.tls().is_some());
}

/// Whatever sets a variable of the broker sets one that there is, to what it takes.
#[test]
fn the_images_and_the_service_set_variables_that_are_there() {
    let known: BTreeSet<String> = settings::all(&Args::command())
        .into_iter()
        .map(|setting| setting.variable)
        .collect();
    for file in [
        "Dockerfile",
        "compose.yaml",
        "compose.postgres.yaml",
        "deploy/claudemesh-broker.service",
    ] {
        let text = document(file);
        let mut named = 0;
        for rest in text.split(settings::PREFIX).skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            let variable = format!("{}{name}", settings::PREFIX);
            assert!(known.contains(&variable), "{file}: {variable}");
            named += 1;
        }
        assert!(named > 0, "{file}");
    }
    let compose = document("compose.postgres.yaml");
    let url = compose.split("${CLAUDEMESH_STORE:-").nth(1).unwrap();
    let url: broker_min::store::PostgresUrl = url.split('}').next().unwrap().parse().unwrap();
    assert!(!url.is_remote());
}

#[test]
fn each_limit_stands_in_its_table() {
    let limits = document("docs/limits.md");
    let command = Args::command();
    let flags = command
        .get_arguments()
        .filter(|argument| argument.get_help_heading() == Some("Limits"));
    for flag in flags {
        let row = format!("| `--{}` |", flag.get_long().unwrap());
        assert!(limits.contains(&row), "{row}");
    }
}

fn schema<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => api.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn fits(api: &Value, operation: &Value, answer: &HttpAnswer, of: &str) {
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{of} answered {}", answer.status);
    let kind = answer.header("content-type").unwrap();
    let content = response["content"].as_object().unwrap();
    let (_, media) = content
        .iter()
        .find(|(name, _)| kind.starts_with(name.as_str()))
        .unwrap_or_else(|| panic!("{of} answered {kind}"));
    if !kind.starts_with("application/json") {
        return;
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let schema = schema(api, &media["schema"]);
    for name in schema["required"].as_array().unwrap() {
        assert!(
            !body[name.as_str().unwrap()].is_null(),
            "{of}: {name} in {body}"
        );
    }
}

/// The path with something in place of each of its parameters.
fn filled(path: &str, mesh: &TestMesh) -> String {
    let path = path.replace("{id}", mesh.id().as_str());
    let parts = path.split('/').map(|part| match part.starts_with('{') {
        true => "x",
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_routes_are_those_that_are_described() {
    let api: Value = serde_json::from_str(&document("docs/openapi.json")).unwrap();
    assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
    let source = include_str!("../src/http.rs");
    let routes: BTreeSet<&str> = source
        .split(".route(")
        .skip(1)
        .map(|rest| rest.split('"').nth(1).unwrap())
        .collect();
    let paths = api["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(routes, described);

    let mesh = TestMesh::start().await.unwrap();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let at = filled(path, &mesh);
            let method = method.to_uppercase();
            for body in ["", "{}", "{\"log_entry\":{}}"] {
                let answer = http(mesh.addr(), &method, &at, &[], body).await.unwrap();
                fits(&api, operation, &answer, &format!("{method} {path}"));
            }
        }
        // What is not described is not there.
        let other = if operations.get("post").is_none() {
            "POST"
        } else {
            "PUT"
        };
        let at = filled(path, &mesh);
        if path != "/ws" {
            let answer = http(mesh.addr(), other, &at, &[], "{}").await.unwrap();
            assert_eq!(answer.status, 404, "{other} {path}");
        }
    }
}

#[tokio::test]
async fn dashboard_and_alarms_name_metrics_that_are_there() {
    let mesh = TestMesh::start().await.unwrap();
    let metrics = http(mesh.addr(), "GET", "/metrics", &[], "").await.unwrap();
    let described: BTreeSet<String> = metrics
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    // A family of counters is shown once something was counted.
    let registered: BTreeSet<&str> = include_str!("../src/metrics.rs")
        .split('"')
        .filter(|text| text.starts_with("broker_"))
        .collect();
    for file in ["deploy/grafana-dashboard.json", "deploy/alerts.yml"] {
        let text = document(file);
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let named = text
            .split(|c: char| !is_name(c))
            .filter(|word| word.starts_with("broker_"));
        let mut count = 0;
        for name in named {
            count += 1;
            let base = name.trim_end_matches("_total").trim_end_matches("_bucket");
            let known = described.contains(base) || registered.contains(base);
            assert!(known, "{file}: {name}");
        }
        assert!(count > 5, "{file}");
    }
    let dashboard: Value =
        serde_json::from_str(&document("deploy/grafana-dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn each_alarm_has_its_section() {
    let operations = document("docs/operations.md");
    let alarms = document("deploy/alerts.yml");
    let names = alarms
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        assert!(operations.contains(&format!("### {name}\n")), "{name}");
    }
}
