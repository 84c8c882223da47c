use super::super::kafka::kafka_options;
use super::*;
use crate::record::TargetName;

/// Every key with another value than the default's.
const EVERY_KEY: &str = r#"
[process]
instance = "node-a"
workers = 3
roles = ["engine"]
stop_within = "7s"
max_clock_skew = "3s"
[kafka]
bootstrap = "127.0.0.1:1,127.0.0.1:2"
prefix = "x."
session_timeout = "11s"
transaction_timeout = "13s"
[kafka.client]
"client.id" = "somebody"
[topics]
home_partitions = 5
replication = 2
retention = "9d"
[registry]
url = "http://127.0.0.1:3"
user = "ann"
password_env = "PATH"
[schemas]
write_version = 1
[store]
dir = "state"
memory_budget_mib = 3
[gateway]
listen = "127.0.0.1:4"
public_url = "https://consign.example"
[[gateway.tokens]]
token_sha256 = "00"
actor = "ann"
role = "operator"
[gateway.callers]
per_second = 77
[gateway.callbacks]
at_once = 21
of_target = 22
per_second = 23
[gateway.tls]
certificate = "/run/tls.crt"
key = "/run/tls.key"
[egress]
allow_cidrs = ["10.0.0.0/8"]
allow_http = true
dangerous_allow_metadata = true
proxy = "http://127.0.0.1:5"
[egress.targets.b]
allow_http = true
[secrets]
directory = "/run/secrets"
[secrets.files]
a = "/run/a"
[secrets.variables]
b = "PATH"
[content]
roots = ["/data"]
[content.s3]
aws_region = "x"
[content.gcs]
service_account = "y"
[content.azure]
account_name = "z"
[[acks.keys]]
id = "k1"
secret_env = "PATH"
[log]
format = "json"
level = "debug"
"#;

fn config(over: &str) -> Config {
    Config::load(Some(over), []).unwrap()
}

#[test]
fn every_key_of_the_default_file_is_in_the_test() {
    let keys = |text: &str| -> Vec<String> {
        let table: toml::Table = text.parse().unwrap();
        let sections = table.iter().filter_map(|(name, value)| Some((name, value.as_table()?)));
        sections.flat_map(|(name, keys)| keys.keys().map(move |key| format!("{name}.{key}"))).collect()
    };
    let mut wanted = keys(crate::config::DEFAULT);
    // It excludes the user; another test has it.
    wanted.retain(|key| key != "registry.token_env");
    assert_eq!(keys(EVERY_KEY), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_reaches_what_it_is_for() {
    let connection = Connection::unasked(config(EVERY_KEY)).unwrap();
    let parts = parts(&connection).unwrap();
    assert_eq!((parts.instance.as_str(), parts.workers, parts.stop_within.as_secs()), ("node-a", 3, 7));
    assert_eq!((parts.retention.as_secs(), parts.max_clock_skew.as_secs()), (9 * 86_400, 3));
    assert_eq!(parts.names.prefix(), "x.");
    assert!(matches!(&parts.store.stores, Stores::Directory(dir) if dir.as_path() == Path::new("state/node-a")));
    assert_eq!(parts.store.memory_budget, 3 * 1024 * 1024);
    assert_eq!(parts.gateway, None, "an engine alone has no gateway");
    assert_eq!(parts.public_url.as_deref(), Some("https://consign.example"));
    let callbacks = parts.callbacks;
    assert_eq!((callbacks.at_once, callbacks.of_target, callbacks.per_second.get()), (21, 22, 23));
    assert_eq!(parts.callers.per_second.get(), 77);
    let tls = parts.gateway_tls.as_ref().unwrap();
    assert_eq!((tls.certificate.to_str(), tls.key.to_str()), (Some("/run/tls.crt"), Some("/run/tls.key")));
    assert_eq!(parts.secrets.directory.as_deref(), Some(std::path::Path::new("/run/secrets")));
    assert_eq!((parts.secrets.files["a"].to_str(), parts.secrets.variables["b"].as_str()), (Some("/run/a"), "PATH"));
    let allowed = parts.egress.of(&TargetName::trusted("b"));
    assert_eq!(allowed.cidrs, ["10.0.0.0/8".parse().unwrap()]);
    assert!(allowed.http && allowed.dangerous_metadata);
    assert_eq!(parts.egress.proxy().map(reqwest::Url::as_str), Some("http://127.0.0.1:5/"));
    assert_eq!(parts.places.roots, [std::path::PathBuf::from("/data")]);
    let option = |store: &str, name: &str| parts.places.stores[store][name].clone();
    assert_eq!(
        option("s3", "aws_region") + &option("gcs", "service_account") + &option("azure", "account_name"),
        "xyz"
    );
    let options = kafka_options(&connection.config).unwrap();
    assert_eq!((options.bootstrap.as_str(), options.group.as_str()), ("127.0.0.1:1,127.0.0.1:2", "x.engine"));
    assert_eq!((options.session_timeout.as_secs(), options.transaction_timeout.as_secs()), (11, 13));
    assert_eq!(options.client["client.id"], "somebody");
    let topics = connection.topics();
    let manifests = topics.iter().find(|t| t.name == "x.manifests").unwrap();
    assert_eq!((manifests.partitions, manifests.replication), (5, 2));
    assert_eq!(manifests.configs["retention.ms"], (16 * 86_400_000_u64).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_alone_has_no_workers_and_lets_in_who_has_a_token() {
    let one = EVERY_KEY.replace("[\"engine\"]", "[\"gateway\"]");
    let parts = parts(&Connection::unasked(config(&one)).unwrap()).unwrap();
    let token = Token { token_sha256: "00".into(), actor: "ann".into(), role: CallerRole::Operator };
    assert_eq!(parts.workers, 0);
    assert_eq!(parts.gateway, Some((([127, 0, 0, 1], 4).into(), Access::Tokens(vec![token]))));
}

#[test]
fn ack_keys_come_from_the_environment_or_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret of at least sixteen bytes\n").unwrap();
    let key = |id: &str, env: Option<&str>, file: Option<&str>| AckKey {
        id: id.into(),
        secret_env: env.map(str::to_owned),
        secret_file: file.map(str::to_owned),
    };
    assert!(tokens(&[key("a", Some("PATH"), None), key("b", None, file.path().to_str())]).is_ok());
    let missing = tokens(&[key("a", Some("CONSIGN_TEST_NOT_SET"), None)]).unwrap_err();
    assert!(missing.message.contains("CONSIGN_TEST_NOT_SET") && missing.message.contains("`a`"), "{missing}");
    let missing = tokens(&[key("b", None, Some("/nowhere"))]).unwrap_err();
    assert!(missing.message.contains("/nowhere"), "{missing}");
}

#[test]
fn whoever_reports_by_callback_is_told_an_address_that_leads_here() {
    let document = "file_types: {a: {}}\npayloads: {p: {body: {id: \"=file.id\"}}}\n\
                    targets:\n  b: {owner: o, http: {url: \"https://b.example/\"}, confirmed_by: {callback: 1h}}\n\
                    routes:\n  - {to: b, payload: p}\n";
    let sources =
        Sources { name: "r.yaml".into(), document: document.into(), files: std::collections::BTreeMap::new() };
    let document = routing::load(&sources).unwrap().document;
    let keys = "[[acks.keys]]\nid = \"k\"\nsecret_env = \"PATH\"\n";
    let open = "[gateway]\nlisten = \"0.0.0.0:8480\"\n";
    let said = "public_url = \"https://consign.example\"\n";
    let engine = "[process]\nroles = [\"engine\"]\n";
    for (over, is_fine) in [
        (keys.to_owned(), true),
        (format!("{open}{keys}"), false),
        (format!("{open}{said}{keys}"), true),
        (format!("{engine}{keys}"), false),
        (format!("{engine}[gateway]\n{said}{keys}"), true),
    ] {
        let checked = check_ack_keys(&document, &config(&over));
        assert_eq!(checked.is_ok(), is_fine, "{over}");
        assert!(checked.err().is_none_or(|failure| failure.message.contains("gateway.public_url")));
    }
}
