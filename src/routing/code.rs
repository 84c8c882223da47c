//! Every code that the routing document and planning give out. Each has a page under `docs/errors/`.

/// The text is no YAML document.
pub const SYNTAX: &str = "CG101";
/// A key is there twice.
pub const DUPLICATE_KEY: &str = "CG102";
/// A key that means nothing here.
pub const UNKNOWN_KEY: &str = "CG103";
/// A key that must be there is missing.
pub const MISSING_KEY: &str = "CG104";
/// A value of the wrong kind or outside its range.
pub const ILLEGAL_VALUE: &str = "CG105";
/// A name with characters or a length that it may not have.
pub const ILLEGAL_NAME: &str = "CG106";
/// A name that nothing defines.
pub const UNDEFINED_NAME: &str = "CG107";
/// A JSON Schema that can't be used.
pub const SCHEMA: &str = "CG108";
/// A table that can't be used.
pub const TABLE: &str = "CG109";
/// An expression that can't be used.
pub const EXPRESSION: &str = "CG110";
/// Legal in the grammar's future, not in this version.
pub const NOT_IN_THIS_VERSION: &str = "CG111";
/// It isn't said by what success is confirmed, or it is said in a way that contradicts itself.
pub const CONFIRMED_BY: &str = "CG112";
/// Policies that together would send again what may have been processed.
pub const UNSAFE_POLICY: &str = "CG113";
/// A URL or a header that a target may not have.
pub const REQUEST: &str = "CG114";
/// Two routes to one target.
pub const SECOND_ROUTE: &str = "CG115";
/// Names that wait for each other in a circle.
pub const CYCLE: &str = "CG116";
/// The document is larger than it may be.
pub const DOCUMENT_SIZE: &str = "CG117";

/// A manifest that can't be accepted.
pub const MANIFEST: &str = "CG120";
/// A file type that the routing document doesn't have.
pub const FILE_TYPE: &str = "CG121";
/// Data that is missing or is no JSON.
pub const DATA: &str = "CG122";
/// Data that doesn't fit its schema.
pub const DATA_SCHEMA: &str = "CG123";
/// No route matches the file.
pub const NO_ROUTE: &str = "CG124";
/// An expression that fails for this file.
pub const EVALUATION: &str = "CG125";
/// A payload that doesn't fit its schema.
pub const PAYLOAD_SCHEMA: &str = "CG126";
/// A body, a plan or a file-state larger than it may be.
pub const PLAN_SIZE: &str = "CG127";
/// A target that the file was resubmitted to, but that no route picks any more.
pub const LOST_TARGET: &str = "CG128";
/// A payload that can't be put together for this file.
pub const PAYLOAD: &str = "CG129";

/// Warning: something is defined and never used.
pub const UNUSED: &str = "CG130";
/// Warning: retries go on after the file's deadline.
pub const OUTLASTS_DEADLINE: &str = "CG131";
/// Warning: delivery alone counts as success.
pub const CONFIRMED_BY_TRANSPORT: &str = "CG132";

/// Warning: a route that can never match, or that names a file type which doesn't exist.
pub const NEVER_MATCHES: &str = "CG133";

/// A URL, a header, a key or an event's attribute that can't be put together for this file.
pub const REQUEST_PART: &str = "CG140";
/// The file itself is the body, and its manifest doesn't say where it is, how large and with which digest.
pub const FILE_BODY: &str = "CG141";
/// A file that has no bytes to be read, or other ones than were announced.
pub const CONTENT_MISSING: &str = "CG150";
/// Bytes of a file that are not in the format that its type says.
pub const CONTENT: &str = "CG151";
/// A route reads `content` for a type that has none.
pub const NO_CONTENT: &str = "CG152";

/// Every code, in order: errors at load, validation failures of a file, warnings at load, more validation failures.
pub const ALL: &[&str] = &[
    SYNTAX,
    DUPLICATE_KEY,
    UNKNOWN_KEY,
    MISSING_KEY,
    ILLEGAL_VALUE,
    ILLEGAL_NAME,
    UNDEFINED_NAME,
    SCHEMA,
    TABLE,
    EXPRESSION,
    NOT_IN_THIS_VERSION,
    CONFIRMED_BY,
    UNSAFE_POLICY,
    REQUEST,
    SECOND_ROUTE,
    CYCLE,
    DOCUMENT_SIZE,
    MANIFEST,
    FILE_TYPE,
    DATA,
    DATA_SCHEMA,
    NO_ROUTE,
    EVALUATION,
    PAYLOAD_SCHEMA,
    PLAN_SIZE,
    LOST_TARGET,
    PAYLOAD,
    UNUSED,
    OUTLASTS_DEADLINE,
    CONFIRMED_BY_TRANSPORT,
    NEVER_MATCHES,
    REQUEST_PART,
    FILE_BODY,
    CONTENT_MISSING,
    CONTENT,
    NO_CONTENT,
];
