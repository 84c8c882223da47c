//! HTTP clients: one for all targets to which the same is open and that show and trust the same certificates, so that a
//! connection is never used by a target that might not have opened it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy};
use sha2::{Digest, Sha256};

use super::exchange::causes;
use super::late::GateLayer;
use super::unsent::Unsent;
use crate::record::{TargetName, Tls};
use crate::transport::egress::{Allowance, Egress};
use crate::transport::secrets::Secrets;

/// How long an idle connection is kept. Shorter than what servers commonly wait before they close one, because a request
/// that meets a closing connection has an unknown fate.
const POOL_IDLE: Duration = Duration::from_secs(3);
/// Most headers of an answer.
const MAX_HEADERS: usize = 100;
/// Most bytes of an answer's headers over HTTP/2.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Clients that are kept; a routing document leads to fewer.
const MAX_CLIENTS: usize = 1_024;

/// How a client's connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::transport) enum Wire {
    /// HTTP/1.1, one request for each connection, see [`super::late`].
    Single,
    /// HTTP/1.1, where head and body leave together, once the gate has let them.
    Http1,
    /// HTTP/2 where the target speaks it, see [`super::gate`].
    Any,
}

/// What a client is made for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    allowance: Allowance,
    /// SHA-256 over the certificates and keys in force, so that replaced ones make another client.
    tls: Option<[u8; 32]>,
    wire: Wire,
}

/// The clients of a process.
pub(in crate::transport) struct Clients {
    pub(in crate::transport) egress: Egress,
    pub(in crate::transport) secrets: Secrets,
    pub(super) connect_timeout: Duration,
    /// Trusted beside the system's roots.
    pub(super) also_trusted: Vec<Certificate>,
    known: Mutex<BTreeMap<Kind, Client>>,
}

impl Clients {
    pub(in crate::transport) fn new(egress: Egress, secrets: Secrets, connect_timeout: Duration) -> Self {
        crate::transport::set_up_tls();
        Self { egress, secrets, connect_timeout, also_trusted: Vec::new(), known: Mutex::default() }
    }

    /// The client for a target's requests.
    pub(in crate::transport) async fn of(
        &self,
        target: &TargetName,
        tls: Option<&Tls>,
        wire: Wire,
    ) -> Result<Client, Unsent> {
        let pems = match tls {
            Some(tls) => Some(Pems::read(tls, &self.secrets).await?),
            None => None,
        };
        let kind = Kind { allowance: self.egress.of(target), tls: pems.as_ref().map(Pems::digest), wire };
        if let Some(client) = self.known.lock().expect("nothing panics while it is held").get(&kind) {
            return Ok(client.clone());
        }
        let client = self.make(&kind, pems.as_ref()).map_err(|why| Unsent::Invalid { detail: why })?;
        let mut known = self.known.lock().expect("nothing panics while it is held");
        if known.len() >= MAX_CLIENTS {
            known.clear();
        }
        known.insert(kind, client.clone());
        Ok(client)
    }

    /// A client that sends what it is told, once: no redirects, no retries, no cookies, no proxies from the environment.
    ///
    /// The roots of trust are the system's. Where there are none, every certificate is invalid and plain HTTP works.
    fn make(&self, kind: &Kind, pems: Option<&Pems>) -> Result<Client, String> {
        let builder = || -> Result<ClientBuilder, String> {
            let mut builder = Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .dns_resolver(Arc::new(self.egress.resolver(&kind.allowance)))
                .connect_timeout(self.connect_timeout)
                .http1_max_headers(MAX_HEADERS)
                .http2_max_header_list_size(MAX_HEADER_BYTES)
                .pool_idle_timeout(POOL_IDLE);
            if let Some(proxy) = self.egress.proxy() {
                builder = builder.proxy(Proxy::all(proxy.clone()).map_err(|e| format!("the proxy: {e}"))?);
            }
            builder = match kind.wire {
                Wire::Single => builder.http1_only().pool_max_idle_per_host(0).connector_layer(GateLayer),
                Wire::Http1 => builder.http1_only(),
                Wire::Any => builder,
            };
            if let Some(identity) = pems.and_then(|pems| pems.identity.as_ref()) {
                let identity = Identity::from_pem(identity);
                builder = builder.identity(identity.map_err(|_| "the client certificate and its key are no PEM")?);
            }
            Ok(builder)
        };
        if let Some(ca) = pems.and_then(|pems| pems.ca.as_ref()) {
            let roots = Certificate::from_pem_bundle(ca).map_err(|_| "the certificates to trust are no PEM")?;
            if roots.is_empty() {
                return Err("the certificates to trust are no PEM".into());
            }
            return builder()?.tls_certs_only(roots).build().map_err(|e| causes(&e));
        }
        let of_system = builder()?.tls_certs_merge(self.also_trusted.iter().cloned()).build();
        of_system.or_else(|e| {
            let why = causes(&e);
            tracing::warn!("the system's roots of trust can't be used, no certificate will be valid: {why}");
            builder()?.tls_certs_only([]).build().map_err(|e| causes(&e))
        })
    }
}

/// What a target's `tls` names, read.
struct Pems {
    /// The client's certificates and key.
    identity: Option<Vec<u8>>,
    /// The only certificates to trust.
    ca: Option<Vec<u8>>,
}

impl Pems {
    async fn read(tls: &Tls, secrets: &Secrets) -> Result<Self, Unsent> {
        let identity = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => {
                let mut pem = secrets.fetch(certificate).await?.current.bytes().to_vec();
                pem.push(b'\n');
                pem.extend_from_slice(secrets.fetch(key).await?.current.bytes());
                Some(pem)
            }
            _ => None,
        };
        let ca = match &tls.ca {
            Some(name) => Some(secrets.fetch(name).await?.current.bytes().to_vec()),
            None => None,
        };
        Ok(Self { identity, ca })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for pem in [&self.identity, &self.ca] {
            let pem = pem.as_deref().unwrap_or_default();
            digest.update((pem.len() as u64).to_be_bytes());
            digest.update(pem);
        }
        digest.finalize().into()
    }
}
