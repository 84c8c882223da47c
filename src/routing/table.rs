//! Tables: CSV that is versioned with the document and read by `lookup`.

use std::collections::BTreeMap;

use super::code;
use super::diagnostic::Report;

/// A table: rows of texts by the value of the first column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: BTreeMap<String, BTreeMap<String, String>>,
}

impl Table {
    /// Reads CSV with a header line. What is wrong with it goes to the report, with its line.
    pub(super) fn read(file: &str, text: &str, report: &mut Report) -> Self {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let columns = match reader.headers() {
            Ok(headers) => headers.iter().map(str::to_owned).collect::<Vec<_>>(),
            Err(error) => {
                report.error_in(file, code::TABLE, line_of(&error), "the header line can't be read");
                return Self::default();
            }
        };
        if columns.is_empty() {
            report.error_in(file, code::TABLE, 1, "the table is empty: it begins with a line of column names");
        }
        for (i, column) in columns.iter().enumerate() {
            if column.is_empty() {
                report.error_in(file, code::TABLE, 1, format!("column {} has no name", i + 1));
            } else if columns[..i].contains(column) {
                report.error_in(file, code::TABLE, 1, format!("column `{column}` is there twice"));
            }
        }
        let mut rows = BTreeMap::new();
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    let row: BTreeMap<String, String> =
                        columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect();
                    let key = record.get(0).unwrap_or_default().to_owned();
                    if rows.insert(key.clone(), row).is_some() {
                        let text = format!("the key `{key}` is there twice");
                        report.error_in(file, code::TABLE, usize::try_from(line).unwrap_or(0), text);
                    }
                }
                Err(error) => {
                    let text = match error.kind() {
                        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                            format!("the line has {len} fields and the header {expected_len}")
                        }
                        _ => "the line can't be read".to_owned(),
                    };
                    report.error_in(file, code::TABLE, line_of(&error), text);
                }
            }
        }
        Self { columns, rows }
    }

    /// The names of the columns, in order. The first is the key.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    /// Whether there is such a column.
    pub fn has_column(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known == column)
    }

    /// The keys of its rows, sorted.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// The row of a key.
    pub fn row(&self, key: &str) -> Option<&BTreeMap<String, String>> {
        self.rows.get(key)
    }
}

fn line_of(error: &csv::Error) -> usize {
    error.position().and_then(|position| usize::try_from(position.line()).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Table, Vec<(usize, String)>) {
        let mut report = Report::new("routing.yaml");
        let table = Table::read("t.csv", text, &mut report);
        (table, report.into_parts().0.into_iter().map(|d| (d.line, d.text)).collect())
    }

    #[test]
    fn the_first_column_is_the_key() {
        let (table, errors) = read("account,tier\na-1,gold\n\"a,2\",\n");
        assert_eq!(errors, []);
        assert_eq!(table.row("a-1").unwrap()["tier"], "gold");
        assert_eq!(table.row("a,2").unwrap()["tier"], "");
        assert_eq!(table.row("a-3"), None);
        assert!(table.has_column("tier") && !table.has_column("name"));
    }

    #[test]
    fn every_fault_is_reported_with_its_line() {
        let (_, errors) = read("k,a,a\nx,1,1\ny,1\nx,2,2\n");
        assert_eq!(
            errors,
            [
                (1, "column `a` is there twice".to_owned()),
                (3, "the line has 2 fields and the header 3".to_owned()),
                (4, "the key `x` is there twice".to_owned()),
            ]
        );
        assert_eq!(read("").1.len(), 1);
        assert_eq!(read("k,\n").1, [(1, "column 2 has no name".to_owned())]);
    }
}
