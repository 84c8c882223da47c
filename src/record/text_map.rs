//! Texts by name, kept together: most maps of a report are read only to be written again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Texts by name, in the order of the names. In memory it is one text and its cuts, not an allocation for each.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TextMap {
    /// Each name and its value, one behind the other.
    texts: String,
    /// Where each of them ends.
    ends: Vec<u32>,
}

/// What few headers with their names come to: most maps never grow beyond it.
const USUAL_BYTES: usize = 128;

impl TextMap {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let (name, value) = (from..ends[0] as usize, ends[0] as usize..ends[1] as usize);
            from = value.end;
            (&self.texts[name], &self.texts[value])
        })
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// What all names and values take in bytes.
    pub fn bytes(&self) -> usize {
        self.texts.len()
    }

    /// Leaves out what this doesn't hold of.
    pub fn retain(&mut self, mut holds: impl FnMut(&str, &str) -> bool) {
        let kept: Vec<bool> = self.iter().map(|(name, value)| holds(name, value)).collect();
        if kept.contains(&false) {
            let kept = self.iter().zip(kept).filter(|(_, keep)| *keep).map(|((n, v), _)| (n.to_owned(), v.to_owned()));
            *self = kept.collect();
        }
    }

    fn push(&mut self, text: &str) -> Result<(), TooLong> {
        if self.texts.capacity() == 0 {
            self.texts.reserve(USUAL_BYTES);
        }
        self.texts.push_str(text);
        self.ends.push(u32::try_from(self.texts.len()).map_err(|_| TooLong)?);
        Ok(())
    }

    fn is_in_order(&self) -> bool {
        self.keys().zip(self.keys().skip(1)).all(|(one, next)| one < next)
    }
}

/// Such a map has 4 GiB; no record comes near it.
#[derive(Debug)]
struct TooLong;

impl FromIterator<(String, String)> for TextMap {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        let ordered: BTreeMap<String, String> = entries.into_iter().collect();
        let mut map = Self::default();
        for text in ordered.into_iter().flat_map(|(name, value)| [name, value]) {
            map.push(&text).expect("what fits into memory twice is shorter");
        }
        map
    }
}

impl Index<&str> for TextMap {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.get(name).expect("there is such a name")
    }
}

impl fmt::Debug for TextMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for TextMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Its length goes first where that is part of the form.
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(self.ends.len() / 2))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = TextMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<TextMap, A::Error> {
        let mut map = TextMap::default();
        while entries.next_key_seed(Push(&mut map))?.is_some() {
            entries.next_value_seed(Push(&mut map))?;
        }
        if !map.is_in_order() {
            // Others may write them in any order; the last of a name counts.
            map = map.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        }
        Ok(map)
    }
}

/// Reads a text to the end of a map's texts.
struct Push<'a>(&'a mut TextMap);

impl<'de> DeserializeSeed<'de> for Push<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Push<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push(text).map_err(|TooLong| E::custom("the texts of a map are longer than 4 GiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::TextMap;

    fn read(json: &str) -> Result<TextMap, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn it_reads_and_writes_what_a_map_does() {
        for json in ["{}", r#"{"a":"1"}"#, r#"{"":"","a":"","b":"ä\n"}"#] {
            let map = read(json).unwrap();
            assert_eq!(serde_json::to_string(&map).unwrap(), json);
            let bytes = postcard::to_stdvec(&map).unwrap();
            let ordered: std::collections::BTreeMap<String, String> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(postcard::to_stdvec(&ordered).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<TextMap>(&bytes).unwrap(), map);
        }
        assert!(read(r#"{"a":1}"#).unwrap_err().contains("a text"));
    }

    #[test]
    fn names_are_in_order_and_the_last_of_one_counts() {
        let map = read(r#"{"b":"2","a":"1","b":"3"}"#).unwrap();
        assert_eq!(map.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(map, [("b", "3"), ("a", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect());
        assert_eq!((map.get("b"), map.get("c"), &map["a"], map.bytes()), (Some("3"), None, "1", 4));
    }

    #[test]
    fn what_is_not_retained_leaves_the_others() {
        let mut map = read(r#"{"a":"1","b":"2","c":"3"}"#).unwrap();
        map.retain(|_, _| true);
        assert_eq!(map.keys().count(), 3);
        map.retain(|name, value| name != "b" && value != "4");
        assert_eq!(format!("{map:?}"), r#"{"a": "1", "c": "3"}"#);
        map.retain(|_, _| false);
        assert!(map.is_empty());
        assert_eq!(map, TextMap::default());
    }
}
