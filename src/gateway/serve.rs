//! Connections: how many, over what, and how long each may take for what. A client that is slow in anything is cut off, so that it
//! takes nobody's place.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use super::{GatewayError, flagged};

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, idle time on a kept connection included.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may leave what is written to it unread.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1_024;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How often the certificate's files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The pause after a connection that the system couldn't accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the gateway's certificate and key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to a root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate that is read anew when its files change.
pub(super) struct Certificate {
    files: TlsFiles,
    /// What was read last, and what is in force.
    current: RwLock<(Vec<u8>, Arc<rustls::ServerConfig>)>,
}

impl Certificate {
    /// Reads the files. The error says what is wrong with which.
    pub(super) fn read(files: TlsFiles) -> Result<Self, GatewayError> {
        // An error means that the process has a provider already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (pems, config) = load(&files, None).map_err(GatewayError::Tls)?.expect("nothing was read before");
        Ok(Self { files, current: RwLock::new((pems, config)) })
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).1))
    }

    /// Takes in files that have changed. What can't be used leaves the certificate in force.
    fn look(&self) {
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone();
        match load(&self.files, Some(&known)) {
            Ok(None) => {}
            Ok(Some(new)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!("the gateway's new certificate is in force");
            }
            Err(why) => tracing::error!("the gateway goes on with its old certificate: {why}"),
        }
    }
}

type Loaded = (Vec<u8>, Arc<rustls::ServerConfig>);

/// The files' bytes and what they make; nothing if they are as `known`.
fn load(files: &TlsFiles, known: Option<&[u8]>) -> Result<Option<Loaded>, String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let (certificates, key) = (read(&files.certificate)?, read(&files.key)?);
    let both = [certificates.as_slice(), b"\n", key.as_slice()].concat();
    if known == Some(&both) {
        return Ok(None);
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{}: no certificate in PEM", files.certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: no certificate in PEM", files.certificate.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| format!("{}: no key in PEM", files.key.display()))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.map_err(|e| format!("the certificate and the key can't be used together: {e}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some((both, Arc::new(config))))
}

/// Looks at the certificate's files until the gateway stops.
pub(super) async fn keep_fresh(certificate: Arc<Certificate>, stopping: watch::Receiver<bool>) {
    let looking = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let certificate = Arc::clone(&certificate);
            if tokio::task::spawn_blocking(move || certificate.look()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = flagged(stopping) => {}
    }
}

/// Answers requests until the flag is up, and those under way to their end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: Option<Arc<Certificate>>,
    stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = flagged(stopping.clone()) => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor());
                tokio::spawn(connection(stream, acceptor, router.clone(), graceful.watcher(), place));
            }
            Err(e) => {
                tracing::warn!("a connection can't be accepted: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
    _place: OwnedSemaphorePermit,
) {
    // Small answers, such as the head of a refusal, aren't held back for more.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    let stream = Box::pin(stream);
    let Some(acceptor) = acceptor else { return requests(stream, router, watcher).await };
    match tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router, watcher).await,
        Ok(Err(e)) => tracing::debug!("a TLS handshake failed: {e}"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, router: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(e) = watcher.watch(connection).await {
        tracing::debug!("a connection ended: {e}");
    }
}
