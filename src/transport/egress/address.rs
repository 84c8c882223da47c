//! Which addresses are on the public internet, and which are somebody's inside. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks that no request goes to unless the operator names them, with what they are.
const INSIDE: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("168.63.129.16/32", "a cloud's metadata"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
];

/// What stays closed even where an allowed network holds it: credentials of the machine can be read there, or it is no one
/// host.
const NEVER: &[&str] = &[
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fd00:ec2::/32",
    "fd20:ce::/32",
    "fd00:42::/32",
    "fe80::/10",
    "ff00::/8",
];

/// The only part of IPv6 that is routed on the internet.
const GLOBAL_UNICAST: &str = "2000::/3";

/// Why an address isn't on the public internet; nothing for one that is. IPv4 in IPv6 (`::ffff:10.0.0.1`) is IPv4.
pub(super) fn inside(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let named = INSIDE.iter().find(|(network, _)| net(network).contains(&address)).map(|(_, what)| *what);
    let is_global = address.is_ipv4() || net(GLOBAL_UNICAST).contains(&address);
    named.or_else(|| (!is_global).then_some("not global"))
}

/// Whether no allowance of a network opens this address.
pub(super) fn is_never_open(address: IpAddr) -> bool {
    let address = address.to_canonical();
    NEVER.iter().any(|network| net(network).contains(&address))
}

/// The IPv4 addresses that an IPv6 one may lead to by translation or a tunnel.
pub(super) fn embedded(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address.to_canonical() else { return Vec::new() };
    let octets = v6.octets();
    let v4 = |at: [usize; 4]| IpAddr::V4(Ipv4Addr::from(at.map(|at| octets[at])));
    let last = v4([12, 13, 14, 15]);
    if net("64:ff9b::/96").contains(&address) || v6.segments()[..6] == [0; 6] && v6 != Ipv6Addr::LOCALHOST {
        vec![last]
    } else if net("64:ff9b:1::/48").contains(&address) {
        // RFC 6052, section 2.2: the network chooses how long its prefix is, and octet 8 stays empty.
        let all = [v4([6, 7, 9, 10]), v4([7, 9, 10, 11]), v4([9, 10, 11, 12]), last];
        all.into_iter().filter(|inner| !inner.is_unspecified()).collect()
    } else if net("2002::/16").contains(&address) {
        vec![v4([2, 3, 4, 5])]
    } else if net("2001::/32").contains(&address) {
        // Teredo keeps the client's address with its bits turned.
        let [a, b, c, d] = [octets[12], octets[13], octets[14], octets[15]].map(|octet| !octet);
        vec![IpAddr::V4(Ipv4Addr::new(a, b, c, d))]
    } else {
        Vec::new()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("the tables above hold networks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_of_the_tables_is_one() {
        for text in INSIDE.iter().map(|(network, _)| network).chain(NEVER) {
            let network = net(text);
            assert!(inside(network.addr()).is_some() || *text == "::/96", "{text}");
            assert!(inside(network.broadcast()).is_some(), "{text}");
        }
    }

    #[test]
    fn the_public_internet_is_open() {
        let public =
            ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "9.255.255.255"];
        let public_v6 = ["2606:4700:4700::1111", "2a00:1450::1", "2001:200::1", "2003::1", "::ffff:1.1.1.1"];
        for text in public.into_iter().chain(public_v6) {
            assert_eq!(inside(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn an_address_within_an_address_is_found() {
        for (outer, inner) in [
            ("64:ff9b::10.0.0.1", "10.0.0.1"),
            ("2002:7f00:1::", "127.0.0.1"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
            ("::10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(embedded(outer.parse().unwrap()), [inner.parse::<IpAddr>().unwrap()], "{outer}");
        }
        for (outer, inner) in [("64:ff9b:1:a00:0:100::", "10.0.0.1"), ("64:ff9b:1::10.0.0.1", "10.0.0.1")] {
            assert!(embedded(outer.parse().unwrap()).contains(&inner.parse().unwrap()), "{outer}");
        }
        assert!(embedded("2606:4700::1".parse().unwrap()).is_empty());
        assert!(embedded("::1".parse().unwrap()).is_empty());
    }
}
