//! Reads structs from JSON by code that is the same for all of them.
//!
//! serde_json makes the whole of its parser anew for every struct, and once more for a struct that
//! is written as a list. A peer reads some fifty structs and is part of apps that people download:
//! here the text is cut into fields and items first, by code that is there once, and what remains
//! for each struct is which field goes where. It costs a pass over the text for each level of
//! structs, of which there are three or four, and allocations for the names of the fields.
//!
//! It takes what serde_json takes, but no list where a struct is due. Values that may be anything
//! are left to serde_json, and with them its bound on nesting.

use std::fmt;
use std::vec::IntoIter;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;
use serde_json::{Error, Number};

/// Reads a value that is a struct, or a list or option of such.
///
/// # Errors
/// serde_json's; those about a wrong type do not say what was found.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    T::deserialize(Raw(serde_json::from_str(text)?))
}

/// A value of which only the bounds are known.
#[derive(Clone, Copy)]
struct Raw<'de>(&'de RawValue);

impl<'de> Raw<'de> {
    fn starts_with(self, first: char) -> bool {
        self.0.get().starts_with(first)
    }

    #[inline(never)]
    fn text(self, expected: &dyn Expected) -> Result<String, Error> {
        if self.starts_with('"') {
            serde_json::from_str(self.0.get())
        } else {
            Err(wrong(expected))
        }
    }

    #[inline(never)]
    fn whole(self, expected: &dyn Expected) -> Result<Whole, Error> {
        if !self.starts_with('-') && !self.0.get().starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong(expected));
        }
        let number: Number = serde_json::from_str(self.0.get())?;
        match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Ok(Whole::Positive(value)),
            (None, Some(value)) => Ok(Whole::Negative(value)),
            (None, None) => Err(wrong(expected)),
        }
    }

    #[inline(never)]
    fn items(self, expected: &dyn Expected) -> Result<Items<'de>, Error> {
        if !self.starts_with('[') {
            return Err(wrong(expected));
        }
        let items: Vec<&RawValue> = serde_json::from_str(self.0.get())?;
        Ok(Items(items.into_iter()))
    }

    #[inline(never)]
    fn fields(self, expected: &dyn Expected) -> Result<Fields<'de>, Error> {
        if !self.starts_with('{') {
            return Err(wrong(expected));
        }
        let Pairs(pairs) = serde_json::from_str(self.0.get())?;
        Ok(Fields {
            rest: pairs.into_iter(),
            value: None,
        })
    }
}

enum Whole {
    Positive(u64),
    Negative(i64),
}

#[inline(never)]
fn wrong(expected: &dyn Expected) -> Error {
    Error::invalid_type(Unexpected::Other("another value"), expected)
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.whole(&visitor)? {
                Whole::Positive(value) => visitor.visit_u64(value),
                Whole::Negative(value) => visitor.visit_i64(value),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Raw<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.get() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(wrong(&visitor)),
        }
    }

    whole_numbers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text(&visitor)?;
        visitor.visit_string(text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.get() == "null" {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut items = self.items(&visitor)?;
        let value = visitor.visit_seq(&mut items)?;
        match items.0.len() {
            0 => Ok(value),
            more => Err(Error::custom(format_args!("{more} items too many"))),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _items: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let fields = self.fields(&visitor)?;
        visitor.visit_map(fields)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name = self.text(&visitor)?;
        visitor.visit_enum(name.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// The items of a list.
struct Items<'de>(IntoIter<&'de RawValue>);

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|item| seed.deserialize(Raw(item)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The fields of an object, in their order, those that are there twice too.
struct Fields<'de> {
    rest: IntoIter<(String, &'de RawValue)>,
    value: Option<&'de RawValue>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(Raw(value)),
            None => Err(Error::custom("a value without a name")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The names and values of an object, by serde_json.
struct Pairs<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        d.deserialize_map(All)
    }
}

#[cfg(test)]
#[path = "read/tests.rs"]
mod tests;
