//! The outbound guard: where requests may go.
//!
//! A routing document names hosts; what they lead to is decided by whoever runs the network. So the operator says in the
//! runtime configuration what is open beyond the public internet, and every address is checked where the connection is made,
//! after its name was resolved: the connection goes to an address that was checked, and to no other.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::log::BoxFuture;
use crate::record::TargetName;

mod address;

/// What is open beyond HTTPS to the public internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allowance {
    /// Networks inside that may be reached. Link-local addresses, metadata of clouds and multicast stay closed all the same.
    pub cidrs: Vec<IpNet>,
    /// Whether plain HTTP may be used.
    pub http: bool,
    /// Opens what stays closed otherwise, where `cidrs` holds it.
    pub dangerous_metadata: bool,
}

impl Allowance {
    /// Loopback, by plain HTTP: for the demo, `dev` and tests.
    pub fn loopback() -> Self {
        let cidrs = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().expect("it is a network"));
        Self { cidrs: cidrs.to_vec(), http: true, dangerous_metadata: false }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, more: &Self) -> Self {
        self.cidrs.extend(more.cidrs.iter().copied());
        self.cidrs.sort_unstable();
        self.cidrs.dedup();
        self.http |= more.http;
        self.dangerous_metadata |= more.dangerous_metadata;
        self
    }

    /// Refuses an address that isn't open.
    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let Some(what) = address::inside(address) else { return Ok(()) };
        let canonical = address.to_canonical();
        let named = self.cidrs.iter().any(|network| network.contains(&canonical));
        let inner = address::embedded(address);
        let inner_is_open = inner.into_iter().all(|inner| self.check_address(host, inner).is_ok());
        let closed = address::is_never_open(address) && !self.dangerous_metadata;
        if named && inner_is_open && !closed {
            return Ok(());
        }
        Err(Refused(format!("{host} leads to {canonical} ({what}), which is not open to this target")))
    }

    /// Refuses a URL whose scheme isn't open, that holds a user, or whose host is an address that isn't open. Names are
    /// checked once they are resolved.
    pub(super) fn check_url(&self, url: &Url) -> Result<(), Refused> {
        let refused = |why: &str| Err(Refused(why.to_owned()));
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            "http" => return refused("plain HTTP is not open to this target"),
            _ => return refused("only HTTP goes out"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("the URL holds a user");
        }
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.check_address("the host", address.into()),
            Some(url::Host::Ipv6(address)) => self.check_address("the host", address.into()),
            Some(url::Host::Domain(_)) => Ok(()),
            None => refused("the URL has no host"),
        }
    }
}

/// The guard refuses; nothing left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// The refusal among the causes of an error.
    pub(super) fn among<'a>(chain: &[&'a (dyn StdError + 'static)]) -> Option<&'a Self> {
        chain.iter().find_map(|cause| cause.downcast_ref())
    }
}

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync {
    /// The addresses, in the order in which they are tried.
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Asks the system.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What the operator allows, for all targets and for some.
#[derive(Clone)]
pub struct Egress {
    everywhere: Allowance,
    targets: BTreeMap<TargetName, Allowance>,
    proxy: Option<Url>,
    lookup: Arc<dyn Lookup>,
}

impl Egress {
    /// An allowance for all targets; more for some. With a proxy, every request goes through it, and names are
    /// resolved and refused there; addresses as hosts are checked here all the same.
    pub fn new(everywhere: Allowance, targets: BTreeMap<TargetName, Allowance>, proxy: Option<Url>) -> Self {
        Self { everywhere, targets, proxy, lookup: Arc::new(SystemLookup) }
    }

    /// HTTPS to the public internet, and nothing else.
    pub fn public_only() -> Self {
        Self::new(Allowance::default(), BTreeMap::new(), None)
    }

    /// Loopback as well, by plain HTTP: for the demo, `dev` and tests.
    pub fn with_loopback() -> Self {
        Self::new(Allowance::loopback(), BTreeMap::new(), None)
    }

    /// Finds addresses in another way.
    #[must_use]
    pub fn looking_up(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.lookup = lookup;
        self
    }

    /// What is open to a target.
    pub fn of(&self, target: &TargetName) -> Allowance {
        let more = self.targets.get(target);
        more.map_or_else(|| self.everywhere.clone(), |more| self.everywhere.clone().and(more))
    }

    /// Refuses a host of which any address isn't open to a target.
    pub(super) async fn check_host(&self, target: &TargetName, host: &str) -> Result<(), Refused> {
        let allowance = self.of(target);
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.lookup.lookup(host.to_owned()).await;
                found.map_err(|e| Refused(format!("{host} can't be resolved: {e}")))?
            }
        };
        addresses.into_iter().try_for_each(|address| allowance.check_address(host, address))
    }

    /// The proxy that every request goes through.
    pub const fn proxy(&self) -> Option<&Url> {
        self.proxy.as_ref()
    }

    /// The resolver of a client to which this is open.
    pub(super) fn resolver(&self, allowance: &Allowance) -> Guarded {
        Guarded { allowance: allowance.clone(), lookup: Arc::clone(&self.lookup), is_proxied: self.proxy.is_some() }
    }
}

/// Resolves names, and gives only addresses that are open.
pub(super) struct Guarded {
    allowance: Allowance,
    lookup: Arc<dyn Lookup>,
    /// The only name that is asked for is the proxy's, which the operator chose.
    is_proxied: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowance, is_proxied) = (self.allowance.clone(), self.is_proxied);
        let found = self.lookup.lookup(name.as_str().to_owned());
        Box::pin(async move {
            let mut open = Vec::new();
            let mut refused = None;
            for address in found.await? {
                match allowance.check_address(name.as_str(), address) {
                    Err(refusal) if !is_proxied => refused = Some(refusal),
                    _ => open.push(SocketAddr::new(address, 0)),
                }
            }
            match refused {
                Some(refusal) if open.is_empty() => Err(refusal.into()),
                _ => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(cidrs: &[&str]) -> Allowance {
        Allowance { cidrs: cidrs.iter().map(|c| c.parse().unwrap()).collect(), ..Allowance::default() }
    }

    #[test]
    fn a_network_is_opened_by_its_name_alone() {
        let inside = allowing(&["10.1.0.0/16", "fd12::/16"]);
        for (address, is_open) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("fd12::1", true),
            ("fd13::1", false),
            ("1.1.1.1", true),
        ] {
            assert_eq!(inside.check_address("h", address.parse().unwrap()).is_ok(), is_open, "{address}");
        }
    }

    #[test]
    fn metadata_stays_closed_whatever_is_opened() {
        let everything = allowing(&["0.0.0.0/0", "::/0"]);
        for address in [
            "169.254.169.254",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "64:ff9b:1:a9fe:a9:fe00::",
            "fe80::1",
            "100.100.100.200",
            "224.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            let address = address.parse().unwrap();
            assert!(everything.check_address("h", address).is_err(), "{address}");
            let dangerous = Allowance { dangerous_metadata: true, ..everything.clone() };
            assert!(dangerous.check_address("h", address).is_ok(), "{address}");
        }
        assert!(everything.check_address("h", "10.0.0.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_tunnel_leads_no_further_than_its_end() {
        let tunnel = allowing(&["64:ff9b::/96", "2002::/16"]);
        assert!(tunnel.check_address("h", "64:ff9b::1.1.1.1".parse().unwrap()).is_ok());
        assert!(tunnel.check_address("h", "64:ff9b::10.0.0.1".parse().unwrap()).is_err());
        assert!(tunnel.check_address("h", "2002:a9fe:a9fe::".parse().unwrap()).is_err());
    }

    #[test]
    fn a_target_has_what_all_have_and_its_own() {
        let own = BTreeMap::from([(TargetName::trusted("a"), allowing(&["10.0.0.0/8"]))]);
        let egress = Egress::new(Allowance::loopback(), own, None);
        let (a, b) = (egress.of(&TargetName::trusted("a")), egress.of(&TargetName::trusted("b")));
        assert!(a.http && a.check_address("h", "10.0.0.1".parse().unwrap()).is_ok());
        assert!(b.check_address("h", "127.0.0.1".parse().unwrap()).is_ok());
        assert!(b.check_address("h", "10.0.0.1".parse().unwrap()).is_err());
    }
}
