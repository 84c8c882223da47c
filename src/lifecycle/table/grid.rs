//! A decision table: every cell, the rows that cells with equal results make, and both as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Stands for every value that a column has in the cells that the row's other columns name.
pub const ANY: &str = "-";

/// Stands between values of one column.
pub const OR: &str = " / ";

/// One cell: a value for each input column, and what the machine makes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// One value for each input column.
    pub inputs: Vec<String>,
    /// One value for each output column.
    pub outputs: Vec<String>,
}

/// A decision table, complete: one cell for each combination that can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, in lower case.
    pub name: &'static str,
    /// What it decides, in a sentence.
    pub title: &'static str,
    /// Names of the input columns.
    pub inputs: &'static [&'static str],
    /// Names of the output columns.
    pub outputs: &'static [&'static str],
    /// Whether each value of the first column has rows of its own, so that they stand together.
    pub by_first_column: bool,
    /// Every cell, in the order in which the table is read.
    pub cells: Vec<Cell>,
}

/// Cells with equal results that differ in one column after the other.
struct Merged {
    inputs: Vec<Vec<String>>,
    outputs: Vec<String>,
}

impl Table {
    /// Adds a cell.
    pub(crate) fn add<const I: usize, const O: usize>(&mut self, inputs: [&str; I], outputs: [String; O]) {
        let inputs = inputs.into_iter().map(str::to_owned).collect();
        self.cells.push(Cell { inputs, outputs: outputs.into() });
    }

    /// The table's rows: each column holds values joined by [`OR`], or [`ANY`]. Together they name every cell once.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Merged> = self
            .cells
            .iter()
            .map(|c| Merged { inputs: c.inputs.iter().map(|v| vec![v.clone()]).collect(), outputs: c.outputs.clone() })
            .collect();
        for column in (usize::from(self.by_first_column)..self.inputs.len()).rev() {
            rows = self.merged(rows, column);
        }
        rows.into_iter()
            .map(|row| row.inputs.iter().map(|values| values.join(OR)).chain(row.outputs).collect())
            .collect()
    }

    /// Merges rows that differ in one column only. All columns before it still hold one value each.
    fn merged(&self, rows: Vec<Merged>, column: usize) -> Vec<Merged> {
        let mut merged: Vec<Merged> = Vec::new();
        let mut places: BTreeMap<(Vec<Vec<String>>, Vec<String>), usize> = BTreeMap::new();
        for mut row in rows {
            let values = std::mem::take(&mut row.inputs[column]);
            let place = *places.entry((row.inputs.clone(), row.outputs.clone())).or_insert(merged.len());
            if place == merged.len() {
                merged.push(row);
            }
            merged[place].inputs[column].extend(values);
        }
        // Where each value of the first column has rows of its own, no other cells can be meant.
        let mut cells: BTreeMap<&str, Vec<&Cell>> = BTreeMap::new();
        for cell in &self.cells {
            cells.entry(if self.by_first_column { &cell.inputs[0] } else { ANY }).or_default().push(cell);
        }
        for row in &mut merged {
            let group = if self.by_first_column { row.inputs[0][0].as_str() } else { ANY };
            let allows = |(c, values): (usize, &Vec<String>), cell: &Cell| {
                c == column || values[0] == ANY || values.contains(&cell.inputs[c])
            };
            let same_elsewhere = |cell: &&&Cell| row.inputs.iter().enumerate().all(|place| allows(place, cell));
            let possible: BTreeSet<&str> =
                cells[group].iter().filter(same_elsewhere).map(|cell| cell.inputs[column].as_str()).collect();
            let here: BTreeSet<&str> = row.inputs[column].iter().map(String::as_str).collect();
            if here == possible && possible.len() > 1 {
                row.inputs[column] = vec![ANY.to_owned()];
            }
        }
        merged
    }

    /// The table as text: a line of column names and one for each row, columns apart by ` | `.
    pub fn render(&self) -> String {
        let rows = self.with_header();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let mut text = format!("# {}: {}\n", self.name, self.title);
        for row in &rows {
            let padded: Vec<String> =
                row.iter().zip(&widths).map(|(value, width)| format!("{value:<width$}")).collect();
            let _ = writeln!(text, "{}", padded.join(" | ").trim_end());
        }
        text
    }

    /// The table in Markdown.
    pub fn render_markdown(&self) -> String {
        let (first, rest) = self.title.split_at(1);
        let mut text = format!("## {}\n\n{}{rest}.\n\n", self.name, first.to_uppercase());
        for (number, row) in self.with_header().iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
            }
        }
        text
    }

    fn with_header(&self) -> Vec<Vec<String>> {
        let header = self.inputs.iter().chain(self.outputs).map(|name| (*name).to_owned()).collect();
        std::iter::once(header).chain(self.rows()).collect()
    }

    /// How a text in the form of [`Table::render`] differs from the machine, in words; empty if it says the same: each
    /// cell is named by exactly one row, and each row names a cell. Lines that begin with `#` are comments.
    pub fn differences(&self, text: &str) -> Vec<String> {
        let mut differences = Vec::new();
        let mut says: BTreeMap<&[String], Vec<(usize, Vec<String>)>> = BTreeMap::new();
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (number, line) in lines.skip(1) {
            let values: Vec<String> = line.split('|').map(|value| value.trim().to_owned()).collect();
            if values.len() != self.inputs.len() + self.outputs.len() {
                differences.push(format!("line {number} has {} columns: {line}", values.len()));
                continue;
            }
            let (inputs, outputs) = values.split_at(self.inputs.len());
            let named = self.cells.iter().filter(|cell| names(inputs, &cell.inputs));
            let before = says.values().map(Vec::len).sum::<usize>();
            named.for_each(|cell| says.entry(&cell.inputs).or_default().push((number, outputs.to_vec())));
            if says.values().map(Vec::len).sum::<usize>() == before {
                differences.push(format!("line {number} names no cell: {line}"));
            }
        }
        for cell in &self.cells {
            let (inputs, machine) = (cell.inputs.join(" | "), cell.outputs.join(" | "));
            match says.get(cell.inputs.as_slice()).map(Vec::as_slice) {
                None => differences.push(format!("{inputs}\n    no line, the machine says: {machine}")),
                Some([(number, outputs)]) if *outputs != cell.outputs => differences.push(format!(
                    "{inputs}\n    line {number} says:      {}\n    the machine says: {machine}",
                    outputs.join(" | ")
                )),
                Some([_]) => {}
                Some(several) => {
                    let numbers: Vec<String> = several.iter().map(|(number, _)| number.to_string()).collect();
                    differences.push(format!("{inputs}\n    named by lines {}", numbers.join(", ")));
                }
            }
        }
        differences
    }
}

fn names(row: &[String], cell: &[String]) -> bool {
    row.iter().zip(cell).all(|(values, value)| values == ANY || values.split(OR).any(|v| v.trim() == value))
}
