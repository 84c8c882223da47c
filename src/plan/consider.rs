//! Why a file goes to a target, or doesn't.

use super::PLANNER_VERSION;
use super::choose::environment;
use super::content::Fetched;
use crate::record::{Arrival, Failure, TargetName};
use crate::routing::{Document, Evaluator, Expression, Route, shown};

/// One target of the document, as a file sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// The target.
    pub target: TargetName,
    /// Why it is chosen, or not.
    pub why: Why,
}

/// Why a target is chosen, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its route matches.
    Chosen {
        /// The route's condition; `None` where it is for every file.
        when: Option<String>,
        /// The payload that is taken; `None` where the requests carry no body.
        payload: Option<String>,
        /// The payload's condition; `None` where it is taken for every file.
        payload_when: Option<String>,
    },
    /// Its route's condition doesn't hold: the first part of it that doesn't.
    Condition(String),
    /// Its route matches, and none of its payloads does.
    NoPayload,
    /// A condition fails for this file; in words, which and why.
    Fails(String),
    /// The file takes up another one, and only the targets that this one left open.
    NotResubmitted,
    /// No route leads there.
    NoRoute,
}

/// Every target of the document with why the file goes there or not: those with a route in the order of the routes, then
/// the others by name. The error is why the file fails validation before any route is asked.
pub fn consider(
    arrival: &Arrival,
    routing: &Document,
    fetched: Option<Fetched<'_>>,
) -> Result<Vec<Considered>, Failure> {
    let environment = environment(arrival, routing, fetched, PLANNER_VERSION)?;
    let mut all: Vec<Considered> = routing
        .routes()
        .iter()
        .map(|route| Considered { target: route.to.clone(), why: of_route(arrival, route, &environment) })
        .collect();
    for target in routing.targets() {
        if !all.iter().any(|considered| considered.target == target.name) {
            all.push(Considered { target: target.name, why: Why::NoRoute });
        }
    }
    Ok(all)
}

fn of_route(arrival: &Arrival, route: &Route, environment: &Evaluator) -> Why {
    if arrival.only_targets.as_ref().is_some_and(|only| !only.contains(&route.to)) {
        return Why::NotResubmitted;
    }
    let text = |expression: &Expression| shown(expression.source());
    if let Some(when) = &route.when {
        match environment.holds(when) {
            Ok(true) => {}
            Ok(false) => return Why::Condition(shown(first_that_fails(when, environment).source())),
            Err(why) => return Why::Fails(why),
        }
    }
    if route.choices.is_empty() {
        return Why::Chosen { when: route.when.as_ref().map(text), payload: None, payload_when: None };
    }
    for choice in &route.choices {
        match choice.when.as_ref().map_or(Ok(true), |when| environment.holds(when)) {
            Ok(true) => {
                return Why::Chosen {
                    when: route.when.as_ref().map(text),
                    payload: Some(choice.payload.clone()),
                    payload_when: choice.when.as_ref().map(text),
                };
            }
            Ok(false) => {}
            Err(why) => return Why::Fails(why),
        }
    }
    Why::NoPayload
}

/// The first part of a condition that doesn't hold, down to where it can't be taken apart.
fn first_that_fails(when: &Expression, environment: &Evaluator) -> Expression {
    when.conjuncts().into_iter().find(|part| environment.holds(part) == Ok(false)).unwrap_or_else(|| when.clone())
}
