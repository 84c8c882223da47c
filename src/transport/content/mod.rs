//! The bytes of an announced file: opened where its manifest says they are, as a stream that ends well only if they are what
//! was announced.
//!
//! A local file is opened only below the roots that the configuration names, and no link leads out of one. HTTP(S) and the
//! stores of clouds go through the outbound guard like every request: the same client, the same addresses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::egress::Egress;
use super::http::Clients;
use super::secrets::Secrets;
use crate::record::{Fetch, FileManifest, OutcomeKind, TargetName};

mod local;
mod stores;
#[cfg(test)]
mod tests;
mod verified;
mod web;

pub use verified::{Found, Opened};
pub use web::fault_of_status;

/// What a manifest says of the file that it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// URI of the bytes: `file`, `http`, `https`, and the schemes of the stores that this build has.
    pub location: String,
    /// Size in bytes; `None` for any up to `max_size`.
    pub size: Option<u64>,
    /// `sha256:` and 64 hex digits; `None` where nothing is known of the bytes.
    pub digest: Option<String>,
    /// Most bytes that are read.
    pub max_size: u64,
}

impl Announced {
    /// What an arrival announces of a file that is fetched.
    pub fn of(manifest: &FileManifest, fetch: &Fetch) -> Self {
        Self {
            location: manifest.location.clone().unwrap_or_default(),
            size: manifest.size.and_then(|size| u64::try_from(size).ok()),
            digest: manifest.checksum.clone(),
            max_size: u64::try_from(fetch.max_size).unwrap_or(0),
        }
    }

    /// Whether it says of itself that it is too large.
    fn check_itself(&self) -> Result<(), Fault> {
        if self.size.is_some_and(|size| size > self.max_size) {
            let detail = format!("{} bytes are announced, more than {}", shown(self.size), self.max_size);
            return Err(Fault::last("too_large", detail));
        }
        Ok(())
    }
}

/// What to do about a file whose bytes can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asking again leads to the same end: it is missing, forbidden, too large, or another file than announced.
    Final,
    /// Asking again later may help. With the time to wait that the server asked for, in milliseconds.
    Transient(Option<i64>),
}

/// Why the bytes of a file can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// What to do about it.
    pub kind: Kind,
    /// One of the codes of `docs/content.md`.
    pub code: &'static str,
    /// In words; expected and found for a file that is another one.
    pub detail: String,
}

impl Fault {
    /// As what it is reported, with the time to wait that the place asked for, in milliseconds.
    pub const fn outcome(&self) -> (OutcomeKind, Option<i64>) {
        match self.kind {
            Kind::Final => (OutcomeKind::Rejected, None),
            Kind::Transient(after) => (OutcomeKind::Retryable, after),
        }
    }

    pub(super) fn last(code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Final, code, detail: detail.into() }
    }

    pub(super) fn transient(code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Transient(None), code, detail: detail.into() }
    }
}

/// Where files may lie, beside HTTP(S) under the guard of every request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Directories below which local files may be opened; none for no local files.
    pub roots: Vec<PathBuf>,
    /// Options of the stores `s3`, `gcs` and `azure`, as `object_store` names them; a value `secret:NAME` is that secret's.
    pub stores: BTreeMap<String, BTreeMap<String, String>>,
}

/// Opens announced files. Clones share their connections.
#[derive(Clone)]
pub struct Contents {
    shared: Arc<Shared>,
}

struct Shared {
    places: Places,
    clients: Clients,
    /// What the guard opens for files is what it opens for everyone: no target can have this name.
    nobody: TargetName,
}

/// Where the parts of a file come from.
enum Source {
    /// From a thread that reads a local file.
    Local(tokio::sync::mpsc::Receiver<Result<Bytes, Fault>>),
    /// From an HTTP answer.
    Web(Box<reqwest::Response>),
    /// From a store.
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    Store(stores::Parts),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Local(parts) => parts.recv().await.transpose(),
            Self::Web(response) => web::next(response).await,
            #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
            Self::Store(parts) => parts.next().await,
        }
    }
}

impl Contents {
    /// Prepares the ways to files. A connection takes no longer than `connect_timeout`, name look-up and TLS included.
    pub fn new(places: Places, egress: Egress, secrets: Secrets, connect_timeout: Duration) -> Self {
        let clients = Clients::new(egress, secrets, connect_timeout);
        Self { shared: Arc::new(Shared { places, clients, nobody: TargetName::trusted("") }) }
    }

    /// Opens a file. What was announced of it is checked while it is read, its size before that where the place tells it.
    ///
    /// Takes as long as the place does: the caller bounds it, and the reading too. Nothing is read ahead but one part.
    pub async fn open(&self, announced: Announced) -> Result<Opened, Fault> {
        announced.check_itself()?;
        let refused = |detail: String| Err(Fault::last("location_refused", detail));
        let Ok(url) = Url::parse(&announced.location) else {
            return refused(format!("`{}` is no absolute URI", announced.location));
        };
        let (source, size) = match url.scheme() {
            "file" => local::open(&self.shared.places.roots, &url).await?,
            "http" | "https" => self.shared.fetch(url).await?,
            scheme => match stores::of_scheme(scheme) {
                Some(store) => stores::open(&self.shared, store, &url).await?,
                None => return refused(format!("nothing opens the scheme `{scheme}`")),
            },
        };
        Opened::new(source, announced, size)
    }
}

fn shown(size: Option<u64>) -> String {
    size.map_or_else(|| "an unknown number of".to_owned(), |size| size.to_string())
}
