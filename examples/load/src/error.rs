//! Why a run could not be made.

use std::fmt::Display;

/// Why a run could not be made. What a run *finds* is in its answer, not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is no broker to run against.
    #[error(
        "there is no broker-min at {looked}; build it beside this program with `cargo build \
         --release -p broker-min -p claudemesh-load`, or name a running broker with --url"
    )]
    NoBroker {
        /// Where it was looked for.
        looked: String,
    },
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Somebody ended the run.
    #[error("interrupted")]
    Interrupted,
    /// A step of the run failed.
    #[error("{what}: {why}")]
    Step {
        /// What was tried.
        what: String,
        /// Why it failed.
        why: String,
    },
}

impl LoadError {
    /// A step that failed.
    pub(crate) fn step(what: impl Into<String>, why: impl Display) -> Self {
        let (what, why) = (what.into(), why.to_string());
        Self::Step { what, why }
    }
}

/// Names the step that an error belongs to.
pub(crate) trait During<T> {
    /// Turns the error into [`LoadError::Step`].
    fn during(self, what: &str) -> Result<T, LoadError>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, LoadError> {
        self.map_err(|error| LoadError::step(what, error))
    }
}
