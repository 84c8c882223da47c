//! The data of every contest: files with plans and open attempts as the engine itself would have written them, and one
//! report for each dispatch, in an order like that of requests that are answered at different speeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use consign::lifecycle::File;
use consign::log::{Append, Headers};
use consign::plan::{Inputs, manifest_digest, plan};
use consign::record::registry::LocalRegistry;
use consign::record::{
    Arrival, Cause, Codec, Evidence, FileId, FileManifest, Outcome, OutcomeKind, Reporter, TargetName, Timestamp,
    Topic, Wire, attempt_key, dispatch_key, home_partition,
};
use consign::routing::{Document, Sources, load};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub files: usize,
    pub targets: usize,
    pub partitions: i32,
    /// Reports of this many files are mixed.
    pub window: usize,
    /// Where the targets listen, on loopback; in most contests nobody is asked.
    pub port: u16,
    /// Requests to each target at a time.
    pub concurrency: usize,
}

/// What makes the records of a workload.
pub struct Maker {
    workload: Workload,
    document: Document,
    codec: Codec,
    /// When every file arrived.
    began: Timestamp,
}

/// A codec whose schema ids are the compiled-in ones: no contest is about the registry.
pub fn codec() -> Codec {
    let codec = Codec::new(Arc::new(LocalRegistry));
    codec.prepare().expect("the compiled-in schemas are there");
    codec
}

impl Workload {
    /// The routing document: every file goes to every target.
    pub fn sources(&self) -> Sources {
        let mut text =
            String::from("file_types:\n  invoice: {deadline: 2d}\npayloads:\n  account: {body: {id: \"=file.id\", ");
        text.push_str("account: \"=data.account\", amount: \"=data.amount\", currency: \"=attributes.currency\"}}\n");
        text.push_str("target_defaults:\n  timeouts: {send_within: 10m, request: 30s, max_clock_skew: 5s}\ntargets:\n");
        let mut routes = String::from("routes:\n");
        for target in 0..self.targets {
            let name = target_name(target);
            let _ = write!(
                text,
                "  {name}: {{owner: team-{target}, http: {{url: \"http://127.0.0.1:{}/in/{name}\"}}, ",
                self.port
            );
            text.push_str("confirmed_by: {response: \"status == 200 && body.result == 'ok'\"}, on_unknown: retry, ");
            let _ = writeln!(text, "concurrency: {}}}", self.concurrency);
            let _ = writeln!(routes, "  - {{to: {name}, payload: account}}");
        }
        Sources { name: "bench.yaml".into(), document: text + &routes, files: BTreeMap::new() }
    }

    /// The dispatches in the order in which they are reported: (file, target). Every dispatch once, those of `window`
    /// files mixed, by a fixed generator.
    pub fn reports(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (files, targets, window) = (self.files, self.targets, self.window.max(1));
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        (0..files.div_ceil(window)).flat_map(move |block| {
            let of_block = block * window..files.min((block + 1) * window);
            let mut all: Vec<(usize, usize)> =
                of_block.flat_map(|file| (0..targets).map(move |target| (file, target))).collect();
            for last in (1..all.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let other = usize::try_from(state >> 33).expect("31 bits") % (last + 1);
                all.swap(last, other);
            }
            all
        })
    }
}

fn target_name(target: usize) -> TargetName {
    TargetName::trusted(&format!("target-{target:03}"))
}

fn file_id(file: usize) -> FileId {
    FileId::trusted(&format!("invoice-2026-{file:09}"))
}

impl Maker {
    pub fn new(workload: Workload, began: Timestamp) -> Self {
        let document = load(&workload.sources()).unwrap_or_else(|e| panic!("{e:?}")).document;
        Self { workload, document, codec: codec(), began }
    }

    /// The manifest of a file.
    pub fn manifest(&self, file: usize) -> FileManifest {
        let data = format!(
            r#"{{"account":"DE{file:020}","amount":{}.{:02},"lines":[{{"sku":"A-{}","n":3}},{{"sku":"B-{}","n":1}}]}}"#,
            file % 10_000,
            file % 100,
            file % 977,
            file % 331
        );
        let attributes = [("currency", "EUR"), ("branch", "north-17"), ("batch", "2026-11-22")];
        FileManifest {
            file_id: file_id(file),
            schema_version: 1,
            file_type: "invoice".into(),
            name: format!("invoice-{file}.json"),
            location: None,
            size: None,
            checksum: None,
            media_type: Some("application/json".into()),
            attributes: attributes.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            data: Some(data),
            produced_by: "billing-export".into(),
            produced_at: self.began,
            deadline: None,
        }
    }

    pub fn home(&self, file: usize) -> i32 {
        home_partition(file_id(file).as_str(), self.workload.partitions)
    }

    /// The records of a file whose requests are all on the wire: arrival, plans, attempts, file-state.
    pub fn open_file(&self, file: usize) -> Vec<Append> {
        let manifest = self.manifest(file);
        let (id, home) = (manifest.file_id.clone(), self.home(file));
        let cause = Cause { topic: "bench.manifests".into(), partition: home, offset: 0 };
        let arrival = Arc::new(Arrival {
            file_id: id.clone(),
            version: 1,
            cause,
            manifest_digest: manifest_digest(&manifest),
            manifest,
            origin: None,
            received_at: self.began,
            supersedes: None,
            only_targets: None,
            fetch: None,
        });
        let planned = plan(Inputs::at_acceptance(&arrival, &self.document)).unwrap_or_else(|e| panic!("{}", e.text));
        let mut appends = vec![self.append(home, id.to_string(), arrival.as_ref())];
        let mut state = File::arrived(Arc::clone(&arrival), planned[0].file_deadline);
        for dispatch in &planned {
            appends.push(self.append(home, dispatch_key(&id, &dispatch.target), dispatch));
        }
        state.planned(&planned);
        for index in 0..state.dispatches.len() {
            let attempt = Arc::new(state.authorize(index, self.began, "loader"));
            appends.push(self.append(home, attempt_key(&id, &attempt.target, 1), attempt.as_ref()));
            state.authorized(&attempt);
        }
        appends.push(self.append(home, id.to_string(), &state.to_state()));
        appends
    }

    /// The report of one dispatch: the target has it.
    pub fn report(&self, file: usize, target: usize) -> Append {
        let (id, target) = (file_id(file), target_name(target));
        let headers =
            [("content-type", "application/json"), ("date", "Sun, 22 Nov 2026 08:15:31 GMT"), ("server", "in/1.4")];
        let outcome = Outcome {
            attempt: Some(1),
            code: "http_200".into(),
            evidence: Some(Evidence {
                status: Some(200),
                headers: headers.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                body: Some(format!(r#"{{"result":"ok","reference":"{file:012}"}}"#)),
                truncated: false,
                took_ms: Some(12),
            }),
            ..Outcome::new(id.clone(), target.clone(), OutcomeKind::Succeeded, Reporter::Transport, self.began)
        };
        let home = self.home(file);
        let value = self.codec.encode_for(Topic::Outcomes, &outcome).expect("prepared");
        self.raw(Topic::Outcomes, home, dispatch_key(&id, &target), value)
    }

    /// The announcement of a file.
    pub fn announcement(&self, file: usize) -> Append {
        self.append(self.home(file), file_id(file).to_string(), &self.manifest(file))
    }

    fn append<T: Wire>(&self, home: i32, key: String, value: &T) -> Append {
        self.raw(T::TOPIC, home, key, self.codec.encode(value).expect("prepared"))
    }

    #[allow(clippy::unused_self)]
    fn raw(&self, topic: Topic, home: i32, key: String, value: Vec<u8>) -> Append {
        Append { topic, partition: Some(home), key: key.into_bytes(), value: Some(value), headers: Headers::new() }
    }
}
