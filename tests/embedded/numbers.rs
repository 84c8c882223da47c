//! What `/metrics` says, as series and values.

use std::collections::BTreeMap;

use crate::world::World;

/// Labels and values of one metric.
pub type Series = BTreeMap<Vec<String>, f64>;

pub struct Numbers(Vec<(String, BTreeMap<String, String>, f64)>);

impl Numbers {
    pub async fn of(world: &World) -> Self {
        let text = reqwest::get(format!("{}/metrics", world.url())).await.unwrap().text().await.unwrap();
        Self(text.lines().filter(|line| !line.starts_with('#')).map(parsed).collect())
    }

    /// A metric's series by the values of these labels, summed over the others; those at zero are left out.
    pub fn by(&self, metric: &str, labels: &[&str]) -> Series {
        assert!(self.0.iter().any(|(name, ..)| name == metric), "there is no {metric}");
        let mut series = Series::new();
        for (_, has, value) in self.0.iter().filter(|(name, _, value)| name == metric && *value != 0.0) {
            let key = labels.iter().map(|label| has.get(*label).cloned().unwrap_or_default()).collect();
            *series.entry(key).or_default() += value;
        }
        series
    }

    /// The value of one series; zero where it isn't shown.
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |has: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| has.get(*name).is_some_and(|is| is == value))
        };
        self.0.iter().filter(|(name, has, _)| name == metric && is_it(has)).map(|(.., value)| value).sum()
    }
}

fn parsed(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap_or_else(|e| panic!("{line}: {e}")))
}
