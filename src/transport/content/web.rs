//! Files behind HTTP(S): one GET by the client of every request, without redirects and repetitions.

use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};

use super::{Fault, Kind, Shared, Source};
use crate::transport::Exchange;
use crate::transport::egress::Refused;
use crate::transport::http::{Wire, causes, chain};

impl Shared {
    /// Asks for a file. Also gives its size where the answer says it.
    pub(super) async fn fetch(&self, url: Url) -> Result<(Source, Option<u64>), Fault> {
        let allowance = self.clients.egress.of(&self.nobody);
        allowance.check_url(&url).map_err(|refused| Fault::last("location_refused", refused.to_string()))?;
        let client = self.clients.of(&self.nobody, None, Wire::Any).await.map_err(|unsent| {
            let detail = match Exchange::from(unsent) {
                Exchange::NotSent { detail, .. } | Exchange::Refused { detail, .. } => detail,
                other => format!("{other:?}"),
            };
            Fault::transient("unreachable", detail)
        })?;
        let response = client.get(url).send().await.map_err(|e| unreachable(&e))?;
        match response.status() {
            // A part of it is not it.
            StatusCode::OK => {
                let size = response.content_length();
                Ok((Source::Web(Box::new(response)), size))
            }
            status => {
                let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                Err(fault_of_status(status.as_u16(), asked))
            }
        }
    }
}

/// The next part of an answer.
pub(super) async fn next(response: &mut Response) -> Result<Option<Bytes>, Fault> {
    response.chunk().await.map_err(|e| Fault::transient("broken_off", causes(&e.without_url())))
}

/// No answer. The address isn't repeated: it may hold a signature.
fn unreachable(e: &reqwest::Error) -> Fault {
    if let Some(refused) = Refused::among(&chain(e)) {
        return Fault::last("location_refused", refused.to_string());
    }
    let detail = chain(e).iter().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    Fault::transient("unreachable", if detail.is_empty() { "no answer".to_owned() } else { detail })
}

/// What another status than 200 means, with what `Retry-After` said.
pub fn fault_of_status(status: u16, retry_after: Option<&str>) -> Fault {
    let detail = format!("status {status}");
    match status {
        404 | 410 => Fault::last("missing", detail),
        401 | 403 | 407 => Fault::last("forbidden", detail),
        408 | 425 | 429 | 500.. => {
            let seconds = retry_after.and_then(|text| text.trim().parse::<i64>().ok()).filter(|seconds| *seconds >= 0);
            let kind = Kind::Transient(seconds.map(|seconds| seconds.saturating_mul(1_000)));
            Fault { kind, code: "unavailable", detail }
        }
        _ => Fault::last("refused", detail),
    }
}
