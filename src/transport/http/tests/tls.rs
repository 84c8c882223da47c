//! TLS: a certificate that isn't trusted, and a handshake that fails otherwise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

/// A certificate for localhost that signs itself, made for this test alone.
const CERTIFICATE: &str = "MIIBmzCCAUGgAwIBAgIUTqjQMHbdObEz2sxb4QwxGFppd4kwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2\
    MTEyMjAyMzAwNFoYDzIxMjYxMDI5MDIzMDA0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\
    AATjblPy7lSGBMCLgzMfd+8fwOAqfcZ2Lq7Ph/PdWxGTq2Q+GNCBP0GsvNMogEbQ4sbTn2CsPB/Jzz07L7prF6lio28wbTAdBgNV\
    HQ4EFgQUg3HTiiERbNoUYnmejcI1bTGg8PMwHwYDVR0jBBgwFoAUg3HTiiERbNoUYnmejcI1bTGg8PMwDwYDVR0TAQH/BAUwAwEB\
    /zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDSAAwRQIgA6MxjjcD4zsKJF3R/X3DpRl+ZI/HTCR9gaBs\
    zEwczb0CIQCqwmxzblADeRREg1gqao7Z2bV0OtiCdNFOhWIeE88u5Q==";
/// Its key.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglibCGTqC4SSfM/phoKDnBlkPBOhDsq4L5cbBRGHGbz2hRANCAATj\
    blPy7lSGBMCLgzMfd+8fwOAqfcZ2Lq7Ph/PdWxGTq2Q+GNCBP0GsvNMogEbQ4sbTn2CsPB/Jzz07L7prF6li";

fn server() -> rustls::ServerConnection {
    let certificate = CertificateDer::from(STANDARD.decode(CERTIFICATE).expect("base64"));
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).expect("base64")));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    rustls::ServerConnection::new(Arc::new(config)).expect("a connection")
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_a_refusal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        let mut tls = server();
        // The handshake fails by the client's alert.
        tls.complete_io(&mut stream).expect_err("the certificate is not trusted");
    });
    let outcome = Rig::new().exchange(&plan(&format!("https://localhost:{port}/"))).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "certificate_invalid"), "{:?}", outcome.detail);
    assert!(outcome.refusal);
    peer.join().expect("the peer saw what it expected");
}

#[tokio::test]
async fn a_handshake_that_fails_was_not_sent() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}/", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("it connects");
            stream.read(&mut [0; 4096]).await.expect("a greeting");
            stream.write_all(answer).await.expect("written");
        });
        let outcome = Rig::new().exchange(&plan(&url)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "tls_failed"), "{:?}", outcome.detail);
        assert!(!outcome.refusal);
    }
}
