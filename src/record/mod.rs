//! The records: what stands on consign's topics, under which key, in which bytes.
//!
//! Every struct here is the twin of a schema under `schemas/`; a test holds the two together. The same field names are
//! used in Avro, in JSON, in metric labels and in logs.

mod attempt;
mod bytes;
mod codec;
mod control;
mod controls;
mod fetch;
mod file_state;
pub mod header;
mod history;
mod ids;
mod intervention;
mod key;
mod manifest;
mod murmur2;
mod outcome;
mod plain;
mod plan;
pub mod registry;
mod text_enum;
mod text_map;
mod topic;

pub use attempt::*;
pub use bytes::Bytes;
pub use codec::{Codec, DecodeError, Wire};
pub use control::*;
pub use controls::*;
pub use fetch::*;
pub use file_state::*;
pub use history::*;
pub use ids::*;
pub use intervention::*;
pub use key::*;
pub use manifest::*;
pub use murmur2::{home_partition, murmur2};
pub use outcome::*;
pub use plan::*;
pub(crate) use text_enum::text_enum;
pub use text_map::TextMap;
pub use topic::{CleanUp, Topic, TopicNames};
