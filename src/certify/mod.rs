//! Certifies a receiver: sends it what consign sends, and what it must refuse, and says what it does wrong.
//!
//! Requests leave by the production transport, under the outbound guard, from plans of the production planner; what
//! became of each is classified as in production. A [`Report`] says of each check whether it passed, failed, was left out
//! because it doesn't apply, or is unseen: what happens inside a receiver shows only by its answers, by its confirmations,
//! and by a count of effects where the person who certifies gives one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::log::Cluster;
use crate::record::{Codec, Confirmation, FileId, PlannedDispatch, TransportKind};
use crate::transport::{Egress, Places, Secrets};

mod acks;
mod callbacks;
mod checks;
mod effects;
mod hearing;
mod report;
mod sender;

pub use callbacks::ListenError;
pub use report::{Check, Report, Verdict};

/// Makes the plan for a file of this identity, as for any other. The error says why there is none.
pub type PlanOf = Arc<dyn Fn(&FileId) -> Result<PlannedDispatch, String> + Send + Sync>;

/// The acks topic.
#[derive(Clone)]
pub struct AcksTopic {
    /// The log that it is on.
    pub cluster: Arc<dyn Cluster>,
    /// Decodes its records.
    pub codec: Arc<Codec>,
}

/// What is certified, and how.
#[derive(Clone)]
pub struct Subject {
    /// Makes plans for its target.
    pub plan_of: PlanOf,
    /// Where requests may go.
    pub egress: Egress,
    /// The secrets that plans name.
    pub secrets: Secrets,
    /// Where announced files may lie.
    pub places: Places,
    /// Where acks are read, for a target that is confirmed by them; without it they are unseen.
    pub acks: Option<AcksTopic>,
    /// Where callbacks are heard, and the URL of that place as the receiver reaches it where it is another.
    pub listen: (std::net::SocketAddr, Option<String>),
    /// How long a confirmation may take.
    pub wait: Duration,
    /// How long is listened after the last confirmation, for those that contradict.
    pub linger: Duration,
    /// Duplicates that are sent at once.
    pub concurrency: usize,
    /// Bytes of the large body; 0 leaves it out.
    pub large_body: usize,
    /// A command that prints how many effects a key has had.
    pub effects: Option<String>,
}

/// Why a receiver can't be certified at all.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// There is no plan, or it isn't for HTTP.
    #[error("{0}")]
    Plan(String),
    /// Nobody can be heard.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The acks topic can't be read.
    #[error("the acks topic can't be read: {0}")]
    Acks(String),
    /// The command that counts effects doesn't.
    #[error("--effects: {0}")]
    Effects(String),
    /// No request leaves: the receiver can't be reached, or a secret isn't there.
    #[error("no request leaves: {0}")]
    Unreached(String),
}

/// Sends everything and says what came of it.
pub async fn certify(subject: Subject) -> Result<Report, CertifyError> {
    let first = (subject.plan_of)(&sender::fresh_file()).map_err(CertifyError::Plan)?;
    if first.transport == TransportKind::Kafka {
        return Err(CertifyError::Plan(format!(
            "{} is a topic: only receivers over HTTP can be certified",
            first.target
        )));
    }
    let hearing = match (first.confirmed_by.by, &subject.acks) {
        (Confirmation::Callback, None) => Some(callbacks::hear(&subject, &first).await?),
        (Confirmation::Acks, Some(topic)) => Some(acks::hear(topic.clone(), &first).await?),
        (_, None) => None,
        (by, Some(_)) => return Err(CertifyError::Plan(format!("--acks: {} is confirmed by {by}", first.target))),
    };
    let sender = sender::Sender::new(&subject, &first, hearing.as_ref());
    checks::Run { subject: &subject, plan: &first, sender, hearing, checks: Vec::new(), keys: BTreeMap::new() }
        .all()
        .await
}

/// The shell by which the count of effects is asked for.
fn shell() -> PathBuf {
    PathBuf::from("/bin/sh")
}

#[cfg(test)]
mod tests;
