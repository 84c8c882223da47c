//! `auth`, `tls` and `sign_with`: the secrets that a target's requests need, by name. Where they are and what they are worth
//! is the runtime configuration's to say.

use super::Loader;
use super::fields::{self, Fields};
use crate::record::{Auth, AuthKind, Tls};
use crate::routing::code;
use crate::routing::node::{Kind, Node};

/// Longest name of a secret, user, scope or audience.
const MAX_TEXT: usize = 512;
/// Longest name of a secret.
const MAX_NAME: usize = 128;
/// Most secrets that sign one request.
const MAX_SIGNERS: usize = 4;
const WAYS: [&str; 3] = ["basic", "bearer", "oauth2"];

impl Loader<'_> {
    /// Reads `auth`: one of `bearer`, `basic` and `oauth2`.
    pub(super) fn auth(&mut self, node: &Node) -> Option<Auth> {
        let fields = Fields::read(node, &WAYS, &[], &mut self.report)?;
        let ways: Vec<&str> = WAYS.into_iter().filter(|way| fields.get(way).is_some()).collect();
        let [way] = ways.as_slice() else {
            self.report.error(code::REQUEST, node.at, "`auth` has one of basic, bearer and oauth2");
            return None;
        };
        let value = fields.get(way)?;
        match *way {
            "bearer" => Some(Auth { secret: self.secret(value)?, ..empty(AuthKind::Bearer) }),
            "basic" => {
                let fields = Fields::read(value, &["user", "password"], &[], &mut self.report)?;
                let user = self.required_text(fields, "user");
                let secret = fields.required("password", &mut self.report).and_then(|node| self.secret(node))?;
                let user = user?;
                if user.contains(':') {
                    self.report.error(code::REQUEST, value.at, "a user holds no colon");
                }
                Some(Auth { secret, user: Some(user), ..empty(AuthKind::Basic) })
            }
            _ => self.oauth2(value),
        }
    }

    fn oauth2(&mut self, node: &Node) -> Option<Auth> {
        let legal = ["token_url", "client_id", "client_secret", "scope", "audience"];
        let fields = Fields::read(node, &legal, &[], &mut self.report)?;
        let url = fields.required("token_url", &mut self.report);
        let url = url.and_then(|node| Some((node.at, fields::text(node, &mut self.report)?)));
        let token_url = url.and_then(|(at, text)| self.literal_url(at, text));
        let user = self.required_text(fields, "client_id");
        let secret = fields.required("client_secret", &mut self.report).and_then(|node| self.secret(node));
        let mut optional = |key: &str| fields.get(key).and_then(|node| self.plain_text(node));
        let (scope, audience) = (optional("scope"), optional("audience"));
        let token_url = Some(token_url?);
        Some(Auth { secret: secret?, user: Some(user?), token_url, scope, audience, ..empty(AuthKind::Oauth2) })
    }

    /// Reads `tls`: a client certificate with its key, and certificates to trust.
    pub(super) fn tls(&mut self, node: &Node) -> Option<Tls> {
        let fields = Fields::read(node, &["certificate", "key", "ca"], &[], &mut self.report)?;
        let mut named = |key: &str| fields.get(key).and_then(|node| self.secret(node));
        let tls = Tls { certificate: named("certificate"), key: named("key"), ca: named("ca") };
        if fields.get("certificate").is_some() != fields.get("key").is_some() {
            self.report.error(code::REQUEST, node.at, "`certificate` and `key` go together");
        } else if node.entries().is_empty() {
            self.report.error(code::REQUEST, node.at, "`tls` has certificate and key, ca, or all three");
        }
        Some(tls)
    }

    /// Reads `sign_with`: the name of a secret, or a few.
    pub(super) fn sign_with(&mut self, node: &Node) -> Vec<String> {
        let Kind::List(items) = &node.kind else { return self.secret(node).into_iter().collect() };
        if !(1..=MAX_SIGNERS).contains(&items.len()) {
            let text = format!("`sign_with` names 1 to {MAX_SIGNERS} secrets");
            self.report.error(code::REQUEST, node.at, text);
        }
        items.iter().filter_map(|item| self.secret(item)).collect()
    }

    /// The name of a secret.
    pub(super) fn secret(&mut self, node: &Node) -> Option<String> {
        let name = fields::text(node, &mut self.report)?;
        let is_legal = (1..=MAX_NAME).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if is_legal {
            return Some(name.to_owned());
        }
        // What stands here may be the secret itself: it isn't repeated.
        let text = format!("the name of a secret is 1 to {MAX_NAME} characters of [A-Za-z0-9._-], the first no dot");
        let hint = "the secret itself doesn't belong here: the runtime configuration says where it is";
        self.report.error_with_hint(code::ILLEGAL_NAME, node.at, text, hint);
        None
    }

    fn required_text(&mut self, fields: Fields<'_>, key: &str) -> Option<String> {
        fields.required(key, &mut self.report).and_then(|node| self.plain_text(node))
    }

    fn plain_text(&mut self, node: &Node) -> Option<String> {
        let text = fields::text(node, &mut self.report)?;
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            let text = format!("a text of 1 to {MAX_TEXT} bytes without control characters stands here");
            self.report.error(code::REQUEST, node.at, text);
            return None;
        }
        Some(text.to_owned())
    }
}

const fn empty(kind: AuthKind) -> Auth {
    Auth { kind, secret: String::new(), user: None, token_url: None, scope: None, audience: None }
}
