//! Why a request can't be made ready: it hasn't left.

use crate::transport::Exchange;
use crate::transport::content::Fault;
use crate::transport::egress::Refused;
use crate::transport::secrets::SecretError;

/// Why a request can't be made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Unsent {
    /// The plan asks for what can't be built.
    Invalid {
        /// Why.
        detail: String,
    },
    /// The outbound guard refuses.
    Egress(Refused),
    /// A secret that it needs isn't there.
    Secret(SecretError),
    /// There is no token for it at the moment.
    Token {
        /// Why.
        detail: String,
    },
    /// The file that is the body can't be had.
    File(Fault),
    /// Whoever gives tokens refuses our credentials.
    Credentials {
        /// Why.
        detail: String,
    },
}

impl From<Refused> for Unsent {
    fn from(refused: Refused) -> Self {
        Self::Egress(refused)
    }
}

impl From<SecretError> for Unsent {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

impl From<Fault> for Unsent {
    fn from(fault: Fault) -> Self {
        Self::File(fault)
    }
}

impl From<String> for Unsent {
    fn from(detail: String) -> Self {
        Self::Invalid { detail }
    }
}

impl From<Unsent> for Exchange {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Invalid { detail } => Self::NotSent { code: "request_invalid", detail },
            Unsent::Egress(refused) => Self::NotSent { code: "egress_refused", detail: refused.to_string() },
            Unsent::Secret(error) => Self::NotSent { code: "secret_missing", detail: error.to_string() },
            Unsent::Token { detail } => Self::NotSent { code: "token_unavailable", detail },
            Unsent::File(fault) => Self::NotSent { code: of_file(&fault), detail: fault.detail },
            Unsent::Credentials { detail } => Self::Refused { code: "credentials_refused", detail },
        }
    }
}

/// The code of an outcome for a file that can't be the body.
pub(super) fn of_file(fault: &Fault) -> &'static str {
    match fault.code {
        "missing" => "file_missing",
        "forbidden" | "location_refused" => "file_refused",
        "size_differs" | "digest_differs" | "too_large" => "file_differs",
        _ => "file_unreadable",
    }
}
