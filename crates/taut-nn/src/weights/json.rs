//! The JSON of a header: what it may say, each name once, and nothing that grows beyond the text.

use super::Stored;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{
    cell::Cell,
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};
use taut::MAX_RANK;

/// The key that is no tensor.
pub(super) const METADATA: &str = "__metadata__";

/// What stands in a header, unchecked.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// In the order of their names.
    pub(super) tensors: BTreeMap<String, Given>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// What stands there of one tensor.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) stored: Stored,
    pub(super) shape: Vec<u64>,
    pub(super) offsets: [u64; 2],
}

/// Parses a header that begins at byte `start` of its file.
///
/// # Errors
///
/// What is wrong, with the tensor and the byte of the file.
pub(super) fn parse(text: &str, start: usize) -> Result<Parsed, String> {
    let current = Cell::new(None);
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = Top(&current).deserialize(&mut json).and_then(|parsed| json.end().map(|()| parsed));
    parsed.map_err(|error| {
        let whole = error.to_string();
        let what = whole.rsplit_once(" at line ").map_or(&*whole, |(what, _)| what);
        let at = start + position(text, error.line(), error.column());
        match current.take() {
            Some(name) => format!("tensor {name:?}: at byte {at}: {what}"),
            None => format!("at byte {at}: {what}"),
        }
    })
}

/// The byte of a line and column, both counted from 1.
fn position(text: &str, line: usize, column: usize) -> usize {
    let before = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    (before + column.saturating_sub(1)).min(text.len())
}

/// The object of the header. It leaves the name of the tensor that it is at, so that errors can say it.
struct Top<'c>(&'c Cell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Parsed;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Parsed, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let (mut parsed, mut has_metadata) = (Parsed::default(), false);
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(twice(METADATA));
                }
                parsed.metadata = map.next_value_seed(Metadata)?;
                continue;
            }
            self.0.set(Some(name.clone()));
            match parsed.tensors.entry(name) {
                Entry::Occupied(_) => return Err(A::Error::custom("the name stands twice")),
                Entry::Vacant(place) => place.insert(map.next_value_seed(Tensor)?),
            };
            self.0.set(None);
        }
        Ok(parsed)
    }
}

fn twice<E: Error>(key: &str) -> E {
    E::custom(format_args!("{key:?} stands twice"))
}

/// An object of texts.
struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut metadata = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match metadata.entry(key) {
                Entry::Occupied(place) => return Err(twice(place.key())),
                Entry::Vacant(place) => place.insert(map.next_value()?),
            };
        }
        Ok(metadata)
    }
}

/// The object of one tensor. Keys of which the format says nothing are passed over.
struct Tensor;

impl<'de> DeserializeSeed<'de> for Tensor {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Given, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tensor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let (mut stored, mut shape, mut offsets) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let again = match &*key {
                "dtype" => stored.replace(map.next_value_seed(Name)?).is_some(),
                "shape" => shape.replace(map.next_value_seed(Numbers::<{ MAX_RANK }>)?).is_some(),
                "data_offsets" => offsets.replace(map.next_value_seed(Numbers::<2>)?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if again {
                return Err(twice(&key));
            }
        }
        let offsets = offsets.ok_or_else(|| A::Error::missing_field("data_offsets"))?;
        let offsets = offsets.try_into().map_err(|_| A::Error::custom("data_offsets must be two numbers"))?;
        let stored = stored.ok_or_else(|| A::Error::missing_field("dtype"))?;
        let shape = shape.ok_or_else(|| A::Error::missing_field("shape"))?;
        Ok(Given { stored, shape, offsets })
    }
}

/// The name of a type.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Stored;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Stored, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Stored;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a dtype")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Stored, E> {
        Stored::named(name).ok_or_else(|| E::custom(format_args!("the dtype {name:?} is none of the format")))
    }
}

/// An array of at most `MOST` whole numbers from 0 up.
struct Numbers<const MOST: usize>;

impl<'de, const MOST: usize> DeserializeSeed<'de> for Numbers<MOST> {
    type Value = Vec<u64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<u64>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, const MOST: usize> Visitor<'de> for Numbers<MOST> {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MOST} whole numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<u64>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = array.next_element()? {
            if numbers.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} numbers")));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }
}
