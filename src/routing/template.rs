//! Templates: JSON with expressions as leaves, and JSON Pointers into them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use super::expression::{Evaluator, Expression, Leaf, Scope};
use super::node::{Kind, Node};
use super::read::Loader;

/// JSON whose leaves may be expressions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Template {
    /// Just this value.
    Value(Json),
    /// What the expression gives.
    Leaf(Expression),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Map(BTreeMap<String, Template>),
}

impl Template {
    /// Reads a template: every text that begins with `=` is an expression.
    pub(super) fn read(node: &Node, loader: &mut Loader<'_>) -> Self {
        match &node.kind {
            Kind::Text(text) => match text.strip_prefix('=') {
                Some(source) => {
                    loader.expression(node.at, source, Scope::Leaf).map_or(Self::Value(Json::Null), Self::Leaf)
                }
                None => Self::Value(node.to_json()),
            },
            Kind::List(items) => Self::List(items.iter().map(|item| Self::read(item, loader)).collect()),
            Kind::Map(entries) => {
                Self::Map(entries.iter().map(|e| (e.key.clone(), Self::read(&e.value, loader))).collect())
            }
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => Self::Value(node.to_json()),
        }
    }

    /// The JSON for a file. An omitted leaf drops its key or its place in the list; `None` if all of it is omitted.
    pub(crate) fn render(&self, evaluator: &Evaluator) -> Result<Option<Json>, String> {
        Ok(Some(match self {
            Self::Value(json) => json.clone(),
            Self::Leaf(expression) => match evaluator.leaf(expression)? {
                Leaf::Value(json) => json,
                Leaf::Omitted => return Ok(None),
            },
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.render(evaluator)?);
                }
                Json::Array(list)
            }
            Self::Map(fields) => {
                let mut map = Map::new();
                for (key, field) in fields {
                    if let Some(json) = field.render(evaluator)? {
                        map.insert(key.clone(), json);
                    }
                }
                Json::Object(map)
            }
        }))
    }

    /// Every expression of it.
    pub(super) fn expressions<'t>(&'t self, all: &mut Vec<&'t Expression>) {
        match self {
            Self::Value(_) => {}
            Self::Leaf(expression) => all.push(expression),
            Self::List(items) => items.iter().for_each(|item| item.expressions(all)),
            Self::Map(fields) => fields.values().for_each(|field| field.expressions(all)),
        }
    }

    /// Whether the rendered JSON can have a value at this place. False only where that is certain.
    pub(super) fn can_have(&self, tokens: &[String]) -> bool {
        let Some((first, rest)) = tokens.split_first() else { return true };
        match self {
            Self::Leaf(_) => true,
            Self::Map(fields) => fields.get(first).is_some_and(|field| field.can_have(rest)),
            Self::List(items) => {
                first.parse::<usize>().is_ok_and(|i| items.get(i).is_some_and(|item| item.can_have(rest)))
            }
            Self::Value(json) => tokens.iter().try_fold(json, |json, token| child(json, token)).is_some(),
        }
    }
}

fn child<'j>(json: &'j Json, token: &str) -> Option<&'j Json> {
    match json {
        Json::Object(fields) => fields.get(token),
        Json::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    }
}

/// A JSON Pointer (RFC 6901) to a place below the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pointer {
    tokens: Vec<String>,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

impl Pointer {
    /// Reads a pointer. The error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("`{text}` is no JSON Pointer: it begins with `/`"));
        };
        let tokens = path.split('/').map(unescape).collect::<Option<Vec<_>>>();
        tokens
            .map(|tokens| Self { tokens })
            .ok_or_else(|| format!("`{text}` is no JSON Pointer: `~` stands only in `~0` and `~1`"))
    }

    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Takes away what is at this place, if anything is.
    pub(crate) fn remove(&self, root: &mut Json) {
        let Some((last, parent)) = self.parent(root) else { return };
        match parent {
            Json::Object(fields) => {
                fields.remove(last);
            }
            Json::Array(items) => {
                if let Some(index) = last.parse::<usize>().ok().filter(|i| *i < items.len()) {
                    items.remove(index);
                }
            }
            _ => {}
        }
    }

    /// Puts a value at this place: a key of an object, an item of a list, or after its last one (`-`).
    pub(crate) fn set(&self, root: &mut Json, value: Json) -> Result<(), String> {
        let nowhere = || format!("`set {self}`: there is nothing to put it in");
        let (last, parent) = self.parent(root).ok_or_else(nowhere)?;
        match parent {
            Json::Object(fields) => {
                fields.insert(last.to_owned(), value);
            }
            Json::Array(items) if last == "-" => items.push(value),
            Json::Array(items) => {
                let place = last.parse::<usize>().ok().and_then(|i| items.get_mut(i)).ok_or_else(nowhere)?;
                *place = value;
            }
            _ => return Err(nowhere()),
        }
        Ok(())
    }

    fn parent<'s, 'j>(&'s self, root: &'j mut Json) -> Option<(&'s str, &'j mut Json)> {
        let (last, path) = self.tokens.split_last()?;
        let parent = path.iter().try_fold(root, |json, token| match json {
            Json::Object(fields) => fields.get_mut(token),
            Json::Array(items) => items.get_mut(token.parse::<usize>().ok()?),
            _ => None,
        })?;
        Some((last, parent))
    }
}

fn unescape(token: &str) -> Option<String> {
    let legal = token.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    legal.then(|| token.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        for (text, tokens) in
            [("/a/b", vec!["a", "b"]), ("/a~1b/~0", vec!["a/b", "~"]), ("/", vec![""]), ("/~01", vec!["~1"])]
        {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.tokens(), tokens);
            assert_eq!(pointer.to_string(), text);
        }
        for text in ["", "a", "/~", "/~2"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn set_and_remove_reach_into_objects_and_lists() {
        let mut json = json!({"a": {"b": [1, 2]}, "c": 3});
        Pointer::parse("/a/b/0").unwrap().set(&mut json, json!(9)).unwrap();
        Pointer::parse("/a/b/-").unwrap().set(&mut json, json!(8)).unwrap();
        Pointer::parse("/a/d").unwrap().set(&mut json, json!("x")).unwrap();
        Pointer::parse("/c").unwrap().remove(&mut json);
        Pointer::parse("/a/b/1").unwrap().remove(&mut json);
        Pointer::parse("/nowhere/at/all").unwrap().remove(&mut json);
        assert_eq!(json, json!({"a": {"b": [9, 8], "d": "x"}}));
        for nowhere in ["/x/y", "/a/b/7", "/a/d/e"] {
            assert!(Pointer::parse(nowhere).unwrap().set(&mut json, json!(1)).is_err(), "{nowhere}");
        }
    }
}
