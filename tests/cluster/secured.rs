//! A broker that wants TLS and SASL, or certificates, and permits nothing but by the access control lists that consign prints.

use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureProducer, FutureRecord};

use consign::record::{FileId, State, Status, Topic, TopicNames};

use crate::answer::check;
use crate::records::{attempts, create, file_id, open_breakers, route_to, with_status};
use crate::servers::OwnBed;
use crate::setup::{CLIENT, Setup};
use crate::world::{PATIENCE, Process, World};

/// How a principal shows who it is.
const WAYS: [&str; 5] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate"];

/// A secured broker with consign's topics on it; what belongs to the test itself comes as a super user.
struct Secured {
    bed: OwnBed,
    world: World,
    passwords: tempfile::TempDir,
}

impl Secured {
    fn start(test: &str) -> Self {
        let bed = OwnBed::start_secured();
        let world = World::of(Setup { targets: vec!["quick", "acking"], ..Setup::new(test, bed.servers()) });
        let passwords = tempfile::tempdir().unwrap();
        for user in ["consign", "admin", "wrong"] {
            std::fs::write(passwords.path().join(user), format!("{user}-password\n")).unwrap();
        }
        Self { bed, world, passwords }
    }

    fn tls(&self, file: &str) -> String {
        Path::new(&self.bed.value("KAFKA_TLS")).join(file).display().to_string()
    }

    /// Where a client goes, and its settings.
    fn settings(&self, user: &str, way: &str) -> (String, Vec<(&'static str, String)>) {
        let mut settings = vec![("ssl.ca.location", self.tls("ca.pem"))];
        if way == "certificate" {
            settings.push(("security.protocol", "ssl".into()));
            settings.push(("ssl.certificate.location", self.tls(&format!("{user}.pem"))));
            settings.push(("ssl.key.location", self.tls(&format!("{user}.key"))));
            return (self.bed.value("KAFKA_SSL"), settings);
        }
        settings.push(("security.protocol", "sasl_ssl".into()));
        settings.push(("sasl.mechanisms", way.into()));
        if way == "OAUTHBEARER" {
            settings.push(("enable.sasl.oauthbearer.unsecure.jwt", "true".into()));
            settings.push(("sasl.oauthbearer.config", format!("principal={user}")));
        } else {
            settings.push(("sasl.username", user.into()));
            settings.push(("sasl.password", format!("{user}-password")));
        }
        (self.bed.value("KAFKA_SASL_SSL"), settings)
    }

    /// Has consign's processes and commands come as this user; its password is a secret.
    fn come_as(&self, user: &str, way: &str) {
        self.come_with(user, way, user, "ca.pem");
    }

    fn come_with(&self, user: &str, way: &str, password: &str, ca: &str) {
        let world = &self.world;
        let (bootstrap, settings) = self.settings(user, way);
        let plain = world.setup.configuration(&TopicNames::new(world.prefix()));
        let mut client = CLIENT.to_owned();
        for (name, value) in settings {
            let value = match name {
                "sasl.password" => "secret:kafka-password".to_owned(),
                "ssl.ca.location" => self.tls(ca),
                _ => value,
            };
            client += &format!("\"{name}\" = \"{value}\"\n");
        }
        let mut text = plain.replace(&world.servers.bootstrap, &bootstrap).replace(CLIENT, &client);
        let secret = self.passwords.path().join(password);
        text += &format!("[secrets.files]\nkafka-password = \"{}\"\n", secret.display());
        world.write("consign.toml", &text);
    }

    /// Another client of the brokers.
    fn client(&self, user: &str, way: &str) -> ClientConfig {
        let (bootstrap, settings) = self.settings(user, way);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        for (name, value) in settings {
            config.set(name, value);
        }
        config
    }

    /// Appends a record as this user.
    async fn write(&self, user: &str, topic: Topic, key: &str, value: &[u8]) -> Result<(), Option<Code>> {
        let producer: FutureProducer = self.client(user, "PLAIN").create().unwrap();
        let name = self.world.name(topic);
        let record = FutureRecord::to(&name).key(key).payload(value);
        let sent = producer.send(record, Duration::from_secs(30)).await;
        sent.map(drop).map_err(|(error, _)| error.rdkafka_error_code())
    }

    /// What keeps this user from seeing where file-state is.
    fn hidden(&self, user: &str) -> Option<Code> {
        let consumer: BaseConsumer = self.client(user, "PLAIN").create().unwrap();
        let name = self.world.name(Topic::FileState);
        let metadata = consumer.fetch_metadata(Some(&name), Duration::from_secs(30)).unwrap();
        metadata.topics().iter().find_map(MetadataTopic::error).map(Code::from)
    }

    /// The key of a record of file-state, read as this user in this group; or why not.
    fn read(&self, user: &str, way: &str, group: &str) -> Result<Vec<u8>, Option<Code>> {
        let mut config = self.client(user, way);
        let config = config.set("group.id", group).set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        let name = self.world.name(Topic::FileState);
        consumer.subscribe(&[&name]).unwrap();
        let begun = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => return Ok(message.key().unwrap().to_vec()),
                Some(Err(KafkaError::MessageConsumption(Code::AllBrokersDown | Code::BrokerTransportFailure)))
                | None => {}
                Some(Err(error)) => return Err(error.rdkafka_error_code()),
            }
            assert!(begun.elapsed() < PATIENCE, "nothing to read, and no error");
        }
    }

    /// Runs `kafka-acls` as a super user.
    fn acls(&self, arguments: &[&str]) {
        self.bed.run("acls", arguments);
    }

    /// Grants what `topics acls` prints, and nothing else.
    fn grant_what_is_printed(&self) {
        let who = ["--engine", "User:consign", "--admin", "User:admin", "--producer", "User:producer"];
        let more = ["--receiver", "User:receiver", "--reader", "User:reader", "--reader-group", "team-b"];
        let arguments = [&["topics", "acls"], &who[..], &more[..]].concat();
        let (code, lines, err) = self.world.run(&arguments);
        assert_eq!(code, Some(0), "{err}");
        let (code, out, _) = self.world.run(&[&arguments[..], &["--output", "json"]].concat());
        assert_eq!(code, Some(0));
        let answer = check("topics-acls", &out);
        let commands: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
        let same: Vec<&str> =
            answer["acls"].as_array().unwrap().iter().map(|acl| acl["command"].as_str().unwrap()).collect();
        assert_eq!(commands, same, "the lines and the JSON are the same commands");
        for command in commands {
            assert!(!command.contains('\''), "nothing here needs a quote: {command}");
            let words: Vec<&str> = command.split(' ').collect();
            assert_eq!(words[..2], ["kafka-acls", "--bootstrap-server"]);
            self.acls(&words[3..]);
        }
    }

    /// Runs consign under its own principal until a file is COMPLETED.
    async fn completes(&self, way: &str) {
        self.come_as("consign", way);
        let process = self.world.start("p");
        process.until_ready_says(200, "").await;
        let (status, state) = process.submit_and_wait(&format!("by-{}", way.to_lowercase())).await;
        assert_eq!((status, state["state"].as_str()), (200, Some("COMPLETED")), "{way}: {state}");
        assert_eq!(process.stop().code(), Some(0), "{way}");
    }

    /// What `consign run` says when it ends by itself.
    fn refused(&self) -> (Option<i32>, String) {
        self.world.run_once(&["--listen", "127.0.0.1:0"])
    }
}

#[track_caller]
fn says((code, text): &(Option<i32>, String), expected: i32, words: &[&str]) {
    assert_eq!(*code, Some(expected), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_exactly_the_printed_acls_consign_completes_files_and_nobody_else_writes_its_topics() {
    let secured = Secured::start("acls");
    let world = &secured.world;
    secured.come_as("consign", "SCRAM-SHA-512");
    says(
        &secured.refused(),
        2,
        &["CG406", &world.name(Topic::Manifests), "authorization failed", "consign topics acls"],
    );

    secured.grant_what_is_printed();
    for way in WAYS {
        secured.completes(way).await;
    }
    who_sets_up_may_do_that(&secured);
    others_may_do_what_is_theirs(&secured).await;
    a_permission_that_goes_is_named(&secured).await;
    let report = world.verify();
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

fn who_sets_up_may_do_that(secured: &Secured) {
    secured.come_as("admin", "SCRAM-SHA-256");
    for arguments in [
        &["topics", "check"][..],
        &["topics", "apply"],
        &["routing", "apply", "routing.yaml"],
        &["offsets", "repair", "--dry-run"],
        &["verify"],
    ] {
        let (code, out, err) = secured.world.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
    }
}

async fn others_may_do_what_is_theirs(secured: &Secured) {
    let world = &secured.world;
    let refused = Err(Some(Code::TopicAuthorizationFailed));
    for user in ["admin", "producer", "receiver", "reader", "stranger"] {
        assert_eq!(secured.write(user, Topic::FileState, "by-plain", b"forged").await, refused, "{user}");
        assert_eq!(secured.write(user, Topic::Outcomes, "by-plain/quick", b"forged").await, refused, "{user}");
    }
    assert_eq!(secured.write("stranger", Topic::Manifests, "x", b"x").await, refused);
    assert_eq!(secured.write("producer", Topic::Acks, "x/quick", b"x").await, refused);
    for user in ["producer", "receiver", "stranger"] {
        assert_eq!(secured.hidden(user), Some(Code::TopicAuthorizationFailed), "{user}");
    }
    assert_eq!(secured.read("reader", "PLAIN", "team-c"), Err(Some(Code::GroupAuthorizationFailed)));
    assert!(secured.read("reader", "certificate", "team-b").is_ok());

    // What is announced and reported by those who may is taken in.
    secured.come_as("consign", "SCRAM-SHA-512");
    let process = world.start("p");
    let announced = world.announcement("of-the-producer", 0).value.unwrap();
    secured.write("producer", Topic::Manifests, "of-the-producer", &announced).await.unwrap();
    secured.write("receiver", Topic::Acks, "of-the-producer/acking", b"no report").await.unwrap();
    let begun = Instant::now();
    while !world.is_completed("of-the-producer") {
        assert!(begun.elapsed() < PATIENCE, "{:?}", world.view.file(&FileId::trusted("of-the-producer")));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(process.stop().code(), Some(0));
}

async fn a_permission_that_goes_is_named(secured: &Secured) {
    let file_state = secured.world.name(Topic::FileState);
    let mut process = secured.world.start_logging("p");
    process.0.until_ready_says(200, "").await;
    let remove = ["--remove", "--force", "--allow-principal", "User:consign", "--operation", "Write", "--topic"];
    secured.acls(&[&remove[..], &[&file_state]].concat());
    secured.world.submit("unwritten").await;
    let begun = Instant::now();
    let exit = loop {
        if let Some(exit) = process.0.has_ended() {
            break exit;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on without the permission to write");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let log = std::fs::read_to_string(&process.1).unwrap();
    says(&(exit.code(), log), 3, &["CG203", &file_state, "authorization failed", "consign topics acls"]);
    // Nothing was lost by it.
    secured.acls(&["--add", "--allow-principal", "User:consign", "--operation", "Write", "--topic", &file_state]);
    let process = secured.world.start("p");
    while secured.world.view.file(&FileId::trusted("unwritten")).is_none_or(|file| file.state != State::Completed) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", process.readyz().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(process.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let secured = Secured::start("not-let-in");
    for way in ["PLAIN", "SCRAM-SHA-512"] {
        secured.come_with("consign", way, "wrong", "ca.pem");
        says(&secured.refused(), 2, &["CG406", "nobody is let in", "uthentication failed"]);
    }
    // Another's certificate is no root.
    secured.come_with("consign", "PLAIN", "consign", "consign.pem");
    says(&secured.refused(), 2, &["CG406", "nobody is let in", "certificate verify failed"]);
    secured.come_with("consign", "PLAIN", "missing", "ca.pem");
    says(
        &secured.refused(),
        2,
        &["CG400", "[kafka.client] sasl.password", "the secret `kafka-password` can't be read"],
    );
}

/// Files that are announced at a time.
const SOME: usize = 20;

/// Waits until a target's breaker is open.
async fn opens(process: &Process, target: &str) {
    let begun = Instant::now();
    while open_breakers(process, target).await == 0 {
        assert!(begun.elapsed() < PATIENCE, "the breaker of {target} stays closed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_forbidden_in_a_transaction_opens_its_targets_breaker_and_stops_nobody_else() {
    let secured = Secured::start("forbidden");
    let world = &secured.world;
    // One that is permitted at first, one that may be seen and not written, and one that may not even be seen.
    let topics = ["books", "shown", "hidden"].map(|name| (name, format!("{}in.{name}", world.prefix())));
    route_to(world, &topics);
    for (_, topic) in &topics {
        create(world, topic);
    }
    secured.grant_what_is_printed();
    let permit = |verb: &str, operation: &str, topic: &str| {
        let more: &[&str] = if verb == "--remove" { &["--force"] } else { &[] };
        let who = [verb, "--allow-principal", "User:consign", "--operation", operation, "--topic", topic];
        secured.acls(&[&who[..], more].concat());
    };
    let [(_, books), (_, shown), (_, hidden)] = &topics;
    permit("--add", "Write", books);
    permit("--add", "Describe", shown);
    secured.come_as("consign", "SCRAM-SHA-512");
    let mut process = world.start_logging("p").0;
    world.submit_all((0..SOME).map(file_id)).await;
    let of = |target: &str, status| with_status(world, target, status);
    let neighbours = |count: usize| ["quick", "acking"].iter().all(|target| of(target, Status::Succeeded) == count);
    assert!(world.view.wait_until(PATIENCE, || neighbours(SOME) && of("books", Status::Succeeded) == SOME).await);
    assert_eq!(
        [of("shown", Status::Pending), of("hidden", Status::Pending)],
        [SOME, SOME],
        "what waits spends nothing"
    );
    opens(&process, "shown").await;
    opens(&process, "hidden").await;

    // The permission goes while the topic is in use: what commits together fails together once, and is redone without it.
    permit("--remove", "Write", books);
    world.submit_all((SOME..2 * SOME).map(file_id)).await;
    assert!(world.view.wait_until(PATIENCE, || neighbours(2 * SOME)).await, "{:?}", process.readyz().await);
    assert_eq!(process.has_ended(), None, "a target's topic ends nobody");
    opens(&process, "books").await;
    assert_eq!(of("books", Status::Succeeded) + of("books", Status::Pending), 2 * SOME);

    for topic in [books, shown, hidden] {
        permit("--add", "Write", topic);
    }
    let completed = || (0..2 * SOME).filter(|n| world.is_completed(&file_id(*n))).count();
    assert!(world.view.wait_until(PATIENCE, || completed() == 2 * SOME).await, "{} of {}", completed(), 2 * SOME);
    assert_eq!(process.stop().code(), Some(0));
    for (name, topic) in &topics {
        let found = attempts(world, topic);
        assert!(found.values().all(|times| *times == 1) && found.len() == 2 * SOME, "{name}: {found:?}");
    }
    world.verify_clean();
}
