//! Credentials of a request: basic, bearer, or a token by OAuth2 client credentials.
//!
//! A token is kept until shortly before it expires. Where the target answers 401 to one, it is forgotten and the next attempt
//! gets a new one: within an attempt nothing is sent twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;

use super::exchange;
use super::unsent::Unsent;
use crate::record::{Auth, AuthKind};
use crate::transport::Exchange;
use crate::transport::egress::Allowance;
use crate::transport::secrets::{Secret, Secrets};

/// How long before it expires a token is no longer used.
const EARLY: Duration = Duration::from_secs(30);
/// How long a token is kept of which nobody says when it expires.
const UNSAID: Duration = Duration::from_mins(5);
/// Longest that a token is kept.
const LONGEST: Duration = Duration::from_hours(24);
/// How long whoever gives tokens may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens that are kept.
const MAX_TOKENS: usize = 1_024;

/// What a request shows.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The value of `authorization`.
    pub(super) authorization: Option<HeaderValue>,
    /// What must appear nowhere else.
    pub(super) secrets: Vec<Secret>,
    /// The token in use, where it is kept.
    pub(super) kept: Option<Kept>,
}

/// A token that is kept for other requests.
#[derive(Debug)]
pub(super) struct Kept {
    /// Whether it was there before the request.
    pub(super) was_there: bool,
    place: Arc<Place>,
    token: Secret,
}

impl Kept {
    /// Forgets the token, if it is still the one that is kept.
    pub(super) async fn forget(&self) {
        let mut slot = self.place.lock().await;
        if slot.as_ref().is_some_and(|kept| kept.token == self.token) {
            *slot = None;
        }
    }
}

#[derive(Debug)]
struct Token {
    token: Secret,
    until: Instant,
}

type Place = tokio::sync::Mutex<Option<Token>>;

/// Tokens are shared by whoever asks for the same, with the same secret, over the same networks.
type Key = (Auth, Vec<u8>, Allowance);

/// The tokens of a process.
#[derive(Default)]
pub(super) struct Tokens {
    places: Mutex<BTreeMap<Key, Arc<Place>>>,
}

impl Tokens {
    /// What a request shows, by its plan's `auth`. `client` asks for tokens, over what `allowance` opens.
    pub(super) async fn show(
        &self,
        auth: &Auth,
        secrets: &Secrets,
        client: &Client,
        allowance: &Allowance,
    ) -> Result<Shown, Unsent> {
        let values = secrets.fetch(&auth.secret).await?;
        let secret = values.current;
        let invalid = || Unsent::Invalid { detail: format!("the secret `{}` is no text for a header", auth.secret) };
        let text = secret.text().ok_or_else(invalid)?;
        let (scheme, credentials, kept) = match auth.kind {
            AuthKind::Basic => {
                let pair = format!("{}:{text}", auth.user.as_deref().unwrap_or_default());
                ("Basic", Secret::new(STANDARD.encode(pair).into_bytes()), None)
            }
            AuthKind::Bearer => ("Bearer", secret.clone(), None),
            AuthKind::Oauth2 => {
                let (token, kept) = self.token(auth, &secret, client, allowance).await?;
                ("Bearer", token, kept)
            }
        };
        let value = format!("{scheme} {}", credentials.text().unwrap_or_default());
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        Ok(Shown { authorization: Some(value), secrets: vec![secret, credentials], kept })
    }

    async fn token(
        &self,
        auth: &Auth,
        secret: &Secret,
        client: &Client,
        allowance: &Allowance,
    ) -> Result<(Secret, Option<Kept>), Unsent> {
        let place = self.place(auth, secret, allowance);
        let mut slot = place.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| Instant::now() < token.until) {
            let token = token.token.clone();
            drop(slot);
            return Ok((token.clone(), Some(Kept { was_there: true, place, token })));
        }
        let asked = tokio::time::timeout(PATIENCE, ask(auth, secret, client, allowance)).await;
        let late = || Unsent::Token { detail: format!("no token within {} s", PATIENCE.as_secs()) };
        let token = asked.map_err(|_| late())??;
        let value = token.token.clone();
        *slot = Some(token);
        drop(slot);
        Ok((value.clone(), Some(Kept { was_there: false, place, token: value })))
    }

    fn place(&self, auth: &Auth, secret: &Secret, allowance: &Allowance) -> Arc<Place> {
        let key = (auth.clone(), secret.bytes().to_vec(), allowance.clone());
        let mut places = self.places.lock().expect("nothing panics while it is held");
        if places.len() >= MAX_TOKENS && !places.contains_key(&key) {
            places.clear();
        }
        Arc::clone(places.entry(key).or_default())
    }
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<u64>,
}

/// Asks for a token: RFC 6749, section 4.4, with the client's credentials in the header.
async fn ask(auth: &Auth, secret: &Secret, client: &Client, allowance: &Allowance) -> Result<Token, Unsent> {
    let begun = Instant::now();
    let url = auth.token_url.as_deref().unwrap_or_default();
    let url = Url::parse(url).map_err(|e| format!("the token_url is no URL: {e}"))?;
    allowance.check_url(&url)?;
    let user = auth.user.as_deref().unwrap_or_default();
    let pair = format!("{}:{}", form(&[("", user)]), form(&[("", secret.text().unwrap_or_default())]));
    let mut fields = vec![("grant_type", "client_credentials")];
    fields.extend(auth.scope.as_deref().map(|scope| ("scope", scope)));
    fields.extend(auth.audience.as_deref().map(|audience| ("audience", audience)));
    let sent = client
        .post(url)
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(form(&fields))
        .send()
        .await;
    let response = sent.map_err(|e| exchange::token_unavailable(&e))?;
    let Exchange::Answer(answer) = exchange::read(response, begun).await else {
        return Err(Unsent::Token { detail: "the answer to the request for a token was cut".into() });
    };
    match answer.status {
        200 => {}
        400 | 401 | 403 => {
            let detail = format!("the request for a token was answered {}: {}", answer.status, code_of(&answer.body));
            return Err(Unsent::Credentials { detail });
        }
        status => return Err(Unsent::Token { detail: format!("the request for a token was answered {status}") }),
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|e| Unsent::Token {
        detail: format!("the token is not as RFC 6749 says, at column {}", e.column()),
    })?;
    if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(Unsent::Token { detail: "the token is no bearer token".into() });
    }
    let lasts = granted.expires_in.map_or(UNSAID, Duration::from_secs).min(LONGEST);
    let token = Secret::new(granted.access_token.into_bytes());
    Ok(Token { token, until: begun + lasts.saturating_sub(EARLY) })
}

/// The `error` of RFC 6749, section 5.2: a word from a known list, so that nothing else can be repeated.
fn code_of(body: &[u8]) -> &'static str {
    const CODES: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let said = said.as_ref().and_then(|json| json["error"].as_str()).unwrap_or_default();
    CODES.into_iter().find(|code| *code == said).unwrap_or("no code of RFC 6749")
}

/// Pairs as `application/x-www-form-urlencoded`; a pair without a name is its value alone.
fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("form:/").expect("it is a URL");
    for (name, value) in pairs {
        if name.is_empty() {
            url.query_pairs_mut().append_key_only(value);
        } else {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_a_form() {
        assert_eq!(form(&[("a", "b c"), ("d", "e&=")]), "a=b+c&d=e%26%3D");
        assert_eq!(form(&[("", "s:p é")]), "s%3Ap+%C3%A9");
    }

    #[test]
    fn only_a_known_code_is_repeated() {
        assert_eq!(code_of(br#"{"error":"invalid_client"}"#), "invalid_client");
        for body in [&br#"{"error":"s3cret"}"#[..], b"s3cret", b""] {
            assert_eq!(code_of(body), "no code of RFC 6749");
        }
    }
}
