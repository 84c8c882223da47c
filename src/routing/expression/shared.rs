//! Lists, maps and long texts that are copied by counting who holds them.
//!
//! CEL copies a value as a whole whenever it is put somewhere: into a list, a map, the variable of a comprehension. Every list and
//! every map that an expression meets is one of these, so that each such copy is a count and nothing else, and what
//! a value takes in memory is known before anything is made of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Adder, Comparer, Container, Indexer, Iterable, Sizer, Zeroer};
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelType, CelUInt, Kind, Type,
};
use cel::common::value::{Builtin, BuiltinRef, CowVal, StaticVal, Val};

use crate::routing::weight;

/// A text is shared from this length on, in bytes: a shorter one is as cheap to copy.
const LONG: usize = 128;

/// A value that is copied by counting who holds it.
pub(super) struct Shared<T>(Arc<Whole<T>>);

struct Whole<T> {
    value: T,
    weight: usize,
}

impl<T> Shared<T> {
    fn boxed(value: T, weight: usize) -> Box<dyn Val>
    where
        Self: Val + 'static,
    {
        Box::new(Self(Arc::new(Whole { value, weight })))
    }

    fn value(&self) -> &T {
        &self.0.value
    }

    /// What it takes in memory with all that is in it, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.0.weight
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

macro_rules! shared {
    ($value:ident, $variant:ident) => {
        impl StaticVal for Shared<$value<'static>> {}

        impl Val for Shared<$value<'static>> {
            fn get_type(&self) -> &Type {
                self.value().get_type()
            }

            fn cel_type() -> &'static Type {
                $value::cel_type()
            }

            fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
            where
                Self: 'v,
            {
                self.value().as_adder()
            }

            fn as_comparer(&self) -> Option<&dyn Comparer> {
                self.value().as_comparer()
            }

            fn as_container(&self) -> Option<&dyn Container> {
                self.value().as_container()
            }

            fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
            where
                Self: 'v,
            {
                self.value().as_indexer().map(|_| self as &(dyn Indexer + 'v))
            }

            fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
            where
                Self: 'v,
            {
                match self.value().as_indexer() {
                    Some(_) => Some(self),
                    None => None,
                }
            }

            fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
            where
                Self: 'v,
            {
                self.value().as_iterable()
            }

            fn as_sizer(&self) -> Option<&dyn Sizer> {
                self.value().as_sizer()
            }

            fn as_zeroer(&self) -> Option<&dyn Zeroer> {
                self.value().as_zeroer()
            }

            fn equals(&self, other: &dyn Val) -> bool {
                self.value().equals(other)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
            where
                Self: 'v,
            {
                Box::new(Self(Arc::clone(&self.0)))
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }

            fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
            where
                Self: 'v,
            {
                BuiltinRef::$variant(self.value())
            }

            fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
            where
                Self: 'v,
            {
                Some(Builtin::$variant(self.value().clone()))
            }
        }

        impl Indexer for Shared<$value<'static>> {
            fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
            where
                Self: 'v,
            {
                // CEL's own error about it would carry a copy of the whole list.
                let is_fraction = index.downcast_ref::<CelDouble>().is_some_and(|double| double.inner().fract() != 0.0);
                match self.value().as_indexer() {
                    Some(indexer) if !(is_fraction && self.get_type().kind() == Kind::List) => indexer.get(index),
                    _ => Err(ExecutionError::UnsupportedIndex(cel::Value::Null, cel::Value::Null)),
                }
            }

            fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
            where
                Self: 'v,
            {
                self.get(index).map(CowVal::into_owned)
            }
        }
    };
}

shared!(CelString, String);
shared!(CelList, List);
shared!(CelMap, Map);

/// A text.
pub(super) fn text(text: String) -> Box<dyn Val> {
    if text.len() < LONG {
        return Box::new(CelString::from(text));
    }
    let weight = weight::of_text(text.len());
    Shared::boxed(CelString::from(text), weight)
}

/// A list.
pub(super) fn list(items: Vec<Box<dyn Val>>) -> Box<dyn Val> {
    let weight = of_items(&items, of);
    Shared::boxed(CelList::from(items), weight)
}

/// A map.
pub(super) fn map(entries: impl IntoIterator<Item = (CelMapKey<'static>, Box<dyn Val>)>) -> Box<dyn Val> {
    let mut map = CelMap::default().into_inner();
    map.extend(entries);
    let weight = of_entries(map.len(), &map, of);
    map.shrink_to_fit();
    Shared::boxed(CelMap::from(map), weight)
}

/// What a value takes in memory with all that is in it, in bytes.
pub(super) fn of(value: &dyn Val) -> usize {
    if let Some(known) = known(value) {
        return known;
    }
    match value.as_builtin() {
        BuiltinRef::String(text) => weight::of_text(text.inner().len()),
        BuiltinRef::Bytes(bytes) => weight::of_text(bytes.inner().len()),
        BuiltinRef::List(list) => of_items(list.inner(), of),
        BuiltinRef::Map(map) => of_entries(map.inner().len(), map.inner(), of),
        _ => weight::VALUE,
    }
}

/// A list, with what each of its items takes.
fn of_items(items: &[Box<dyn Val + '_>], each: fn(&dyn Val) -> usize) -> usize {
    items.iter().map(|item| each(item.as_ref())).fold(weight::LIST, usize::saturating_add)
}

/// A map of so many entries, with what each key and each value takes.
fn of_entries<'m, 'v: 'm>(
    count: usize,
    entries: impl IntoIterator<Item = (&'m CelMapKey<'v>, &'m Box<dyn Val + 'v>)>,
    each: fn(&dyn Val) -> usize,
) -> usize {
    let entries = entries.into_iter();
    let weights = entries.map(|(key, value)| weight::of_key(each(key.inner())).saturating_add(each(value.as_ref())));
    weights.fold(weight::of_map(count), usize::saturating_add)
}

fn known(value: &dyn Val) -> Option<usize> {
    let any = value.as_any()?;
    any.downcast_ref::<Shared<CelList<'static>>>()
        .map(Shared::weight)
        .or_else(|| any.downcast_ref::<Shared<CelMap<'static>>>().map(Shared::weight))
        .or_else(|| any.downcast_ref::<Shared<CelString<'static>>>().map(Shared::weight))
}

/// What a value takes in memory that nobody else holds.
pub(super) fn own(value: &dyn Val) -> usize {
    if known(value).is_some() {
        return weight::VALUE;
    }
    match value.as_builtin() {
        BuiltinRef::List(list) => of_items(list.inner(), own),
        BuiltinRef::Map(map) => of_entries(map.inner().len(), map.inner(), own),
        _ => of(value),
    }
}

/// The same value, so that each copy of it is a count; `None` for one that can't be shared.
pub(super) fn share(value: &dyn Val) -> Option<Box<dyn Val>> {
    if let Some(any) = value.as_any() {
        macro_rules! copied {
            ($($kind:ty),*) => {
                $(if let Some(value) = any.downcast_ref::<$kind>() {
                    return Some(value.clone_as_boxed());
                })*
            };
        }
        copied!(CelInt, CelBool, CelDouble, CelUInt, CelNull, CelType);
        copied!(Shared<CelList<'static>>, Shared<CelMap<'static>>, Shared<CelString<'static>>);
        return None;
    }
    match value.as_builtin() {
        BuiltinRef::String(string) => Some(text(string.inner().to_owned())),
        BuiltinRef::Bytes(bytes) => Some(Box::new(CelBytes::from(bytes.inner().to_vec()))),
        BuiltinRef::List(items) => {
            let items: Option<Vec<_>> = items.inner().iter().map(|item| share(item.as_ref())).collect();
            items.map(list)
        }
        BuiltinRef::Map(entries) => {
            let entries = entries.inner().iter();
            let entries: Option<Vec<_>> =
                entries.map(|(key, value)| Some((key.clone().into_static(), share(value.as_ref())?))).collect();
            entries.map(map)
        }
        _ => None,
    }
}
