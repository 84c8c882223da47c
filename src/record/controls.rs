//! The fold of `controls`: what the whole group obeys, by the newest record of each name.

use std::collections::{BTreeMap, BTreeSet};

use super::{ActiveRouting, Control, RoutingBundle, TargetName, TargetPause, Timestamp};

/// The name of the record that says which routing document is in force.
pub const ACTIVE: &str = "active";
/// The name of the record that fixes the number of home partitions.
pub const HOME_PARTITIONS: &str = "home_partitions";

/// Who paused a target. Each has a record of its own, so that neither overwrites the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PausedBy {
    /// The engine, because the target refused our credentials or certificate.
    Engine,
    /// A person.
    Operator,
}

impl PausedBy {
    /// The last part of the record's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Operator => "operator",
        }
    }
}

/// The name of a pause's record.
pub fn pause_name(target: &TargetName, by: PausedBy) -> String {
    format!("pause/{target}/{}", by.as_str())
}

/// The name of a routing document's record.
pub fn routing_name(digest: &str) -> String {
    format!("routing/{digest}")
}

/// Everything on `controls`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Controls {
    by_name: BTreeMap<String, Control>,
}

impl Controls {
    /// Takes in one record; `None` is a tombstone.
    pub fn apply(&mut self, name: &str, control: Option<Control>) {
        match control {
            Some(control) => self.by_name.insert(name.to_owned(), control),
            None => self.by_name.remove(name),
        };
    }

    /// The record of that name.
    pub fn control(&self, name: &str) -> Option<&Control> {
        self.by_name.get(name)
    }

    /// The routing document in force.
    pub fn active(&self) -> Option<&ActiveRouting> {
        self.control(ACTIVE)?.active.as_ref()
    }

    /// A routing document with its files, by digest.
    pub fn routing(&self, digest: &str) -> Option<&RoutingBundle> {
        self.control(&routing_name(digest))?.routing.as_ref()
    }

    /// The number of home partitions.
    pub fn home_partitions(&self) -> Option<i32> {
        self.control(HOME_PARTITIONS)?.home_partitions
    }

    /// When that number was written: the age of the topics.
    pub fn founded_at(&self) -> Option<Timestamp> {
        Some(self.control(HOME_PARTITIONS)?.at)
    }

    /// The pauses of a target that are in force, the engine's first.
    pub fn pauses(&self, target: &TargetName) -> Vec<Pause<'_>> {
        let resumed_at = self.resumed_at(target);
        [PausedBy::Engine, PausedBy::Operator]
            .into_iter()
            .filter_map(|by| Some((by, self.control(&pause_name(target, by))?)))
            .filter_map(|(by, control)| Some(Pause { by, control, pause: control.pause.as_ref()? }))
            .filter(|Pause { by, pause, .. }| {
                pause.paused && (*by == PausedBy::Operator || outlasts(pause, resumed_at))
            })
            .collect()
    }

    /// Whether anyone pauses a target.
    pub fn is_paused(&self, target: &TargetName) -> bool {
        !self.pauses(target).is_empty()
    }

    /// When people last resumed a target: an attempt authorized before that causes no automatic pause.
    pub fn resumed_at(&self, target: &TargetName) -> Option<Timestamp> {
        let said = self.control(&pause_name(target, PausedBy::Operator))?.pause.as_ref()?;
        if said.paused { said.resumed_at } else { Some(said.since) }
    }

    /// Every target that is paused, by name, with the time of its earliest pause.
    pub fn paused(&self) -> Vec<(&TargetName, Timestamp)> {
        let named: BTreeSet<&TargetName> =
            self.by_name.values().filter_map(|c| c.pause.as_ref()).map(|p| &p.target).collect();
        let since = |target| self.pauses(target).iter().map(|p| p.pause.since).min();
        named.into_iter().filter_map(|target| Some((target, since(target)?))).collect()
    }
}

/// One pause in force.
#[derive(Debug, Clone, Copy)]
pub struct Pause<'a> {
    /// Who paused.
    pub by: PausedBy,
    /// The whole record.
    pub control: &'a Control,
    /// What it says of the target.
    pub pause: &'a TargetPause,
}

/// Whether an automatic pause is younger than the last resume. Its worker may have decided it before it could read that
/// resume, and written it after.
fn outlasts(pause: &TargetPause, resumed_at: Option<Timestamp>) -> bool {
    resumed_at.is_none_or(|at| pause.authorized_at.unwrap_or(pause.since) > at)
}

impl Control {
    /// People's pause of a target, or with `paused` false the end of every pause of it. `resumed_at` is what
    /// [`Controls::resumed_at`] said before.
    pub fn pausing(
        target: &TargetName,
        paused: bool,
        resumed_at: Option<Timestamp>,
        (actor, reason, at): (&str, &str, Timestamp),
    ) -> Self {
        let resumed_at = resumed_at.filter(|_| paused);
        let pause = TargetPause { resumed_at, ..TargetPause::new(target, paused, at) };
        Self { pause: Some(pause), ..Self::blank(pause_name(target, PausedBy::Operator), actor, reason, at) }
    }

    /// The engine's pause of a target that refused an attempt authorized at `authorized_at`.
    pub fn refused(
        target: &TargetName,
        code: String,
        authorized_at: Timestamp,
        (actor, reason, at): (&str, &str, Timestamp),
    ) -> Self {
        let (code, authorized_at) = (Some(code), Some(authorized_at));
        let pause = TargetPause { code, authorized_at, ..TargetPause::new(target, true, at) };
        Self { pause: Some(pause), ..Self::blank(pause_name(target, PausedBy::Engine), actor, reason, at) }
    }

    /// A routing document, kept by its digest.
    pub fn keeping(bundle: RoutingBundle, (actor, reason, at): (&str, &str, Timestamp)) -> Self {
        let name = routing_name(&bundle.digest);
        Self { routing: Some(bundle), ..Self::blank(name, actor, reason, at) }
    }

    /// The routing document in force.
    pub fn activating(active: ActiveRouting, (actor, reason, at): (&str, &str, Timestamp)) -> Self {
        Self { active: Some(active), ..Self::blank(ACTIVE.to_owned(), actor, reason, at) }
    }

    /// The number of home partitions, written once.
    pub fn homing(home_partitions: i32, (actor, reason, at): (&str, &str, Timestamp)) -> Self {
        Self { home_partitions: Some(home_partitions), ..Self::blank(HOME_PARTITIONS.to_owned(), actor, reason, at) }
    }

    fn blank(name: String, actor: &str, reason: &str, at: Timestamp) -> Self {
        Self {
            name,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            at,
            active: None,
            routing: None,
            pause: None,
            home_partitions: None,
        }
    }
}

impl TargetPause {
    fn new(target: &TargetName, paused: bool, since: Timestamp) -> Self {
        Self { target: target.clone(), paused, since, code: None, authorized_at: None, resumed_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> TargetName {
        TargetName::trusted("a")
    }

    fn by_people(paused: bool, resumed_at: Option<i64>, at: i64) -> Control {
        Control::pausing(&target(), paused, resumed_at.map(Timestamp), ("ann", "test", Timestamp(at)))
    }

    fn by_engine(authorized_at: i64, at: i64) -> Control {
        Control::refused(&target(), "http_401".into(), Timestamp(authorized_at), ("consign", "test", Timestamp(at)))
    }

    fn fold(all: impl IntoIterator<Item = Control>) -> Controls {
        let mut controls = Controls::default();
        for control in all {
            controls.apply(&control.name.clone(), Some(control));
        }
        controls
    }

    #[test]
    fn a_target_is_paused_while_anyone_pauses_it_and_a_resume_ends_both() {
        let both = [by_engine(1, 2), by_people(true, None, 3)];
        assert_eq!(fold(both.clone()).paused(), [(&target(), Timestamp(2))]);
        assert_eq!(fold(both.clone()).pauses(&target()).len(), 2);
        let resumed = fold(both.into_iter().chain([by_people(false, None, 4)]));
        assert!(!resumed.is_paused(&target()));
        assert_eq!(resumed.resumed_at(&target()), Some(Timestamp(4)));
    }

    #[test]
    fn a_pause_decided_before_a_resume_and_written_after_it_changes_nothing() {
        let resumed = [by_engine(1, 2), by_people(false, None, 4)];
        let late = fold(resumed.clone().into_iter().chain([by_engine(3, 5)]));
        assert!(!late.is_paused(&target()));
        let younger = fold(resumed.clone().into_iter().chain([by_engine(5, 6)]));
        assert!(younger.is_paused(&target()));
        // People pause again, which must not bring the old pause back.
        let again = fold(resumed.into_iter().chain([by_people(true, Some(4), 7)]));
        assert_eq!(again.pauses(&target()).iter().map(|p| p.by).collect::<Vec<_>>(), [PausedBy::Operator]);
        assert_eq!(again.resumed_at(&target()), Some(Timestamp(4)));
    }
}
