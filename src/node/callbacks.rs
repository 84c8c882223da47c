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
        let name = key_of(&known, bundle, target)?;
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

/// The name of a receiver's key. A document is read once.
fn key_of(known: &Mutex<Option<Keys>>, bundle: &RoutingBundle, target: &TargetName) -> Option<String> {
    let mut known = known.lock().expect("nothing panics while it is held");
    if known.as_ref().is_none_or(|(digest, _)| *digest != bundle.digest) {
        let loaded = routing::load(&Sources::from(bundle)).ok()?;
        let key = |name: &TargetName| loaded.document.target(name.as_str())?.policy.confirmed_by.verify_with.clone();
        let keys = loaded.document.targets().into_iter().filter_map(|t| Some((t.name.clone(), key(&t.name)?)));
        *known = Some((bundle.digest.clone(), keys.collect()));
    }
    known.as_ref()?.1.get(target).cloned()
}
