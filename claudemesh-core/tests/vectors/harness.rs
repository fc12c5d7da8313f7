//! Loading a vector file, running its cases, and collecting what failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::unhex_array;
use serde_json::Value;

/// Runs the cases of one section.
pub(crate) type Check = fn(&Vectors, &Value, &mut Section<'_>);

/// What our code makes of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Refused; with the code of the refusal, where it has one that travels.
    Rejected(Option<&'static str>),
}

/// A refusal without a code.
pub(crate) const REJECTED: Verdict = Verdict::Rejected(None);

/// A verdict, or why a fact of the case is wrong or cannot be decided.
pub(crate) type Outcome = Result<Verdict, String>;

/// A vector file.
pub(crate) struct Vectors(serde_json::Map<String, Value>);

impl Vectors {
    /// Reads the file that `CLAUDEMESH_VECTORS` names, or ours.
    pub(crate) fn load() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = match std::env::var_os("CLAUDEMESH_VECTORS") {
            None => package.join("testdata/vectors/interop.json"),
            Some(named) => {
                // Tests run in the package's directory; a name may be relative to the workspace.
                let named = PathBuf::from(named);
                let workspace = package.join("..").join(&named);
                if named.exists() { named } else { workspace }
            }
        };
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        match serde_json::from_str(&text) {
            Ok(Value::Object(sections)) => Self(sections),
            Ok(_) => panic!("{}: not a JSON object", path.display()),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }

    /// The names of all sections in the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How many cases a section has that is not run: its list of cases, and what else is expected
    /// to have a result.
    pub(crate) fn count(&self, section: &str) -> usize {
        match self.0.get(section) {
            Some(Value::Array(cases)) => cases.len(),
            Some(Value::Object(frames)) if section == "frames" => frames.len(),
            Some(Value::Object(fields)) => fields
                .values()
                .map(|field| match field {
                    Value::Array(cases) => cases.iter().filter(|case| case.is_object()).count(),
                    other => usize::from(other.get("expect").is_some()),
                })
                .sum(),
            _ => 0,
        }
    }

    fn keys(&self) -> &[Value] {
        self.0
            .get("keys")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The key pair that the section `keys` has under a name.
    pub(crate) fn pair(&self, name: &str) -> Option<KeyPair> {
        self.find_pair("name", name)
    }

    /// The key pair that the section `keys` has for a public key.
    pub(crate) fn pair_of(&self, public_hex: &str) -> Option<KeyPair> {
        self.find_pair("ed25519_public_hex", public_hex)
    }

    fn find_pair(&self, field: &str, value: &str) -> Option<KeyPair> {
        let key = self
            .keys()
            .iter()
            .find(|key| text(key, field) == Some(value))?;
        if let Some(seed) = text(key, "seed_hex") {
            return Some(KeyPair::from_seed(&unhex_array(seed).ok()?));
        }
        KeyPair::from_secret_hex(text(key, "ed25519_secret_hex")?).ok()
    }
}

/// A text field of a case.
pub(crate) fn text<'a>(case: &'a Value, field: &str) -> Option<&'a str> {
    case.get(field)?.as_str()
}

/// The list of cases of a section: its field `cases`.
pub(crate) fn cases(section: &Value) -> &[Value] {
    section
        .get("cases")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Holds a fact against what the vector says, if the vector says something about it.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: T,
    theirs: Option<T>,
) -> Result<(), String> {
    match theirs {
        Some(theirs) if theirs != ours => Err(format!("{what}: ours {ours:?}, not {theirs:?}")),
        _ => Ok(()),
    }
}

/// What ran and what failed.
#[derive(Default)]
pub(crate) struct Run {
    cases: usize,
    failures: Vec<String>,
}

impl Run {
    /// Runs a section, if the file has it.
    pub(crate) fn section(&mut self, vectors: &Vectors, name: &str, check: Check) {
        let Some(section) = vectors.0.get(name) else {
            return;
        };
        let before = self.cases;
        check(vectors, section, &mut Section { run: self, name });
        if self.cases == before && vectors.count(name) > 0 {
            self.fail(name, "", "has cases, but none was found to run");
        }
    }

    /// Notes a failure.
    pub(crate) fn fail(&mut self, section: &str, id: &str, why: &str) {
        self.failures.push(format!("{section}/{id}: {why}"));
    }

    /// How many cases ran.
    pub(crate) const fn cases(&self) -> usize {
        self.cases
    }

    /// Fails the test with everything that failed.
    pub(crate) fn assert_passed(&self) {
        assert!(
            self.failures.is_empty(),
            "{} failed:\n{}",
            self.failures.len(),
            self.failures.join("\n")
        );
    }
}

/// A section while it runs.
pub(crate) struct Section<'r> {
    run: &'r mut Run,
    name: &'r str,
}

impl Section<'_> {
    /// Runs a case that has `expect`, and `reason` where it is refused with a code.
    pub(crate) fn case(&mut self, case: &Value, check: impl FnOnce() -> Outcome) {
        self.expect(case, text(case, "expect"), check);
    }

    /// Runs a case that is accepted where it does not say otherwise.
    pub(crate) fn case_ok(&mut self, case: &Value, check: impl FnOnce() -> Outcome) {
        self.expect(case, text(case, "expect").or(Some("ok")), check);
    }

    fn expect(&mut self, case: &Value, expect: Option<&str>, check: impl FnOnce() -> Outcome) {
        let nth = self.run.cases.to_string();
        let id = ["id", "name"]
            .into_iter()
            .find_map(|field| text(case, field));
        self.decide(id.unwrap_or(&nth), || {
            let verdict = check()?;
            match (expect, &verdict) {
                (Some("ok"), Verdict::Accepted) => Ok(()),
                (Some("reject"), Verdict::Rejected(code)) => match (code, text(case, "reason")) {
                    (Some(code), Some(reason)) if *code != reason => {
                        Err(format!("refused with {code}, not {reason}"))
                    }
                    _ => Ok(()),
                },
                (Some("ok" | "reject"), _) => Err(format!("{verdict:?}")),
                (other, _) => Err(format!("undecided: expect is {other:?}")),
            }
        });
    }

    /// Runs a case of a section that has no `expect`.
    pub(crate) fn decide(&mut self, id: &str, check: impl FnOnce() -> Result<(), String>) {
        self.run.cases += 1;
        self.fact(id, check);
    }

    /// Checks something that the section says beside its cases.
    pub(crate) fn fact(&mut self, id: &str, check: impl FnOnce() -> Result<(), String>) {
        let outcome =
            catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("panicked".to_owned()));
        if let Err(why) = outcome {
            self.run.fail(self.name, id, &why);
        }
    }
}
