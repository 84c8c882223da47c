//! The routing document: parse, check, digest.
