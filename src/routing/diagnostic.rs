//! What is wrong with a routing document, where, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::node::At;

/// One thing that is wrong (or, among the warnings, risky) in a routing document or a file that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A code with a page under `docs/errors/`; see [`super::code`].
    pub code: &'static str,
    /// The file, by the name that the document uses; the document itself by its own.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub text: String,
    /// What would be right, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: CG1xx text (hint)`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {} {}", self.file, self.line, self.column, self.code, self.text)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Collects what is wrong, so that a person sees all of it at once.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), errors: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn error(&mut self, code: &'static str, at: At, text: impl Into<String>) {
        self.errors.push(self.diagnostic(code, at, text.into(), None));
    }

    pub(super) fn error_with_hint(
        &mut self,
        code: &'static str,
        at: At,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors.push(self.diagnostic(code, at, text.into(), Some(hint.into())));
    }

    /// An error in a file that the document names.
    pub(super) fn error_in(&mut self, file: &str, code: &'static str, line: usize, text: impl Into<String>) {
        let at = At { line, column: 1 };
        let diagnostic = Diagnostic { file: file.to_owned(), ..self.diagnostic(code, at, text.into(), None) };
        self.errors.push(diagnostic);
    }

    pub(super) fn warning(&mut self, code: &'static str, at: At, text: impl Into<String>) {
        self.warnings.push(self.diagnostic(code, at, text.into(), None));
    }

    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Errors and warnings, each in the order of the text.
    pub(super) fn into_parts(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let Self { file, mut errors, mut warnings } = self;
        for diagnostics in [&mut errors, &mut warnings] {
            diagnostics.sort_by_key(|d| (d.file != file, d.file.clone(), d.line, d.column, d.code));
            diagnostics.dedup();
        }
        (errors, warnings)
    }

    fn diagnostic(&self, code: &'static str, at: At, text: String, hint: Option<String>) -> Diagnostic {
        Diagnostic { code, file: self.file.clone(), line: at.line, column: at.column, text, hint }
    }
}

/// The legal word that a wrong one is most like.
pub(super) fn nearest<'a>(wrong: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    legal
        .into_iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(wrong, word), word))
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, word)| word)
}

/// `did you mean …`, for a word that is none of the legal ones.
pub(super) fn suggestion<'a>(wrong: &str, legal: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(wrong, legal).map(|word| format!("the nearest legal one is `{word}`"))
}
