//! Planning as a user sees it: the shipped document and examples, every expression, the same bytes in every process.

#[path = "planning/again.rs"]
mod again;
#[path = "planning/apply.rs"]
mod apply;
#[path = "shared/arrival.rs"]
mod arrival;
#[path = "planning/content.rs"]
mod content;
#[path = "planning/determinism.rs"]
mod determinism;
#[path = "planning/diffs.rs"]
mod diffs;
#[path = "planning/examples.rs"]
mod examples;
#[path = "planning/expressions.rs"]
mod expressions;
#[path = "planning/failures.rs"]
mod failures;
#[path = "planning/golden.rs"]
mod golden;
#[path = "planning/hostile.rs"]
mod hostile;
#[path = "planning/hostile_content.rs"]
mod hostile_content;
#[path = "planning/mutations.rs"]
mod mutations;
#[path = "planning/pages.rs"]
mod pages;
#[path = "planning/refusals.rs"]
mod refusals;
#[path = "planning/requests.rs"]
mod requests;
#[path = "planning/schema.rs"]
mod schema;
#[path = "planning/support.rs"]
mod support;
