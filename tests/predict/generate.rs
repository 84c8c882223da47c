//! Documents, manifests and scripts that a seed decides.

use std::fmt::Write as _;

/// A sequence of numbers that its seed alone decides (splitmix64).
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub fn one_of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }
}

/// A document, its one file's data, and a script.
pub struct Case {
    pub document: String,
    pub data: String,
    pub script: String,
}

/// Names in an order of their own: the engine looks at what waits by name, and at what it changes by ordinal.
const NAMES: [&str; 5] = ["mid", "alpha", "zulu", "beta", "omega"];

/// The case of a seed.
pub fn case(seed: u64) -> Case {
    let mut draws = Draws::new(seed);
    let count = 1 + draws.below(4);
    let deadline = draws.one_of(&["20s", "3m", "30m", "4h"]);
    let mut document = format!(
        "file_types: {{t: {{deadline: {deadline}}}}}\npayloads:\n  \
         p: {{body: {{id: '=file.id', n: '=data.n', half: '=data.n / 2'}}}}\n  \
         q: {{from: p, remove: [/half], set: {{/channel: q}}}}\n\
         target_defaults: {{timeouts: {{send_within: 4s, request: 6s, max_clock_skew: 1s}}}}\ntargets:\n"
    );
    let mut script = String::new();
    let mut routes = String::new();
    for (i, name) in NAMES.iter().take(count).enumerate() {
        let acks = draws.percent(40);
        document += &target(&mut draws, name, acks);
        let payload = draws.one_of(&["p", "q", "[{when: 'data.n > 10', use: q}, {use: p}]"]);
        let after: Vec<&str> = NAMES[..i].iter().copied().filter(|_| draws.percent(30)).collect();
        let when = if i > 0 && draws.percent(20) { "when: 'data.n > 50', " } else { "" };
        writeln!(routes, "  - {{to: {name}, {when}after: [{}], payload: {payload}}}", after.join(", ")).unwrap();
        if draws.percent(85) && when.is_empty() {
            script += &steps(&mut draws, name, acks);
        }
    }
    document += "routes:\n";
    document += &routes;
    Case { document, data: format!("{{\"n\": {}}}", draws.below(100)), script }
}

fn target(draws: &mut Draws, name: &str, acks: bool) -> String {
    let confirmed_by = match (acks, draws.below(4)) {
        (true, 0) => "{acks: {within: 20s, limit: 50s}}",
        (true, 1) => "{acks: 90s, rejected_status: [499]}",
        (true, _) => "{acks: {within: 30s, limit: 10m, token: true}}",
        (false, 0) => "{transport: true, not_processed: [503]}",
        (false, 1) => "{response: {succeeded: status == 200, duplicate: status == 409, rejected: status == 418}}",
        (false, _) => "{response: status == 200 && body.ok, not_processed: [503, 500]}",
    };
    let on_unknown = draws.one_of(&["hold", "retry", "retry"]);
    let on_overdue =
        if on_unknown == "retry" { draws.one_of(&["hold", "retry", "fail"]) } else { draws.one_of(&["hold", "fail"]) };
    let schedule = draws.one_of(&["[1s]", "[1s, 5s]", "[2s, 20s, 3m]", "[40s]"]);
    format!(
        "  {name}: {{owner: team-{name}, http: {{url: 'http://targets.invalid/{name}'}}, confirmed_by: {confirmed_by}, \
         on_unknown: {on_unknown}, on_overdue: {on_overdue}, on_exhausted: {}, on_failed: {}, \
         retry: {{attempts: {}, refusals: {}, schedule: {schedule}, jitter: {}, retry_after_max: 30s{}}}, \
         escalation: {{first: {}, max: 2h}}}}\n",
        draws.one_of(&["hold", "fail"]),
        draws.one_of(&["settle", "settle", "cancel"]),
        1 + draws.below(5),
        1 + draws.below(3),
        draws.one_of(&["0", "20", "100"]),
        draws.one_of(&["", "", ", give_up_after: 25s"]),
        draws.one_of(&["30s", "10m", "1h"]),
    )
}

fn steps(draws: &mut Draws, name: &str, acks: bool) -> String {
    let mut all = Vec::new();
    for _ in 0..=draws.below(6) {
        let mut step = draws
            .one_of(&[
                "ok",
                "ok",
                "200",
                "202",
                "200 {\"ok\": true}",
                "409",
                "418",
                "422",
                "499",
                "500",
                "503",
                "503 retry-after 3s",
                "503 retry-after 2m",
                "429",
                "404",
                "401",
                "302",
                "timeout",
                "reset",
                "silence",
                "certificate",
            ])
            .to_owned();
        if draws.percent(50) && !["timeout", "silence"].contains(&step.as_str()) {
            step += &format!(" after {}ms", 1 + draws.below(9_000));
        }
        if acks {
            for _ in 0..draws.below(3) {
                let kind = draws.one_of(&["accepted", "accepted", "succeeded", "rejected", "retryable"]);
                step += &format!(" then {kind} after {}", draws.one_of(&["0s", "1s", "15s", "40s", "5m"]));
            }
        }
        all.push(step);
    }
    format!("{name}: {}; ", all.join(", "))
}
