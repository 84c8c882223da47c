//! Calls to a gateway.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Globals;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::OutputFormat;
use crate::cli::reach::{SOON, Waiting};
use crate::gateway::problem::{Code, ProblemBody};

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take beyond the wait that it was asked for; the gateway gives up a scan after half of it.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// A wait that needs no word.
const SHORT: Duration = Duration::from_secs(10);
/// The pause before a gateway that is being started is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long to wait where a gateway says that this is too much, as it asks for.
const TOO_MANY: Duration = Duration::from_secs(1);
/// How long that is done.
const TOO_MANY_PATIENCE: Duration = Duration::from_secs(30);

fn not_a_url(url: &str, why: &str) -> Failure {
    Failure::usage(format!("--url {url}: {why}")).hint("give it as http://HOST:PORT or https://HOST:PORT (CONSIGN_URL)")
}

/// What a gateway's problem means for a person at the command line.
fn failure_of(status: StatusCode, problem: ProblemBody) -> Failure {
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT => Exit::No,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Exit::Unreachable,
        status if status.is_server_error() => Exit::Unreachable,
        _ => Exit::Usage,
    };
    let hint = match problem.code.as_str() {
        "CG310" => Some("give a token that this gateway knows: --token, or CONSIGN_TOKEN".to_owned()),
        "CG311" => Some("ask with an operator's token".to_owned()),
        "CG320" => Some("consign ls shows what is known; the id is the manifest's file_id".to_owned()),
        "CG323" => Some("consign targets ls shows the targets".to_owned()),
        "CG330" => {
            Some("give this content a file_id of its own; consign status shows what stands under this one".to_owned())
        }
        _ => None,
    };
    Failure { exit, code: Some(problem.code), message: format!("{}: {}", problem.title, problem.detail), hint }
}

/// An answer, and whether it is final (200) or says how far things are (202).
#[derive(Debug)]
pub struct Answer<T> {
    /// What the gateway said.
    pub value: T,
    /// Whether it is final.
    pub finished: bool,
}

/// A gateway.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
    /// Whether a person is told that an answer takes long.
    tells: bool,
    /// Until then a gateway that doesn't listen yet, or has not read everything, is asked again.
    patient_until: Option<Instant>,
}

impl Api {
    /// A client of the gateway that the options name. Nothing is sent yet.
    pub fn new(globals: &Globals) -> Result<Self, Failure> {
        let url = Url::parse(&globals.url).map_err(|e| not_a_url(&globals.url, &e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(not_a_url(&globals.url, "it is no address of HTTP"));
        }
        // An error means only that this process has chosen its provider already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_PATIENCE);
        // A proxy for the world is none for this machine.
        let local = url.host_str().is_some_and(|host| {
            let host = host.trim_matches(['[', ']']);
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        if local {
            builder = builder.no_proxy();
        }
        // An intervention must not go to wherever an answer points.
        let http = builder
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Failure::usage(format!("no HTTP client: {e}")))?;
        Ok(Self { http, url, token: globals.token.clone(), tells: false, patient_until: None })
    }

    /// The same, telling on standard error when an answer takes long.
    #[must_use]
    pub fn telling(self) -> Self {
        Self { tells: true, ..self }
    }

    /// The same, silent: for whoever waits on purpose.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { tells: false, ..self.clone() }
    }

    /// The same, with patience for a gateway that is being started.
    #[must_use]
    pub fn patient(&self, until: Instant) -> Self {
        Self { patient_until: Some(until), ..self.clone() }
    }

    /// GET.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        wait: Duration,
    ) -> Result<T, Failure> {
        let answer = self.call(Method::GET, path, query, None::<&()>, wait).await?;
        Ok(answer.value)
    }

    /// POST of a JSON body.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: &impl Serialize,
        wait: Duration,
    ) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, path, query, Some(body), wait).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        wait: Duration,
    ) -> Result<Answer<T>, Failure> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage("--url can't be a base"))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        let mut request = self.http.request(method, url).query(query).timeout(ANSWER_PATIENCE + wait);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let format = if self.tells { OutputFormat::Text } else { OutputFormat::Json };
        // Whoever asked for a short wait needs no word before it is over.
        let short = if wait <= SHORT { wait } else { Duration::ZERO };
        let asked =
            if wait.is_zero() { String::new() } else { format!(", {} at most", humantime::format_duration(wait)) };
        let _waiting = Waiting::after(SOON + short, format, format!("an answer of {}{asked}", self.url));
        let (status, bytes) = self.send(request).await.map_err(|e| self.unreachable(&e))?;
        if !status.is_success() {
            return Err(serde_json::from_slice::<ProblemBody>(&bytes).map_or_else(
                |_| self.no_gateway(&format!("answers {status}, and not as a consign gateway does")),
                |problem| failure_of(status, problem),
            ));
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| self.no_gateway(&format!("answers {status} with what this version can't read: {e}")))?;
        Ok(Answer { value, finished: status == StatusCode::OK })
    }

    /// A connection that nobody accepts carried nothing, and a gateway that is only beginning or that says that this is too
    /// much has done nothing, so that asking again is safe.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let begun = Instant::now();
        loop {
            let Some(once) = request.try_clone() else { return answer_of(request).await };
            let is_patient = self.patient_until.is_some_and(|until| Instant::now() < until);
            let wait = match answer_of(once).await {
                Err(error) if is_patient && error.is_connect() => ASK_AGAIN,
                Ok((status, bytes)) if is_patient && is_beginning(status, &bytes) => ASK_AGAIN,
                Ok((StatusCode::TOO_MANY_REQUESTS, _)) if begun.elapsed() < TOO_MANY_PATIENCE => TOO_MANY,
                done => return done,
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        use std::error::Error as _;
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            why = cause.to_string();
            source = cause.source();
        }
        let what = if error.is_timeout() { "did not answer in time" } else { "can't be reached" };
        self.no_gateway(&format!("{what}: {why}"))
    }

    fn no_gateway(&self, what: &str) -> Failure {
        Failure::coded(Exit::Unreachable, "CG405", format!("the gateway {} {what}", self.url))
            .hint("is consign run or consign dev up, and is this its address (--url, CONSIGN_URL)?")
    }
}

async fn answer_of(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
    let response = request.send().await?;
    Ok((response.status(), response.bytes().await?.to_vec()))
}

/// Whether the gateway says that it has not read everything yet.
fn is_beginning(status: StatusCode, answer: &[u8]) -> bool {
    let problem = || serde_json::from_slice::<ProblemBody>(answer);
    status == StatusCode::SERVICE_UNAVAILABLE && problem().is_ok_and(|problem| problem.code == Code::CG340.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_token_says_where_a_token_comes_from() {
        let problem = |code: &str| ProblemBody {
            r#type: String::new(),
            title: "A known token is needed".into(),
            status: 401,
            detail: "the token is not known here".into(),
            code: code.into(),
        };
        let failure = failure_of(StatusCode::UNAUTHORIZED, problem("CG310"));
        assert_eq!(failure.exit, Exit::Usage);
        let text = failure.to_string();
        assert!(text.starts_with("CG310: A known token is needed: the token is not known here"), "{text}");
        assert!(text.contains("--token") && text.contains("docs/errors/CG310.md"), "{text}");
        let failure = failure_of(StatusCode::FORBIDDEN, problem("CG311"));
        assert!(failure.to_string().contains("operator's token"), "{failure}");
    }
}
