//! `consign demo`, and the three commands that it closes with.

use std::process::Command;

use crate::binary::{Ran, check, closed_address, command, consign, run};

#[test]
fn the_demo_ends_with_0_in_plain_lines_and_says_what_is_compressed() {
    let ran = consign(&["demo"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.out.contains('\x1b'), "the output is no terminal: {}", ran.out);
    let says = "Back-offs are compressed: 200ms, 400ms, 800ms here, 1s, 5s, 30s, 2m, 10m, 30m, 1h where a document says nothing.";
    assert!(ran.out.contains(says), "{}", ran.out);
    assert!(ran.out.contains("16 of 16 files ended as their examples say."), "{}", ran.out);
    let took = ran.out.lines().find_map(|line| line.strip_prefix("It took ")).expect("it says how long it took");
    assert!(took.ends_with(" s; after 25 s it ends in any case."), "{took}");
    assert!(ran.err.is_empty(), "{}", ran.err);
    assert!(ran.out.contains("crm: SUCCEEDED ×3"), "{}", ran.out);
    the_held_file_is_seen_before_the_person_acts(&ran);
    the_stories_say_who_was_accountable_and_what_the_person_did(&ran);
    the_closing_commands_work_as_typed(&ran);
}

fn the_held_file_is_seen_before_the_person_acts(ran: &Ran) {
    let held = ran.out.find("legacy: HELD\n").expect("the file is shown HELD");
    let acts = ran.out.find("» a person intervenes: confirm payment-9 at legacy").expect("the intervention is shown");
    assert!(held < acts, "{}", ran.out);
}

fn the_stories_say_who_was_accountable_and_what_the_person_did(ran: &Ran) {
    let story = |file: &str| {
        let begin = ran.out.rfind(&format!("\n{file}: ")).unwrap_or_else(|| panic!("{}", ran.out)) + 1;
        ran.out[begin..].split("\n\n").next().unwrap().to_owned()
    };
    let payment = story("payment-9");
    let held = payment.find("because fate_unknown; accountable: team-legacy").expect(&payment);
    let act = payment.find("» a person intervenes: confirm payment-9 at legacy: found in").expect(&payment);
    let done = payment.find("SUCCEEDED   attempts 1, requests received 1, settled by operator").expect(&payment);
    assert!(held < act && act < done, "{payment}");
    let claim = story("claim-12");
    let failed = claim.find("partner    FAILED").expect(&claim);
    let act = claim.find("» a person resubmits claim-12: the partner has opened the account").expect(&claim);
    let taken_up = claim.find("claim-12~1, which takes it up:\n    COMPLETED").expect(&claim);
    assert!(failed < act && act < taken_up, "{claim}");
}

fn the_closing_commands_work_as_typed(ran: &Ran) {
    let (_, closing) = ran.out.split_once("Three commands to try next:\n").expect("it closes with commands");
    let commands: Vec<&str> = closing.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(commands[0].ends_with("dev &"), "{}", commands[0]);
    let script =
        // Whatever fails, nobody is left behind who keeps the output open.
        format!(
            "set -e\n{}\nDEV=$!\ntrap 'kill -KILL $DEV' EXIT\n{}\n{}\nkill -TERM $DEV\nwait $DEV\ntrap - EXIT\n",
            commands[0], commands[1], commands[2]
        );
    let address = closed_address();
    let (_, port) = address.rsplit_once(':').unwrap();
    // The variables stand for the default port, which another process of this machine may have.
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("CONSIGN_DEV_PORT", port).env("CONSIGN_URL", format!("http://{address}"));
    let shell = run(&mut shell);
    assert_eq!(shell.code, Some(0), "{shell:?}");
    assert!(shell.out.contains("mine-1: COMPLETED"), "{shell:?}");
    assert!(shell.out.contains("accepted from local"), "{shell:?}");
}

#[test]
fn as_json_it_prints_one_value() {
    let ran = consign(&["demo", "--output", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let demo = check("demo", &ran.out);
    assert_eq!(demo["as_expected"], true);
    let held = demo["files"].as_array().unwrap().iter().find(|f| f["file_id"] == "reading-5").unwrap();
    assert_eq!(held["file"]["dispatches"][0]["held_because"], "budget_spent");
    assert_eq!(held["requests"]["flaky"], 3);
}

#[test]
fn a_broker_without_a_registry_is_refused() {
    let ran = run(&mut command(&["demo", "--kafka", "127.0.0.1:1"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--registry"), "{}", ran.err);
}
