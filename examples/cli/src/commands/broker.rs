//! `claudemesh broker`: runs the small broker in this process.

use claudemesh_core::config::Config;

use crate::cli::broker_data;
use crate::exit::{Code, Failure};

pub(super) async fn run(mut args: broker_min::cli::Args) -> Result<Code, Failure> {
    args.data = broker_data(&args.data, || {
        let config = Config::load_default().ok()?;
        config.dir().map(std::path::Path::to_owned)
    });
    match broker_min::cli::run(args).await {
        Ok(()) => Ok(Code::Ok),
        Err(error) => Err(Failure::new(Code::Io, error.to_string())),
    }
}
