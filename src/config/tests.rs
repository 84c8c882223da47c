use super::*;

#[test]
fn the_defaults_load_and_have_every_key() {
    // No field of Config has a default of its own, so a missing key would fail here.
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.topics.retention, Duration::from_secs(30 * 86_400));
}

#[test]
fn a_file_and_the_environment_are_laid_over_the_defaults() {
    let file = "[kafka]\nbootstrap = \"a:1\"\nprefix = \"x.\"\n[kafka.client]\n\"security.protocol\" = \"ssl\"\n";
    let environment = [("CONSIGN_KAFKA_BOOTSTRAP", "b:2"), ("CONSIGN_PROCESS_WORKERS", "3"), ("CONSIGN_URL", "u")];
    let config = Config::load(Some(file), environment).unwrap();
    assert_eq!(config.kafka.bootstrap, "b:2");
    assert_eq!(config.kafka.prefix, "x.");
    assert_eq!(config.kafka.client["security.protocol"], "ssl");
    assert_eq!(config.process.workers, 3);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (file, says) in [
        ("[kafka]\nbootstarp = \"a\"", "line 2, column 1: there is no key `kafka.bootstarp` (`bootstrap`?)"),
        ("\n[kafak]\n", "line 2, column 2: there is no key `kafak` (`kafka`?)"),
        (
            "[egress.targets.b]\nallow_htp = true",
            "line 2, column 1: there is no key `egress.targets.b.allow_htp` (`allow_http`?)",
        ),
        ("log.levle = \"info\"", "line 1, column 5: there is no key `log.levle` (`level`?)"),
        ("[[acks.keys]]\nid = \"k\"\nsecret = \"s\"", "line 3, column 1: there is no key `acks.keys.secret`"),
        ("[process]\nworkers = 0", "process.workers is at least 1"),
        ("[process]\nworkers = \"many\"", "line 2, column 1: process.workers: invalid type: string"),
        ("[process]\nstop_within = \"soon\"", "line 2, column 1: process.stop_within: `soon` is no duration"),
        ("[process]\nroles = [\"engin\"]", "unknown variant `engin`"),
        ("[log]\nformat = \"xml\"", "line 2, column 1: log.format: unknown variant `xml`"),
        ("[kafka]\nprefix = \"a b\"", "kafka.prefix"),
        ("[schemas]\nwrite_version = 9", "schemas.write_version is 9; this consign can write 1"),
        ("[registry]\nuser = \"ann\"", "registry.user and registry.password_env"),
        ("[[acks.keys]]\nid = \"k\"", "secret_env or secret_file"),
        ("[[gateway.tokens]]\ntoken_sha256 = \"\"\nactor = \"ann\"\nrole = \"king\"", "role `king` of ann"),
        ("\nnonsense", "line 2, column 9: it is no TOML"),
    ] {
        let error = Config::load(Some(file), []).unwrap_err().to_string();
        assert!(error.contains(says), "{file}: {error}");
    }
}

#[test]
fn every_unknown_key_is_named_at_once() {
    let error = Config::load(Some("[log]\na = 1\nb = 2\n"), []).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    for (variable, says) in [
        (("CONSIGN_KAFKA_BOOTSTARP", "a:1"), "(CONSIGN_KAFKA_BOOTSTRAP?)"),
        (("CONSIGN_PROCESS_WORKERS", "many"), "CONSIGN_PROCESS_WORKERS: process.workers: invalid type"),
        (("CONSIGN_TOPICS_RETENTION", "long"), "CONSIGN_TOPICS_RETENTION: topics.retention: `long`"),
    ] {
        let error = Config::load(None, [variable]).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn credentials_of_the_registry_come_from_the_variables_that_are_named() {
    let auth = |file: &str| Config::load(Some(file), []).unwrap().registry.auth();
    // PATH is there on every system; its content is nobody's secret.
    let path = std::env::var("PATH").unwrap();
    match auth("[registry]\nuser = \"ann\"\npassword_env = \"PATH\"").unwrap() {
        RegistryAuth::Basic { user, password } => assert_eq!((user.as_str(), password), ("ann", path.clone())),
        other => panic!("{other:?}"),
    }
    assert!(matches!(auth("[registry]\ntoken_env = \"PATH\"").unwrap(), RegistryAuth::Bearer(token) if token == path));
    assert!(matches!(auth("").unwrap(), RegistryAuth::None));
    let error = auth("[registry]\ntoken_env = \"CONSIGN_TEST_NOT_SET\"").unwrap_err().to_string();
    assert!(error.contains("CONSIGN_TEST_NOT_SET"), "{error}");
}
