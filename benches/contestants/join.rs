//! The join: the engine folds reports of requests that left long ago.

use consign::transport::{Dispatch, Transport};

use crate::engine::{self, Parts};
use crate::options::Options;

pub fn run(options: &Options) {
    engine::run(options, &Parts::of(options), &mut || Box::new(Nobody));
}

/// Every request of the workload is on the wire already.
pub struct Nobody;

impl Transport for Nobody {
    fn send(&mut self, dispatch: Dispatch) {
        panic!("nothing is due: {}", dispatch.plan.idempotency_key);
    }
}
