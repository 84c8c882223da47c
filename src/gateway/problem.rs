//! The one place where an error of the domain becomes an answer of HTTP: problem+json (RFC 9457) with a stable code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::log::LogError;
use crate::record::registry::RegistryError;
use crate::record::{FileId, IllegalId, TargetName};
use crate::view::ScanError;

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $status:ident, $title:literal;)+) => {
        /// A stable code. Each has a page under `docs/errors/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $code,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$code,)+];

            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)+ }
            }

            /// The HTTP status that it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)+ }
            }

            /// What it means, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)+ }
            }
        }
    };
}

codes! {
    /// The body is not what the route takes.
    CG301 = BAD_REQUEST, "The body can't be read";
    /// An identity breaks its rules.
    CG302 = BAD_REQUEST, "An identity is illegal";
    /// A field breaks its rules.
    CG303 = BAD_REQUEST, "A field is illegal";
    /// A query parameter breaks its rules.
    CG304 = BAD_REQUEST, "A query parameter is illegal";
    /// The body is over the limit.
    CG305 = PAYLOAD_TOO_LARGE, "The body is too large";
    /// The body is not declared as JSON.
    CG306 = UNSUPPORTED_MEDIA_TYPE, "The body must be application/json";
    /// No such route.
    CG307 = NOT_FOUND, "There is no such route";
    /// The route exists, for other methods.
    CG308 = METHOD_NOT_ALLOWED, "The route doesn't take this method";
    /// The request took too long.
    CG309 = REQUEST_TIMEOUT, "The request took too long";
    /// No token, or none that is known.
    CG310 = UNAUTHORIZED, "A known token is needed";
    /// The role doesn't allow it.
    CG311 = FORBIDDEN, "The role doesn't allow this";
    /// A foreign Host on the loopback address.
    CG312 = FORBIDDEN, "The Host is not this machine";
    /// The caller asks for more changes than it may.
    CG313 = TOO_MANY_REQUESTS, "Too many requests";
    /// No such file.
    CG320 = NOT_FOUND, "There is no such file";
    /// The file has no such dispatch.
    CG321 = NOT_FOUND, "The file has no such dispatch";
    /// No such dead letter.
    CG322 = NOT_FOUND, "There is no such dead letter";
    /// No such target.
    CG323 = NOT_FOUND, "There is no such target";
    /// Another manifest was accepted under this `file_id`.
    CG330 = CONFLICT, "The file_id is taken by other content";
    /// Putting this letter back can't work or isn't safe.
    CG331 = CONFLICT, "This dead letter can't be put back";
    /// The view hasn't read everything.
    CG340 = SERVICE_UNAVAILABLE, "The view has not caught up";
    /// The log is away.
    CG341 = SERVICE_UNAVAILABLE, "The log is away";
    /// The registry is away.
    CG342 = SERVICE_UNAVAILABLE, "The schema registry is away";
    /// No record says how many home partitions there are.
    CG343 = SERVICE_UNAVAILABLE, "The topics are not set up";
    /// Too many scans of the log.
    CG344 = SERVICE_UNAVAILABLE, "Too many scans of the log";
    /// The log, or the registry, refuses.
    CG350 = INTERNAL_SERVER_ERROR, "The log refuses";
    /// No token, or another dispatch's, or a signature that isn't the receiver's.
    CG360 = UNAUTHORIZED, "The callback is not believed";
    /// The report isn't one.
    CG361 = UNPROCESSABLE_ENTITY, "The report can't be read";
    /// The dispatch was settled by an earlier report that says otherwise.
    CG362 = CONFLICT, "The report contradicts an earlier one";
    /// The dispatch is settled, or another attempt is under way.
    CG363 = GONE, "The report comes too late";
    /// Too many reports.
    CG364 = TOO_MANY_REQUESTS, "Too many callbacks";
}

/// A problem as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// Where the code is explained.
    pub r#type: String,
    /// The code's title.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The code.
    pub code: String,
}

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What happened this time.
    pub detail: String,
}

impl Problem {
    /// A problem with what happened this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(super) fn no_file(file_id: &FileId) -> Self {
        Self::new(Code::CG320, format!("no file {file_id} is known: it was never accepted, or its retention is over"))
    }

    pub(super) fn no_dispatch(file_id: &FileId, target: &TargetName, known: &[&str]) -> Self {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::new(Code::CG321, format!("file {file_id} has no dispatch to {target}; its targets: {known}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: format!("{}/blob/main/docs/errors/{}.md", env!("CARGO_PKG_REPOSITORY"), self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail,
            code: self.code.as_str().to_owned(),
        };
        let mut response = (self.code.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.code, Code::CG310 | Code::CG360) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.code.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let after = if self.code == Code::CG313 { "1" } else { "5" };
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after));
        }
        response
    }
}

impl From<IllegalId> for Problem {
    fn from(illegal: IllegalId) -> Self {
        Self::new(Code::CG302, illegal.0)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Away(_) => Self::new(Code::CG342, error.to_string()),
            RegistryError::Refused(why) => Self::new(Code::CG350, format!("the schema registry refuses: {why}")),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Away(_) => Self::new(Code::CG341, error.to_string()),
            // A person's change of controls may meet another's; the same call may be repeated.
            LogError::Aborted(_)
            | LogError::Undecided(_)
            | LogError::ProducerFenced(_)
            | LogError::Displaced(_)
            | LogError::Stuck(_) => Self::new(Code::CG341, format!("{error}; look at what there is, then ask again")),
            LogError::TooLong(_) => Self::new(Code::CG305, error.to_string()),
            LogError::InstanceFenced(_)
            | LogError::OutOfRange(_)
            | LogError::TargetTopic { .. }
            | LogError::Fatal(_) => Self::new(Code::CG350, error.to_string()),
        }
    }
}

impl From<ScanError> for Problem {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Log(error) => error.into(),
            ScanError::RegistryAway(_) => Self::new(Code::CG342, error.to_string()),
            ScanError::Busy => Self::new(Code::CG344, error.to_string()),
            ScanError::TooSlow => Self::new(Code::CG341, error.to_string()),
            ScanError::Homeless => homeless(),
        }
    }
}

/// No record says how many home partitions there are.
pub(super) fn homeless() -> Problem {
    Problem::new(
        Code::CG343,
        "controls doesn't say how many home partitions there are: `consign topics apply` writes it, and the view reads it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_with_its_title() {
        for code in Code::ALL {
            let path = format!("{}/docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), code.as_str());
            let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
            let heading = format!("# {}: {}\n", code.as_str(), code.title());
            assert!(page.starts_with(&heading), "{path} must begin with {heading}");
            let status = format!("HTTP {}", code.status().as_u16());
            assert!(page.contains(&status), "{path} must name its status, {status}");
        }
    }
}
