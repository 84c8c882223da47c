//! Where requests may not go, and that nothing goes there.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use super::*;
use crate::log::BoxFuture;
use crate::transport::{Allowance, Lookup};

/// Names with fixed addresses, and how often each was asked for.
struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

impl Lookup for Names {
    fn lookup(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let found = self.addresses.get(name.trim_end_matches('.')).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name in the table")) })
    }
}

struct Row {
    url: String,
    addresses: Vec<IpAddr>,
}

fn rows(port: u16) -> Vec<Row> {
    let table = include_str!("refused.txt");
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (url, addresses) = line.split_once(" | ").unwrap_or((line, ""));
            let addresses = addresses.split(", ").filter(|text| !text.is_empty());
            Row {
                url: url.replace("{port}", &port.to_string()),
                addresses: addresses.map(|text| text.parse().expect("an address")).collect(),
            }
        })
        .collect()
}

/// A listener on every address of this machine, and how many connections it saw.
async fn everywhere() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("[::]:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(response("200 OK", "connection: close\r\n", "ok").as_bytes()).await;
            });
        }
    });
    (port, connections)
}

fn guarded(row: &Row, everywhere: Allowance) -> Rig {
    let mut addresses = BTreeMap::new();
    if let Some(host) = url::Url::parse(&row.url).ok().and_then(|url| url.host_str().map(str::to_owned)) {
        addresses.insert(host.trim_end_matches('.').to_owned(), row.addresses.clone());
    }
    let egress = Egress::new(everywhere, BTreeMap::new(), None).looking_up(Arc::new(Names { addresses }));
    Rig::over(&[], wall_clock(), |parts| parts.egress = egress)
}

#[tokio::test]
async fn no_row_of_the_table_makes_a_connection() {
    let (port, connections) = everywhere().await;
    let rows = rows(port);
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for row in &rows {
        let outcome = guarded(row, Allowance { http: true, ..Allowance::default() }).exchange(&plan(&row.url)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "egress_refused"), "{}: {:?}", row.url, outcome.detail);
        assert!(!outcome.refusal, "{}", row.url);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_the_operator_opens_is_reached() {
    let (port, connections) = everywhere().await;
    let mut reached = 0;
    for row in rows(port) {
        let all_loopback = !row.addresses.is_empty()
            && row
                .addresses
                .iter()
                .all(|address| address.to_canonical().is_ipv4() && address.to_canonical().is_loopback());
        if !row.url.starts_with("http://") || !all_loopback || row.url.contains('@') {
            continue;
        }
        let outcome = guarded(&row, Allowance::loopback()).exchange(&plan(&row.url)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "{}: {:?}", row.url, outcome.detail);
        reached += 1;
    }
    assert!(reached >= 5);
    assert_eq!(connections.load(Ordering::SeqCst), reached);
}

#[tokio::test]
async fn only_the_open_addresses_of_a_name_are_tried() {
    let (port, connections) = everywhere().await;
    let url = format!("http://mixed.example:{port}/");
    let row =
        Row { url: url.clone(), addresses: ["10.0.0.1", "127.0.0.1"].map(|a| a.parse().expect("an address")).to_vec() };
    let outcome = guarded(&row, Allowance::loopback()).exchange(&plan(&url)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "{:?}", outcome.detail);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn plain_http_goes_out_by_allowance_only() {
    let (port, connections) = everywhere().await;
    let row = Row { url: format!("http://127.0.0.1:{port}/"), addresses: vec![] };
    let only_https = Allowance { http: false, ..Allowance::loopback() };
    let outcome = guarded(&row, only_https).exchange(&plan(&row.url)).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "egress_refused"), "{:?}", outcome.detail);
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_proxy_gets_every_request_and_addresses_are_still_refused() {
    let proxy = Peer::start([Act::Answer(response("200 OK", "", "ok"))]).await;
    let address = format!("http://127.0.0.1:{}", proxy.port).parse().expect("a URL");
    let egress = Egress::new(Allowance { http: true, ..Allowance::default() }, BTreeMap::new(), Some(address));
    let mut rig = Rig::over(&[], wall_clock(), |parts| parts.egress = egress);
    let outcome = rig.exchange(&plan("http://target.example/in")).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Succeeded, "http_200"), "{:?}", outcome.detail);
    assert!(split(&proxy.requests(1).await[0]).0.starts_with("POST http://target.example/in HTTP/1.1"));
    let outcome = rig.exchange(&plan("http://169.254.169.254/")).await;
    assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "egress_refused"));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_our_credentials_is_a_refusal() {
    let refuses =
        || Act::AnswerAndClose(response("407 Proxy Authentication Required", "proxy-authenticate: Basic\r\n", ""));
    let proxy = Peer::start([refuses(), refuses()]).await;
    let address = format!("http://127.0.0.1:{}", proxy.port).parse().expect("a URL");
    let egress = Egress::new(Allowance { http: true, ..Allowance::default() }, BTreeMap::new(), Some(address));
    let mut rig = Rig::over(&[], wall_clock(), |parts| parts.egress = egress);
    for url in ["https://target.example/in", "http://target.example/in"] {
        let outcome = rig.exchange(&plan(url)).await;
        assert_eq!(judged(&outcome), (OutcomeKind::Retryable, "http_407"), "{url}: {:?}", outcome.detail);
        assert!(outcome.refusal, "{url}");
    }
}
