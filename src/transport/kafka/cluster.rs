//! What a cluster is found to be before the first record goes there: whether it is our own under another name, and where its
//! brokers are.
//!
//! A client begins at the addresses that the operator wrote down and goes on to those that the brokers advertise. Whoever runs a
//! broker decides those, so they pass the outbound guard like the hosts of a URL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::producer::Producer as _;

use super::ClientSettings;
use super::delivery::Producer;
use crate::record::TargetName;
use crate::transport::{Allowance, Egress, Exchange};

/// How long what was found holds: brokers come and go.
const HOLDS: Duration = Duration::from_mins(1);
/// How long a cluster may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Findings that are kept.
const MAX_FOUND: usize = 256;

/// What was found of a cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Whether it is the cluster of the log.
    pub(super) is_own: bool,
    at: Instant,
}

/// What was found of the clusters.
#[derive(Clone, Default)]
pub(super) struct Clusters {
    found: Arc<Mutex<BTreeMap<(String, Allowance), Found>>>,
    own_id: Arc<Mutex<Option<String>>>,
}

impl Clusters {
    /// Finds out what the cluster `name` is. `own` is a producer of the log's cluster, where there is one.
    ///
    /// The error says why nothing can go there, which is so before anything has left.
    pub(super) async fn admit(
        &self,
        (name, settings): (&str, &ClientSettings),
        (producer, own): (&Producer, Option<&Producer>),
        (egress, target): (&Egress, &TargetName),
        left: Duration,
    ) -> Result<Found, Exchange> {
        let place = (name.to_owned(), egress.of(target));
        let known = self.found.lock().expect("nothing panics while it is held").get(&place).copied();
        if let Some(found) = known.filter(|found| found.at.elapsed() < HOLDS) {
            return Ok(found);
        }
        let (patience, own_id) = (PATIENCE.min(left), Arc::clone(&self.own_id));
        let (producer, own) = (producer.clone(), own.cloned());
        let asked = tokio::task::spawn_blocking(move || ask(&producer, own.as_ref(), &own_id, patience)).await;
        let (is_own, brokers) = asked.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))?;
        let written_down = hosts(settings);
        for host in brokers.into_iter().filter(|host| !written_down.contains(host)) {
            egress.check_host(target, &host).await.map_err(|refused| {
                let detail = format!("a broker of the cluster {name} advertises an address that isn't open: {refused}");
                Exchange::NotSent { code: "egress_refused", detail }
            })?;
        }
        let found = Found { is_own, at: Instant::now() };
        let mut all = self.found.lock().expect("nothing panics while it is held");
        if all.len() >= MAX_FOUND {
            all.clear();
        }
        all.insert(place, found);
        Ok(found)
    }
}

/// Whether a cluster is our own, and the hosts of its brokers.
fn ask(
    producer: &Producer,
    own: Option<&Producer>,
    own_id: &Mutex<Option<String>>,
    patience: Duration,
) -> Result<(bool, BTreeSet<String>), Exchange> {
    let silent = |which: &str| {
        let detail = format!("{which} doesn't say what it is within {patience:?}");
        Exchange::NotSent { code: "not_taken", detail }
    };
    let client = producer.client();
    let metadata = client.fetch_metadata(None, patience).map_err(|_| silent("the cluster"))?;
    let hosts = metadata.brokers().iter().map(|broker| broker.host().to_owned()).collect();
    let Some(own) = own else { return Ok((false, hosts)) };
    let id = client.fetch_cluster_id(patience).ok_or_else(|| silent("the cluster"))?;
    let known = own_id.lock().expect("nothing panics while it is held").clone();
    let own_is = match known {
        Some(known) => known,
        None => own.client().fetch_cluster_id(patience).ok_or_else(|| silent("the log's cluster"))?,
    };
    let is_own = own_is == id;
    *own_id.lock().expect("nothing panics while it is held") = Some(own_is);
    Ok((is_own, hosts))
}

/// The hosts that the operator wrote down.
fn hosts(settings: &ClientSettings) -> BTreeSet<String> {
    let servers = ["bootstrap.servers", "metadata.broker.list"].into_iter().filter_map(|name| settings.get(name));
    servers.flat_map(|list| list.split(',')).map(host).collect()
}

/// The host of `protocol://host:port`, of which protocol and port may be missing.
fn host(server: &str) -> String {
    let server = server.trim();
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6.to_owned(),
        None => server.rsplit_once(':').map_or(server, |(name, _)| name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_a_list_of_servers_are_found() {
        let list = "a.example:9092, SSL://b.example:9093,[::1]:9094,10.0.0.1";
        let settings = ClientSettings::from([("bootstrap.servers".into(), list.into())]);
        let expected = ["10.0.0.1", "::1", "a.example", "b.example"].map(str::to_owned);
        assert_eq!(hosts(&settings), BTreeSet::from(expected));
    }
}
