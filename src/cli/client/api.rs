//! Calls to a gateway.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Globals;
use crate::cli::exit::Exit;
use crate::gateway::problem::ProblemBody;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take beyond the wait that it was asked for; the gateway gives up a scan after half of it.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);

/// Why a command didn't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// The gateway's stable code, where it gave one.
    pub code: Option<String>,
    /// What happened, for people.
    pub message: String,
}

/// A failure as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureBody {
    /// The exit code of the command.
    pub exit: u8,
    /// The gateway's stable code, where it gave one.
    pub code: Option<String>,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    /// A mistake of the caller's.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: None, message: message.into() }
    }

    /// The gateway can't be reached, or didn't answer in time.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, code: None, message: message.into() }
    }

    /// As JSON.
    pub fn body(&self) -> FailureBody {
        FailureBody { exit: self.exit.code(), code: self.code.clone(), message: self.message.clone() }
    }

    fn of(status: StatusCode, problem: ProblemBody) -> Self {
        let exit = match status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT => Exit::No,
            StatusCode::REQUEST_TIMEOUT => Exit::Unreachable,
            status if status.is_server_error() => Exit::Unreachable,
            _ => Exit::Usage,
        };
        Self {
            exit,
            message: format!("{}: {} ({})", problem.title, problem.detail, problem.code),
            code: Some(problem.code),
        }
    }
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
pub struct Api {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
}

impl Api {
    /// A client of the gateway that the options name. Nothing is sent yet.
    pub fn new(globals: &Globals) -> Result<Self, Failure> {
        let url = Url::parse(&globals.url).map_err(|e| Failure::usage(format!("--url {}: {e}", globals.url)))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(Failure::usage(format!("--url {}: it must begin with http:// or https://", globals.url)));
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
        Ok(Self { http, url, token: globals.token.clone() })
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
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        if !status.is_success() {
            return Err(serde_json::from_slice::<ProblemBody>(&bytes).map_or_else(
                |_| Failure::unreachable(format!("{} answers {status}, and not as a consign gateway does", self.url)),
                |problem| Failure::of(status, problem),
            ));
        }
        let value = serde_json::from_slice(&bytes).map_err(|e| {
            Failure::unreachable(format!("{} answers {status} with what this version can't read: {e}", self.url))
        })?;
        Ok(Answer { value, finished: status == StatusCode::OK })
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
        Failure::unreachable(format!("the gateway {} {what}: {why}", self.url))
    }
}
