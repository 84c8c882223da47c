//! What `/metrics` says, as series and values.

use std::collections::BTreeMap;

use crate::world::World;

/// Labels and values of one metric.
pub type Series = BTreeMap<Vec<String>, f64>;

/// Name, labels and value of each series.
pub struct Numbers(Vec<(String, BTreeMap<String, String>, String)>);

impl Numbers {
    pub async fn of(world: &World) -> Self {
        let text = reqwest::get(format!("{}/metrics", world.url())).await.unwrap().text().await.unwrap();
        Self(text.lines().filter(|line| !line.starts_with('#')).map(parsed).collect())
    }

    /// A metric's series by the values of these labels, summed over the others; those at zero are left out.
    pub fn by(&self, metric: &str, labels: &[&str]) -> Series {
        assert!(self.0.iter().any(|(name, ..)| name == metric), "there is no {metric}");
        let mut series = Series::new();
        for (_, has, value) in self.0.iter().filter(|(name, _, value)| name == metric && value != "0") {
            let key = labels.iter().map(|label| has.get(*label).cloned().unwrap_or_default()).collect();
            *series.entry(key).or_default() += number(value);
        }
        series
    }

    /// The value of one series; zero where it isn't shown.
    pub fn value(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.of_labels(metric, labels).map(number).sum()
    }

    /// The same of what is counted.
    pub fn count(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        self.of_labels(metric, labels).map(|value| value.parse::<u64>().unwrap()).sum()
    }

    fn of_labels(&self, metric: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &str> {
        let is_it = move |has: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| has.get(*name).is_some_and(|is| is == value))
        };
        self.0.iter().filter(move |(name, has, _)| name == metric && is_it(has)).map(|(.., value)| value.as_str())
    }
}

fn number(value: &str) -> f64 {
    value.parse().unwrap_or_else(|e| panic!("{value}: {e}"))
}

fn parsed(line: &str) -> (String, BTreeMap<String, String>, String) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    });
    (name.to_owned(), labels.collect(), value.to_owned())
}
