//! Reading and writing one record: consign's own reader and writer beside those of the Avro library, prepared once, on the
//! records of a workload. Decision 64 rests on it.

use std::hint::black_box;
use std::time::Instant;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use consign::record::{
    Arrival, Cause, Codec, DispatchAttempt, FileHistory, FileState, HistoryEvent, Judgement, Outcome, PlannedDispatch,
    Timestamp, Topic, Wire,
};
use serde_json::{Map, Value, json};

use crate::options::{Options, say};
use crate::workload::{Maker, Workload, codec};

const ROUNDS: usize = 9;

pub fn run(options: &Options) {
    let workload = options.workload();
    let turns: u32 = options.number("turns", 20_000);
    let records = Records::new(workload);
    let bench = Bench { codec: codec(), turns };
    let mut told = Map::new();
    told.insert("report".into(), bench.times(&records.report));
    told.insert("history".into(), bench.times(&records.history));
    told.insert("file-state".into(), bench.times(&records.state));
    told.insert("attempt".into(), bench.times(&records.attempt));
    told.insert("plan".into(), bench.times(&records.plan));
    told.insert("arrival".into(), bench.times(&records.arrival));
    say("CODEC", &Value::Object(told));
}

/// One of each kind.
struct Records {
    report: Outcome,
    history: FileHistory,
    state: FileState,
    attempt: DispatchAttempt,
    plan: PlannedDispatch,
    arrival: Arrival,
}

impl Records {
    fn new(workload: Workload) -> Self {
        let (maker, codec) = (Maker::new(workload, Timestamp(1_767_225_600_000)), codec());
        let open = maker.open_file(17);
        let value_of = |topic: Topic| {
            let append = open.iter().find(|append| append.topic == topic).expect("every file has one");
            append.value.clone().expect("no tombstones")
        };
        let reported = maker.report(17, 1).value.expect("no tombstone");
        let report: Outcome = codec.decode(&reported).expect("what was written is read");
        let cause = Cause { topic: "bench.outcomes".into(), partition: 3, offset: 123_456 };
        let event = HistoryEvent {
            version: 9,
            at: Timestamp(1_767_225_600_012),
            cause: cause.clone(),
            target: Some(report.target.clone()),
            judgement: Judgement::Applied,
            code: None,
            outcome: Some(report.clone()),
            intervention: None,
            failure: None,
        };
        let file_id = report.file_id.clone();
        Self {
            history: FileHistory { file_id, seq: 2, version: 9, cause, events: vec![event.clone(), event] },
            report,
            state: codec.decode(&value_of(Topic::FileState)).expect("what was written is read"),
            attempt: codec.decode(&value_of(Topic::Attempts)).expect("what was written is read"),
            plan: codec.decode(&value_of(Topic::Plans)).expect("what was written is read"),
            arrival: codec.decode(&value_of(Topic::Arrivals)).expect("what was written is read"),
        }
    }
}

struct Bench {
    codec: Codec,
    turns: u32,
}

impl Bench {
    /// Nanoseconds of one turn, the best of some rounds, in which all four take their turns.
    fn times<T: Wire + PartialEq>(&self, value: &T) -> Value {
        let schema = Schema::parse_str(T::TOPIC.schema().expect("a record has one")).expect("it is valid");
        let reader = GenericDatumReader::builder(&schema).build().expect("it resolves");
        let writer = GenericDatumWriter::builder(&schema).build().expect("it resolves");
        let bytes = self.codec.encode(value).expect("prepared");
        let mut best = [f64::MAX; 4];
        for _ in 0..ROUNDS {
            let round = [
                self.time(|| self.codec.encode(black_box(value)).expect("prepared")),
                self.time(|| {
                    let mut out = Vec::with_capacity(256);
                    writer.write_ser(&mut out, black_box(value)).expect("it has this shape");
                    out
                }),
                self.time(|| self.codec.decode::<T>(black_box(&bytes)).expect("it has this shape")),
                self.time(|| reader.read_deser::<T>(&mut black_box(&bytes[5..])).expect("it has this shape")),
            ];
            best.iter_mut().zip(round).for_each(|(best, time)| *best = best.min(time));
        }
        let [write, library_write, read, library_read] = best.map(f64::round);
        json!({"bytes": bytes.len() - 5, "write_ns": write, "library_write_ns": library_write, "read_ns": read,
            "library_read_ns": library_read})
    }

    fn time<R>(&self, mut turn: impl FnMut() -> R) -> f64 {
        let began = Instant::now();
        (0..self.turns).for_each(|_| drop(black_box(turn())));
        began.elapsed().as_secs_f64() * 1e9 / f64::from(self.turns)
    }
}
