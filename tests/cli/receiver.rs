//! `consign receiver` as a user has it: over real sockets, with its journal, until it is told to end.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::binary::{check, command, consign};

/// A running receiver; dropping it ends it at once.
struct Receiver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Receiver {
    fn start(arguments: &[&str]) -> Self {
        let arguments = [&["receiver", "--listen", "127.0.0.1:0", "--output", "json"], arguments].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).spawn().expect("the binary can be run");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut receiver = Self { child, lines, address: String::new() };
        let listening = receiver.line();
        let address = listening["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        address.clone_into(&mut receiver.address);
        receiver
    }

    /// The next line that it says, checked against the schema.
    fn line(&mut self) -> Value {
        check("receiver", &self.lines.next().expect("a line").unwrap())
    }

    /// Sends a request with this key; gives the status and the body.
    fn post(&self, target: &str, key: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head =
            format!("POST /{target} HTTP/1.1\r\nhost: x\r\nidempotency-key: {key}\r\ncontent-length: {length}\r\n");
        stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn end(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended already is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_does_as_the_script_says_writes_its_journal_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("received.jsonl");
    let script = r#"billing: 503 retry-after 1s, 200 {"result": "odd"}"#;
    for signal in ["TERM", "INT"] {
        let mut receiver = Receiver::start(&["--script", script, "--journal", journal.to_str().unwrap()]);
        assert_eq!(receiver.post("billing", "f-1/billing", "{}").0, 503);
        assert_eq!(receiver.post("billing", "f-1/billing", "{}"), (200, r#"{"result": "odd"}"#.to_owned()));
        // SHA-256 of `{}`.
        let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let took = format!(r#"{{"result":"ok","received_digest":"sha256:{digest}"}}"#);
        assert_eq!(receiver.post("billing", "f-1/billing", "{}"), (200, took));
        assert_eq!(receiver.post("crm", "f-1/crm", "{}").0, 200);
        let said: Vec<Value> = (0..6).map(|_| receiver.line()).collect();
        let field = |name: &str| said.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
        assert_eq!(field("what"), ["request", "request", "request", "taken", "request", "taken"]);
        assert_eq!(field("target")[4], "crm");
        assert_eq!(said[2]["earlier"], 2);
        assert_eq!(receiver.end(signal), Some(0), "SIG{signal}");
        let text = std::fs::read_to_string(&journal).unwrap();
        let kept: Vec<Value> = text.lines().map(|line| check("receiver", line)).collect();
        assert_eq!(kept[1..], said);
        std::fs::remove_file(&journal).unwrap();
    }
}

#[test]
fn a_slip_on_its_command_line_is_said() {
    for (arguments, says) in [
        (&["--script", "billing: unreachable"][..], "never reaches one"),
        (&["--script", "billing 503"], "a target and `:`"),
        (&["--verify-with", "no/such/file"], "can't be read"),
        (&["--journal", "no/such/folder/journal"], "can't be written"),
    ] {
        let ran = consign(&[&["receiver", "--output", "json"], arguments].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(check("failure", &ran.err)["message"].as_str().unwrap().contains(says), "{ran:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ran = consign(&["receiver", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
}
