//! By what the gateway believes callbacks: the token of the dispatch, and the receiver's signature where the routing document
//! by which the file was planned names a key for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::gateway::{CallbackChecks, CallbackLimits, CallbackRule};
use crate::record::{Confirmation, RoutingBundle, TargetName};
use crate::routing::{self, Receipt, Sources};
use crate::transport::{AckTokens, Clock, Secrets, sign};

/// Documents whose rules are kept; files under way were planned by few.
const MAX_DOCUMENTS: usize = 32;

/// What documents say of their targets, by digest.
type Known = BTreeMap<String, BTreeMap<TargetName, CallbackRule>>;

/// The checks of a process.
pub(super) fn checks(tokens: Arc<AckTokens>, secrets: Secrets, clock: Clock, limits: CallbackLimits) -> CallbackChecks {
    let known: Mutex<Known> = Mutex::default();
    let signature = move |key_name: &str, signed: [Option<&str>; 3], body: &[u8]| {
        sign::verify_named((&secrets, key_name), signed, body, clock()).unwrap_or_else(|why| {
            tracing::error!("a callback can't be verified: {why}");
            false
        })
    };
    let seals = Arc::clone(&tokens);
    CallbackChecks {
        token: Arc::new(move |key, token| tokens.check(key, token)),
        receipt: Arc::new(move |key, digest, seal| seals.is_sealed(key, digest, seal)),
        rule: Arc::new(move |bundle, target| rule_of(&known, bundle, target)),
        signature: Arc::new(signature),
        limits,
    }
}

/// What a document says of a target. A document is read once. The error says that it is of another version of consign: what it
/// asks for isn't known here.
fn rule_of(known: &Mutex<Known>, bundle: &RoutingBundle, target: &TargetName) -> Result<Option<CallbackRule>, String> {
    let mut known = known.lock().expect("nothing panics while it is held");
    if !known.contains_key(&bundle.digest) {
        let loaded = routing::load(&Sources::from(bundle));
        let loaded = loaded.map_err(|_| format!("the routing document {} can't be loaded", bundle.digest))?;
        let rule = |name: &TargetName| {
            let policy = &loaded.document.target(name.as_str())?.policy;
            let confirmed_by = &policy.confirmed_by;
            let confirms = confirmed_by.by == Confirmation::Callback;
            let receipt = policy.receipt == Receipt::Digest;
            Some(CallbackRule { confirms, verify_with: confirmed_by.verify_with.clone(), receipt })
        };
        let rules = loaded.document.targets().into_iter().filter_map(|t| Some((t.name.clone(), rule(&t.name)?)));
        let rules = rules.collect();
        if known.len() >= MAX_DOCUMENTS {
            known.clear();
        }
        known.insert(bundle.digest.clone(), rules);
    }
    Ok(known.get(&bundle.digest).and_then(|rules| rules.get(target)).cloned())
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
        assert!(rule_of(&Mutex::default(), &bundle, &TargetName::trusted("a")).is_err());
    }
}
