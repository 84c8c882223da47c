//! The fold of `controls`: what the whole group obeys, by the newest record of each name.

use std::collections::BTreeMap;

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

    /// Since when a target is paused, by whom and why: the earlier of two pauses.
    pub fn pause(&self, target: &TargetName) -> Option<(&TargetPause, &Control)> {
        [PausedBy::Engine, PausedBy::Operator]
            .into_iter()
            .filter_map(|by| {
                let control = self.control(&pause_name(target, by))?;
                let pause = control.pause.as_ref().filter(|p| p.paused)?;
                Some((pause, control))
            })
            .min_by_key(|(pause, _)| pause.since)
    }

    /// When a target was last resumed: an attempt authorized before that can't cause a new automatic pause.
    pub fn resumed_at(&self, target: &TargetName) -> Option<Timestamp> {
        [PausedBy::Engine, PausedBy::Operator]
            .into_iter()
            .filter_map(|by| self.control(&pause_name(target, by))?.pause.as_ref())
            .filter(|p| !p.paused)
            .map(|p| p.since)
            .max()
    }

    /// Every target that is paused.
    pub fn paused(&self) -> Vec<&TargetPause> {
        let mut targets: Vec<&TargetPause> =
            self.by_name.values().filter_map(|c| c.pause.as_ref()).filter(|p| p.paused).collect();
        targets.sort_by(|a, b| (&a.target, a.since).cmp(&(&b.target, b.since)));
        targets.dedup_by(|a, b| a.target == b.target);
        targets
    }
}

impl Control {
    /// A pause (or, with `paused` false, the end of one).
    pub fn pausing(
        target: &TargetName,
        by: PausedBy,
        paused: bool,
        code: Option<String>,
        (actor, reason, at): (&str, &str, Timestamp),
    ) -> Self {
        let pause = TargetPause { target: target.clone(), paused, since: at, code };
        Self { pause: Some(pause), ..Self::blank(pause_name(target, by), actor, reason, at) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(by: PausedBy, paused: bool, at: i64) -> Control {
        Control::pausing(&TargetName::trusted("a"), by, paused, None, ("ann", "test", Timestamp(at)))
    }

    #[test]
    fn a_target_is_paused_while_anyone_pauses_it() {
        let target = TargetName::trusted("a");
        let mut controls = Controls::default();
        for control in [pause(PausedBy::Engine, true, 1), pause(PausedBy::Operator, true, 2)] {
            controls.apply(&control.name.clone(), Some(control));
        }
        assert_eq!(controls.pause(&target).unwrap().0.since, Timestamp(1));
        assert_eq!(controls.paused().len(), 1);
        let resume = pause(PausedBy::Engine, false, 3);
        controls.apply(&resume.name.clone(), Some(resume));
        assert_eq!(controls.pause(&target).unwrap().0.since, Timestamp(2));
        assert_eq!(controls.resumed_at(&target), Some(Timestamp(3)));
        let resume = pause(PausedBy::Operator, false, 4);
        controls.apply(&resume.name.clone(), Some(resume));
        assert!(controls.pause(&target).is_none());
        assert_eq!(controls.resumed_at(&target), Some(Timestamp(4)));
    }
}
