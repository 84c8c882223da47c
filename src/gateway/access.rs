//! Who may call: this machine, or the bearer of a token that names an actor and a role.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::{Code, Problem};
use super::{App, GatewayError};

/// The actor of every call where [`Access::Loopback`] is on.
pub const LOCAL_ACTOR: &str = "local";

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Read, submit and intervene.
    Operator,
}

/// A token: only its digest is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// SHA-256 of the token, 64 hexadecimal digits.
    pub token_sha256: String,
    /// Who bears it; recorded with everything they ask for.
    pub actor: String,
    /// What they may do.
    pub role: Role,
}

impl Token {
    /// The entry that lets in who bears this token.
    pub fn of(token: &str, actor: &str, role: Role) -> Self {
        let mut token_sha256 = String::with_capacity(64);
        for byte in Sha256::digest(token.as_bytes()) {
            // Writing to a text can't fail.
            let _ = write!(token_sha256, "{byte:02x}");
        }
        Self { token_sha256, actor: actor.to_owned(), role }
    }
}

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everyone on this machine, as the operator [`LOCAL_ACTOR`]. Refused on any address that others can reach.
    Loopback,
    /// Those who bear one of these.
    Tokens(Vec<Token>),
}

impl Access {
    /// Whether a server may listen on this address. A list of tokens must hold at least one, each with a well-formed
    /// digest and an actor.
    pub fn check(&self, address: SocketAddr) -> Result<(), GatewayError> {
        match self {
            Self::Loopback if address.ip().is_loopback() => Ok(()),
            Self::Loopback => Err(GatewayError::Exposed(address)),
            Self::Tokens(tokens) if tokens.is_empty() => Err(GatewayError::Token("there is no token".to_owned())),
            Self::Tokens(tokens) => tokens.iter().try_for_each(|token| {
                if token.actor.trim().is_empty() {
                    return Err(GatewayError::Token("a token has no actor".to_owned()));
                }
                digest_of(token).map(drop).ok_or_else(|| {
                    GatewayError::Token(format!("token_sha256 of {} is not 64 hexadecimal digits", token.actor))
                })
            }),
        }
    }

    /// Who calls, as a request's headers say.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        if *self == Self::Loopback {
            check_host(headers)?;
        }
        self.caller(headers)
    }

    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        match self {
            Self::Loopback => Ok(Caller { actor: LOCAL_ACTOR.to_owned(), role: Role::Operator }),
            Self::Tokens(tokens) => {
                let presented = bearer(headers)
                    .ok_or_else(|| Problem::new(Code::CG310, "send `Authorization: Bearer` and the token"))?;
                let presented = Sha256::digest(presented.as_bytes());
                // Every token is compared, in constant time, so that time says nothing of which one came close.
                let mut found = None;
                for token in tokens {
                    let equal = digest_of(token).is_some_and(|known| bool::from(known.ct_eq(presented.as_slice())));
                    if equal {
                        found = Some(token);
                    }
                }
                found
                    .map(|token| Caller { actor: token.actor.clone(), role: token.role })
                    .ok_or_else(|| Problem::new(Code::CG310, "the token is not known here"))
            }
        }
    }
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn digest_of(token: &Token) -> Option<[u8; 32]> {
    let digits = token.token_sha256.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(token.token_sha256.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name that is recorded.
    pub actor: String,
    /// What they may do.
    pub role: Role,
}

/// A caller who may submit and intervene. A handler that takes one is closed to viewers.
#[derive(Debug, Clone)]
pub(super) struct Operator(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller =
            parts.extensions.get::<Caller>().ok_or_else(|| Problem::new(Code::CG310, "the route knows no caller"))?;
        if caller.role < Role::Operator {
            return Err(Problem::new(Code::CG311, format!("{} is a viewer: an operator may do this", caller.actor)));
        }
        Ok(Self(caller.clone()))
    }
}

/// Lets in whom [`Access`] knows, with no more changes than one caller may ask for, and says to the handler who it is.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = app.access.identify(request.headers())?;
    if !request.method().is_safe() {
        app.rates.take(&caller.actor)?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// A page from elsewhere can make a browser on this machine call a loopback address under a name of its own; the
/// browser then sends that name.
fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let local = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if local { Ok(()) } else { Err(Problem::new(Code::CG312, format!("the Host `{host}` is not a loopback address"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn without_tokens_only_a_loopback_address_will_do() {
        let open = "0.0.0.0:8480".parse().unwrap();
        for local in ["127.0.0.1:8480", "[::1]:8480"] {
            assert!(Access::Loopback.check(local.parse().unwrap()).is_ok(), "{local}");
        }
        assert!(matches!(Access::Loopback.check(open), Err(GatewayError::Exposed(_))));
        assert!(Access::Tokens(vec![Token::of("s", "ann", Role::Viewer)]).check(open).is_ok());
    }

    #[test]
    fn malformed_tokens_are_refused_at_start() {
        let address = "127.0.0.1:8480".parse().unwrap();
        let mut short = Token::of("s", "ann", Role::Viewer);
        short.token_sha256.pop();
        let mut no_hex = Token::of("s", "ann", Role::Viewer);
        no_hex.token_sha256.replace_range(0..1, "+");
        for tokens in [vec![], vec![short], vec![no_hex], vec![Token::of("s", " ", Role::Viewer)]] {
            assert!(matches!(Access::Tokens(tokens).check(address), Err(GatewayError::Token(_))));
        }
    }

    #[test]
    fn a_token_names_its_bearer() {
        let access = Access::Tokens(vec![Token::of("s1", "ann", Role::Viewer), Token::of("s2", "bob", Role::Operator)]);
        let bob = access.caller(&with(header::AUTHORIZATION, "bearer s2")).unwrap();
        assert_eq!(bob, Caller { actor: "bob".into(), role: Role::Operator });
        for wrong in ["Bearer s3", "Basic s2", "s2", "Bearer"] {
            assert_eq!(access.caller(&with(header::AUTHORIZATION, wrong)).unwrap_err().code, Code::CG310, "{wrong}");
        }
        assert!(access.caller(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_foreign_host_is_refused_on_loopback() {
        for local in ["localhost:8480", "127.0.0.1:8480", "127.0.0.1", "[::1]:8480", "LOCALHOST"] {
            assert!(check_host(&with(header::HOST, local)).is_ok(), "{local}");
        }
        for foreign in ["evil.example", "evil.example:8480", "localhost.evil.example", "10.0.0.1:8480", ""] {
            assert!(check_host(&with(header::HOST, foreign)).is_err(), "{foreign}");
        }
    }
}
