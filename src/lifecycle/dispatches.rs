//! The dispatches of a file. A copy of a file shares with it what neither has changed since.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file::Dispatch;

/// The dispatches in the order of the plan. A clone costs no more than a list of references; whoever changes one of
/// them gets a copy of that one alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Dispatches(Vec<Arc<Dispatch>>);

impl Dispatches {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: the file isn't VALIDATED.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one of ordinal 0.
    pub fn first(&self) -> Option<&Dispatch> {
        self.0.first().map(AsRef::as_ref)
    }

    /// The one at this place.
    pub fn get(&self, index: usize) -> Option<&Dispatch> {
        self.0.get(index).map(AsRef::as_ref)
    }

    /// Takes the last one out.
    pub(super) fn pop(&mut self) -> Option<Arc<Dispatch>> {
        self.0.pop()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Dispatch> + ExactSizeIterator {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The places of those of which this holds, each with a copy of its own to be changed.
    pub(super) fn change_where(&mut self, holds: impl Fn(&Dispatch) -> bool, mut change: impl FnMut(&mut Dispatch)) {
        self.0.iter_mut().filter(|d| holds(d)).for_each(|d| change(Arc::make_mut(d)));
    }
}

impl Index<usize> for Dispatches {
    type Output = Dispatch;

    fn index(&self, index: usize) -> &Dispatch {
        &self.0[index]
    }
}

impl IndexMut<usize> for Dispatches {
    fn index_mut(&mut self, index: usize) -> &mut Dispatch {
        Arc::make_mut(&mut self.0[index])
    }
}

impl FromIterator<Dispatch> for Dispatches {
    fn from_iter<I: IntoIterator<Item = Dispatch>>(dispatches: I) -> Self {
        Self(dispatches.into_iter().map(Arc::new).collect())
    }
}

impl<'a> IntoIterator for &'a Dispatches {
    type Item = &'a Dispatch;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, Arc<Dispatch>>, fn(&'a Arc<Dispatch>) -> &'a Dispatch>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(AsRef::as_ref)
    }
}
