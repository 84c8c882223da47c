//! The routing documents of simulated runs: every policy that the machine treats differently has a target.

/// The topic of the target whose records are part of transactions.
pub(super) const BOOKED: &str = "booked.in";

/// The document that seeded runs begin with.
pub const SIMULATED_DOCUMENT: &str = r#"
file_types:
  plain: {deadline: 30m}
  careful: {deadline: 30m}
  acked: {deadline: 20m}
  narrow: {deadline: 30m}
  wide: {deadline: 25m}
  guarded: {deadline: 30m}
  brief: {deadline: 30m}
  chained: {deadline: 15m}
  booked: {deadline: 30m}
  proven: {deadline: 30m}
  nowhere: {deadline: 30m}
  bulky: {deadline: 30m}
  fetched: {deadline: 20m, content: {format: json, attempts: 4, schedule: [1s, 4s], within: 5s}}
  checked: {deadline: 10m, content: {max_size: 1000, attempts: 3, schedule: [2s], within: 5s}}
payloads:
  counted: {body: {id: "=file.id", rows: "=size(content)"}}
  fivefold: {body: {a: "=data.a", b: "=data.a", c: "=data.a", d: "=data.a", e: "=data.a"}}
  whole: {body: {id: "=file.id", type: "=file.type", labels: "=attributes"}}
target_defaults:
  retry: {attempts: 4, operator_attempts: 2, refusals: 2, schedule: [1s, 4s], jitter: 50, retry_after_max: 60s}
  timeouts: {send_within: 5s, request: 5s, max_clock_skew: 1s}
  escalation: {first: 2m, max: 2h}
targets:
  fast: {owner: team-f, http: {url: "http://targets.invalid/fast"}, confirmed_by: {response: "status == 200"}, on_unknown: retry}
  strict: {owner: team-s, http: {url: "http://targets.invalid/strict"}, confirmed_by: {response: "status == 200"}, on_unknown: hold}
  ledger:
    owner: team-l
    http: {url: "http://targets.invalid/ledger"}
    confirmed_by: {acks: {within: 30s, limit: 90s}}
    on_unknown: hold
  lagging:
    owner: team-g
    http: {url: "http://targets.invalid/lagging"}
    confirmed_by: {acks: {within: 15s, token: true}}
    on_unknown: retry
    on_overdue: retry
  slim:
    owner: team-n
    http: {url: "http://targets.invalid/slim"}
    confirmed_by: {response: "status == 200"}
    on_unknown: retry
    concurrency: 1
  locked: {owner: team-k, http: {url: "http://targets.invalid/locked"}, confirmed_by: {response: "status == 200"}, on_unknown: hold}
  brittle:
    owner: team-b
    http: {url: "http://targets.invalid/brittle"}
    confirmed_by: {response: "status == 200"}
    on_unknown: retry
    on_exhausted: fail
    on_failed: cancel
    retry: {attempts: 2}
  last: {owner: team-z, http: {url: "http://targets.invalid/last"}, confirmed_by: {response: "status == 200"}, on_unknown: hold}
  booked:
    owner: team-o
    kafka: {topic: booked.in, key: "=file.type", in_transaction: true}
    confirmed_by: transport
    on_unknown: hold
  sworn:
    owner: team-w
    http: {url: "http://targets.invalid/sworn"}
    confirmed_by: {response: "status == 200"}
    on_unknown: hold
    receipt: digest
  stamped:
    owner: team-p
    http: {url: "http://targets.invalid/stamped"}
    confirmed_by: {acks: {within: 30s}}
    on_unknown: retry
    on_overdue: retry
    receipt: digest
routes:
  - to: fast
    when: "file.type in ['plain', 'wide', 'brief', 'fetched', 'checked', 'booked']"
    payload: [{when: "file.type == 'fetched'", use: counted}, {use: whole}]
  - {to: strict, when: "file.type in ['careful', 'wide', 'checked']", payload: whole}
  - {to: ledger, when: "file.type in ['acked', 'wide', 'chained']", payload: whole}
  - {to: lagging, when: "file.type in ['acked', 'wide']", payload: whole}
  - {to: slim, when: "file.type in ['narrow', 'wide']", payload: whole}
  - to: locked
    when: "file.type in ['guarded', 'bulky']"
    payload: [{when: "file.type == 'bulky'", use: fivefold}, {use: whole}]
  - {to: brittle, when: "file.type == 'brief'", payload: whole}
  - {to: last, after: [ledger], when: "file.type == 'chained'", payload: whole}
  - {to: booked, when: "file.type == 'booked'", payload: whole}
  - {to: sworn, when: "file.type == 'proven'", payload: whole}
  - {to: stamped, when: "file.type == 'proven'", payload: whole}
"#;

/// Another document over the same targets: `plain` goes to `strict` too, and every body has one field more.
pub const OTHER_DOCUMENT: &str = r#"
file_types:
  plain: {deadline: 30m}
  careful: {deadline: 30m}
payloads:
  whole: {body: {id: "=file.id", kind: "=file.type", revision: 2}}
target_defaults:
  retry: {attempts: 3, operator_attempts: 2, refusals: 2, schedule: [2s], jitter: 0, retry_after_max: 60s}
  timeouts: {send_within: 5s, request: 5s, max_clock_skew: 1s}
  escalation: {first: 2m, max: 2h}
targets:
  fast: {owner: team-f, http: {url: "http://targets.invalid/fast"}, confirmed_by: {response: "status == 200"}, on_unknown: retry}
  strict: {owner: team-s, http: {url: "http://targets.invalid/strict"}, confirmed_by: {response: "status == 200"}, on_unknown: hold}
routes:
  - {to: fast, when: "file.type in ['plain']", payload: whole}
  - {to: strict, when: "file.type in ['plain', 'careful']", payload: whole}
"#;
