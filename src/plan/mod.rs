//! stub until merge
use crate::record::*;
use crate::routing::Document;
pub struct Limits;
impl Default for Limits {
    fn default() -> Self {
        Self
    }
}
pub struct Inputs<'a> {
    pub arrival: &'a Arrival,
    pub routing: &'a Document,
    pub version: i64,
    pub cause: &'a Cause,
    pub planned_at: Timestamp,
    pub limits: Limits,
}
pub fn plan(_: Inputs<'_>) -> Result<Vec<PlannedDispatch>, Failure> {
    unimplemented!()
}
pub fn manifest_digest(_: &FileManifest) -> String {
    unimplemented!()
}
pub fn check_manifest(_: &FileManifest) -> Result<(), Failure> {
    unimplemented!()
}
