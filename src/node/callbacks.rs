//! By what the gateway believes callbacks: the token of the dispatch, and the receiver's signature where the routing document
//! in force names a key for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::gateway::CallbackChecks;
use crate::record::{RoutingBundle, TargetName};
use crate::routing::{self, Sources};
use crate::transport::{AckTokens, Clock, Secrets, sign};

/// The receivers' keys by name, of the document with this digest.
type Keys = (String, BTreeMap<TargetName, String>);

/// The checks of a process.
pub(super) fn checks(tokens: Arc<AckTokens>, secrets: Secrets, clock: Clock) -> CallbackChecks {
    let known: Mutex<Option<Keys>> = Mutex::default();
    let signature = move |bundle: &RoutingBundle, target: &TargetName, signed: [Option<&str>; 3], body: &[u8]| {
        let name = match key_of(&known, bundle, target) {
            Ok(name) => name?,
            Err(Unloadable) => {
                tracing::error!(%target, "a callback can't be verified: the document in force can't be loaded (CG209)");
                return Some(false);
            }
        };
        let [Some(id), Some(time), Some(signatures)] = signed else { return Some(false) };
        match secrets.read(&name) {
            Ok(keys) => Some(sign::verify((id, time, signatures), body, clock(), keys.all())),
            Err(why) => {
                tracing::error!(%target, "a callback can't be verified: {why}");
                Some(false)
            }
        }
    };
    CallbackChecks { token: Arc::new(move |key, token| tokens.check(key, token)), signature: Arc::new(signature) }
}

/// The document in force is of another version of consign: what it says of keys isn't known here.
#[derive(Debug, PartialEq)]
struct Unloadable;

/// The name of a receiver's key, if the document names one. A document is read once.
fn key_of(
    known: &Mutex<Option<Keys>>,
    bundle: &RoutingBundle,
    target: &TargetName,
) -> Result<Option<String>, Unloadable> {
    let mut known = known.lock().expect("nothing panics while it is held");
    if known.as_ref().is_none_or(|(digest, _)| *digest != bundle.digest) {
        let loaded = routing::load(&Sources::from(bundle)).map_err(|_| Unloadable)?;
        let key = |name: &TargetName| loaded.document.target(name.as_str())?.policy.confirmed_by.verify_with.clone();
        let keys = loaded.document.targets().into_iter().filter_map(|t| Some((t.name.clone(), key(&t.name)?)));
        *known = Some((bundle.digest.clone(), keys.collect()));
    }
    Ok(known.as_ref().and_then(|(_, keys)| keys.get(target).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_cannot_be_loaded_lets_no_report_in() {
        let bundle = RoutingBundle {
            digest: "sha256:newer".into(),
            name: "routing.yaml".into(),
            document: "a_newer_grammar: true".into(),
            files: BTreeMap::new(),
        };
        assert_eq!(key_of(&Mutex::default(), &bundle, &TargetName::trusted("a")), Err(Unloadable));
    }
}
