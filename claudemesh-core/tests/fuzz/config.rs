//! The configuration file: what is read is written, and is read as the same.

use claudemesh_core::Config;

pub fn run(data: &[u8]) {
    let Ok(config) = Config::from_bytes(data) else {
        return;
    };
    let written = config.to_bytes().expect("what was read can be written");
    let again = Config::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again.meshes().len(), config.meshes().len());
    let twice = again.to_bytes().expect("it can be written again");
    assert_eq!(&*twice, &*written);
}
