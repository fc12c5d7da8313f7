//! Fields of other programs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields that this library has no name for. They are read and written back as they are, so that
/// no program loses what another one keeps.
#[derive(Clone, Default, PartialEq)]
pub struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// The value of a field; none if it is not there or is not of this type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }

    /// Sets a field. False if the value has no form in JSON: then nothing has changed. A name that
    /// the format has a meaning for is not written.
    pub fn set(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> bool {
        let value = serde_json::to_value(value);
        value.is_ok_and(|value| {
            self.0.insert(name.to_owned(), value);
            true
        })
    }

    /// Takes a field out; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be keys.
        f.debug_set().entries(self.names()).finish()
    }
}
