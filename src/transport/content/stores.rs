//! Files in the stores of clouds, each behind a Cargo feature of its name. The stores' own client is ours: whatever it asks for
//! passes the outbound guard, the metadata of the machine included.

use reqwest::Url;

use super::{Fault, Shared, Source};

/// The store that a scheme names, and so the Cargo feature and the table of `[content.stores]`.
pub(super) fn of_scheme(scheme: &str) -> Option<&'static str> {
    match scheme {
        "s3" => Some("s3"),
        "gs" => Some("gcs"),
        "az" => Some("azure"),
        _ => None,
    }
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
#[allow(clippy::unused_async)]
pub(super) async fn open(_: &Shared, store: &str, _: &Url) -> Result<(Source, Option<u64>), Fault> {
    Err(not_built(store))
}

fn not_built(store: &str) -> Fault {
    Fault::last("location_refused", format!("this consign is built without the feature `{store}`"))
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(super) use built::{Parts, open};

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod built {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;
    use object_store::client::{
        ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    };
    use object_store::path::Path;
    use object_store::{Error, ObjectStore, ObjectStoreExt, RetryConfig};

    use super::{Fault, Shared, Source, Url, not_built};
    use crate::transport::egress::{Allowance, Refused};
    use crate::transport::http::{Wire, chain};

    /// How a value of an option names a secret.
    const SECRET: &str = "secret:";

    /// The parts of an object.
    pub(in super::super) struct Parts(BoxStream<'static, object_store::Result<Bytes>>);

    impl Parts {
        pub(in super::super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
            let next = self.0.next().await.transpose();
            next.map_err(|e| Fault::transient("broken_off", e.to_string()))
        }
    }

    /// Our client. A host that is an address is checked here, a name where it is resolved.
    #[derive(Debug, Clone)]
    struct Guarded {
        client: reqwest::Client,
        allowance: Allowance,
    }

    impl HttpConnector for Guarded {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.clone()))
        }
    }

    #[async_trait::async_trait]
    impl HttpService for Guarded {
        async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
            let url = request.uri().to_string().parse::<Url>();
            let url = url.map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
            self.allowance.check_url(&url).map_err(|refused| HttpError::new(HttpErrorKind::Unknown, refused))?;
            self.client.call(request).await
        }
    }

    /// Opens an object. Also gives its size.
    pub(in super::super) async fn open(
        shared: &Shared,
        store: &str,
        url: &Url,
    ) -> Result<(Source, Option<u64>), Fault> {
        let client = shared.clients.of(&shared.nobody, None, Wire::Any).await;
        let client = client.map_err(|unsent| Fault::transient("unreachable", format!("{unsent:?}")))?;
        let mut options = shared.places.stores.get(store).cloned().unwrap_or_default();
        for value in options.values_mut() {
            if let Some(name) = value.strip_prefix(SECRET) {
                let secret = shared.clients.secrets.fetch(name).await;
                let secret = secret.map_err(|e| Fault::transient("secret_missing", e.to_string()))?;
                let text = secret.current.text().map(str::to_owned);
                *value = text.ok_or_else(|| unusable(&format!("the secret `{name}` is no text")))?;
            }
        }
        let allowance = shared.clients.egress.of(&shared.nobody);
        let opened = build(store, url, &options, Guarded { client, allowance })?;
        let refused = |e| Fault::last("location_refused", format!("the location names no object: {e}"));
        let path = Path::from_url_path(url.path()).map_err(refused)?;
        let found = opened.get(&path).await.map_err(|e| fault(&e))?;
        let size = found.meta.size;
        Ok((Source::Store(Parts(found.into_stream())), Some(size)))
    }

    fn build(
        store: &str,
        url: &Url,
        options: &BTreeMap<String, String>,
        guarded: Guarded,
    ) -> Result<Arc<dyn ObjectStore>, Fault> {
        let Some(bucket) = url.host_str() else {
            return Err(Fault::last("location_refused", "the location names no bucket"));
        };
        // An attempt is one request; the engine decides when the next one is due.
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        macro_rules! built {
            ($builder:ty, $key:ty, $bucket:ident) => {{
                let mut builder = <$builder>::default().with_http_connector(guarded).with_retry(once);
                for (name, value) in options {
                    let key: $key = name.parse().map_err(|_| unusable(&format!("no option `{name}`")))?;
                    builder = builder.with_config(key, value);
                }
                let built = builder.$bucket(bucket).build().map_err(|e| unusable(&e.to_string()))?;
                Ok(Arc::new(built) as Arc<dyn ObjectStore>)
            }};
        }
        match store {
            #[cfg(feature = "s3")]
            "s3" => built!(object_store::aws::AmazonS3Builder, object_store::aws::AmazonS3ConfigKey, with_bucket_name),
            #[cfg(feature = "gcs")]
            "gcs" => built!(
                object_store::gcp::GoogleCloudStorageBuilder,
                object_store::gcp::GoogleConfigKey,
                with_bucket_name
            ),
            #[cfg(feature = "azure")]
            "azure" => built!(
                object_store::azure::MicrosoftAzureBuilder,
                object_store::azure::AzureConfigKey,
                with_container_name
            ),
            _ => Err(not_built(store)),
        }
    }

    /// The operator's options: mended there, so that asking again helps.
    fn unusable(why: &str) -> Fault {
        Fault::transient("store_unusable", format!("[content.stores]: {why}"))
    }

    fn fault(e: &Error) -> Fault {
        if let Some(refused) = Refused::among(&chain(e)) {
            return Fault::last("location_refused", refused.to_string());
        }
        match e {
            Error::NotFound { .. } => Fault::last("missing", "the store has no such object"),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                Fault::last("forbidden", "the store refuses the credentials")
            }
            Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
                Fault::last("refused", e.to_string())
            }
            _ => Fault::transient("unavailable", e.to_string()),
        }
    }
}
