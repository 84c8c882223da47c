//! `scripts/check-tools` misses what isn't there, and asks for nothing that isn't needed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::repository::root;

const TOOLS: [&str; 9] = ["cc", "make", "perl", "python3", "openssl", "valgrind", "mvn", "java", "cargo"];

/// What is needed where no servers are started.
const WITHOUT_SERVERS: [&str; 7] = ["cc", "make", "perl", "python3", "openssl", "valgrind", "cargo"];

/// A machine that has these programs and nothing else but what every script uses.
struct Machine(tempfile::TempDir);

impl Machine {
    fn with(tools: &[&str]) -> Self {
        let machine = Self(tempfile::tempdir().expect("a folder"));
        for tool in tools {
            machine.add(tool, "exit 0");
        }
        machine.add("java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2");
        if !tools.contains(&"java") {
            fs::remove_file(machine.0.path().join("java")).expect("it was there");
        }
        machine.add("uname", "echo Linux");
        for plain in ["sed", "id"] {
            let real = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(plain));
            let real = real.iter().find(|path| path.exists()).expect("every machine has it");
            symlink(real, machine.0.path().join(plain)).expect("a link");
        }
        machine
    }

    fn add(&self, tool: &str, does: &str) {
        let path = self.0.path().join(tool);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script that runs");
    }

    /// Whether nothing is missing, and what is said.
    fn check(&self, environment: &[(&str, &str)]) -> (bool, String) {
        self.check_for(&[], environment)
    }

    /// The same, for a part of the tests.
    fn check_for(&self, part: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let mut check = Command::new("/bin/sh");
        check.arg(root().join("scripts/check-tools")).args(part).env_clear().env("PATH", self.0.path());
        let output = check.envs(environment.iter().copied()).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn a_machine_with_everything_is_told_nothing() {
    assert_eq!(Machine::with(&TOOLS).check(&[]), (true, String::new()));
}

#[test]
fn what_is_missing_is_named_with_the_line_that_installs_it() {
    for lacking in TOOLS {
        let tools: Vec<&str> = TOOLS.into_iter().filter(|tool| *tool != lacking).collect();
        let (complete, said) = Machine::with(&tools).check(&[]);
        let (name, line) = match lacking {
            "java" => ("java-17", "default-jre-headless maven"),
            "cargo" => ("cargo", "https://rustup.rs"),
            other => (other, "apt-get install"),
        };
        assert!(!complete, "{lacking}");
        assert!(said.lines().next().is_some_and(|first| first == format!("missing: {name}")), "{lacking}: {said}");
        assert!(said.lines().count() == 2 && said.contains(line), "{lacking}: {said}");
    }
}

#[test]
fn a_tool_that_is_too_old_or_half_there_is_missing() {
    for (tool, does, says) in [
        ("java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2", "missing: java-17\n"),
        ("python3", "exit 1", "missing: python3-venv\n"),
        ("cargo", "[ \"$1\" != fmt ]", "missing: rustfmt\nrustup component add rustfmt\n"),
        ("cargo", "[ \"$1\" != clippy ]", "missing: clippy\nrustup component add clippy\n"),
    ] {
        let machine = Machine::with(&TOOLS);
        machine.add(tool, does);
        let (complete, said) = machine.check(&[]);
        assert!(!complete && said.starts_with(says), "{tool}: {said}");
    }
}

#[test]
fn servers_that_are_there_need_neither_java_nor_maven() {
    let machine = Machine::with(&WITHOUT_SERVERS);
    let (broker, registry) = (("KAFKA_BOOTSTRAP", "127.0.0.1:1"), ("SCHEMA_REGISTRY_URL", "http://127.0.0.1:2"));
    assert_eq!(machine.check(&[broker, registry]), (true, String::new()));
    // One of them alone is started too.
    for alone in [broker, registry] {
        let (complete, said) = machine.check(&[alone]);
        assert!(!complete && said.starts_with("missing: mvn java-17\n"), "{said}");
    }
}

#[test]
fn the_quick_tests_need_neither_java_nor_maven() {
    assert_eq!(Machine::with(&WITHOUT_SERVERS).check_for(&["quick"], &[]), (true, String::new()));
    let (complete, said) = Machine::with(&WITHOUT_SERVERS[1..]).check_for(&["quick"], &[]);
    assert!(!complete && said.starts_with("missing: cc\n") && !said.contains("maven"), "{said}");
}

#[test]
fn where_valgrind_does_not_exist_it_is_not_asked_for() {
    let tools: Vec<&str> = TOOLS.into_iter().filter(|tool| *tool != "valgrind").collect();
    let machine = Machine::with(&tools);
    machine.add("uname", "echo Darwin");
    assert_eq!(machine.check(&[]), (true, String::new()));
}

#[test]
fn as_root_on_a_debian_like_ci_the_line_is_run_and_nowhere_else() {
    for (ci, user, runs) in [("true", 0, true), ("false", 0, false), ("true", 1_000, false)] {
        let tools: Vec<&str> = TOOLS.into_iter().filter(|tool| *tool != "perl").collect();
        let machine = Machine::with(&tools);
        let folder = machine.0.path().display().to_string();
        fs::remove_file(machine.0.path().join("id")).expect("it was there");
        machine.add("id", &format!("echo {user}"));
        let installs = format!("printf '#!/bin/sh\\n' > {folder}/perl; /bin/chmod 755 {folder}/perl");
        machine.add("apt-get", &format!("echo \"$@\" >> {folder}/asked\nif [ \"$1\" = install ]; then {installs}; fi"));
        let (complete, said) = machine.check(&[("CI", ci)]);
        let asked = fs::read_to_string(machine.0.path().join("asked")).unwrap_or_default();
        assert_eq!((complete, asked.is_empty()), (runs, !runs), "{ci} {user}: {said}");
        if runs {
            let lines: Vec<&str> = asked.lines().collect();
            assert!(lines.len() == 2 && lines[0] == "update -q", "{asked}");
            assert!(
                lines[1].starts_with("install -y --no-install-recommends ") && lines[1].contains(" perl "),
                "{asked}"
            );
        }
    }
}
