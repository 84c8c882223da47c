//! CEL as routing documents use it: the same result in every process, in bounded time.
//!
//! What the language leaves open is closed here. JSON numbers are ints where their value is integral and fits 64 bits,
//! else doubles. A comprehension over a map goes through its keys in order. Names and functions are checked when the
//! document is loaded. Comprehensions don't nest. What an expression
//! goes through and what it builds is counted before it is done (`counted`), and copies of lists and maps share them (`shared`).

mod check;
mod cost;
mod counted;
mod response;
mod shared;
mod split;
mod types;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use serde_json::Value as Json;

pub use cost::{
    MAX_BUILT_BYTES_OF_A_FILE, MAX_HELD_BYTES, MAX_ITEMS, MAX_ITEMS_OF_A_FILE, MAX_SEARCHED_BYTES,
    MAX_SEARCHED_BYTES_OF_A_FILE, MAX_STEPS_OF_A_FILE, MAX_SUM_BYTES, MAX_SUM_BYTES_OF_A_FILE, MAX_WRITTEN_BYTES,
    MAX_WRITTEN_BYTES_OF_A_FILE,
};
pub use response::{Response, Rule, response_rule};

use super::room::with_room;
use super::table::Table;
use super::weight;
use cost::Spent;

/// Longest source of an expression, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// The standard library and nothing else; CEL's optional values are left out.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// Which names and functions an expression may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// A `when`: the file.
    Condition,
    /// A leaf of a payload: the file and `omit()`.
    Leaf,
    /// A rule over a response.
    Response,
}

/// An expression that has been checked and may be evaluated any number of times.
#[derive(Clone)]
pub(crate) struct Expression {
    source: Arc<str>,
    tree: Arc<IdedExpr>,
    /// The tables that it reads.
    tables: Arc<[String]>,
    reads_content: bool,
}

impl PartialEq for Expression {
    /// Two are one where they mean the same by their form: white space doesn't count.
    fn eq(&self, other: &Self) -> bool {
        self.tree == other.tree
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

impl Expression {
    /// Checks an expression. The error says what is wrong with it.
    pub(super) fn compile(source: &str, scope: Scope, tables: &BTreeMap<String, Table>) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("the expression is longer than {MAX_SOURCE} bytes"));
        }
        if source.trim().is_empty() {
            return Err("the expression is empty".to_owned());
        }
        read(|| {
            let program = ENV.compile(source).map_err(|errors| parse_error(&errors))?;
            let mut tree = program.expression().clone();
            let (tables, reads_content) = check::check(&tree, scope, tables)?;
            if scope == Scope::Leaf {
                counted::count_leaf(&mut tree);
            } else {
                counted::count_condition(&mut tree);
            }
            Ok(Self { source: source.into(), tree: Arc::new(tree), tables: tables.into(), reads_content })
        })
    }

    /// The text as it stands in the document.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The conditions that all must hold for this one to hold: what stands between its `&&`, itself if there is none.
    pub(crate) fn conjuncts(&self) -> Vec<Self> {
        let parts = split::conjuncts(&self.source);
        let compiled: Option<Vec<Self>> = parts.iter().map(|part| self.part(part)).collect();
        compiled.filter(|parts| parts.len() > 1).unwrap_or_else(|| vec![self.clone()])
    }

    /// A part of this expression, which has been checked as a whole.
    fn part(&self, source: &str) -> Option<Self> {
        let source = source.trim();
        let compiled = read(|| {
            let mut tree = ENV.compile(source).map_err(|errors| parse_error(&errors))?.expression().clone();
            counted::count_condition(&mut tree);
            Ok(tree)
        });
        let (tables, reads_content) = (Arc::clone(&self.tables), self.reads_content);
        compiled.ok().map(|tree| Self { source: source.into(), tree: Arc::new(tree), tables, reads_content })
    }

    /// The names that `file.type` must be one of for it to hold; `None` where its form doesn't tell.
    pub(super) fn file_types(&self) -> Option<BTreeSet<String>> {
        types::file_types(counted::inner(&self.tree))
    }

    /// Whether it reads the file's `content`.
    pub(super) fn reads_content(&self) -> bool {
        self.reads_content
    }

    /// The tables that it reads, by name.
    pub(super) fn tables(&self) -> &[String] {
        &self.tables
    }
}

fn read<T: Send>(read: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    with_room(read).unwrap_or_else(|e| Err(format!("the expression can't be read: {e}")))
}

/// Longest part of an expression that a message shows, in characters.
const MAX_SHOWN: usize = 120;

/// An expression as messages show it: on one line, and not all of a long one.
pub(crate) fn shown(source: &str) -> String {
    let line = source.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn parse_error(errors: &cel::ParseErrors) -> String {
    errors.errors.first().map_or_else(
        || "the expression can't be read".to_owned(),
        |error| format!("the expression can't be read at character {}: {}", error.pos.1.max(1), syntax(&error.msg)),
    )
}

/// The parser's words on one line, without its list of all that could have stood there.
fn syntax(text: &str) -> String {
    let text = text.split(" expecting ").next().unwrap_or(text);
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What a leaf of a payload gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Leaf {
    /// A JSON value.
    Value(Json),
    /// `omit()`: the key isn't there.
    Omitted,
}

/// The names that expressions see, with their values, for one file or one response.
pub(crate) struct Evaluator {
    context: Context<'static, 'static>,
    spent: Arc<Spent>,
}

impl Evaluator {
    /// An environment with these variables and, for `lookup`, these tables. The error says that the variables take more memory than
    /// they may.
    pub(crate) fn new<'a>(
        variables: impl IntoIterator<Item = (&'a str, Json)>,
        tables: &Arc<BTreeMap<String, Table>>,
    ) -> Result<Self, String> {
        let spent = Arc::new(Spent::default());
        let mut context = Context::with_env(Arc::clone(&ENV));
        for (name, json) in variables {
            spent.input(weight::of_json(&json)).map_err(|why| format!("with `{name}` there are {why}"))?;
            context.add_variable_as_val(name, value::from_json(json));
        }
        context
            .add_function("omit", value::omit)
            .and_then(|()| counted::declare(&mut context, &spent, tables))
            .map_err(|error| error.to_string())?;
        Ok(Self { context, spent })
    }

    /// The same, with a bound on what all evaluations cost together.
    #[must_use]
    pub(crate) fn bounded(self) -> Self {
        self.spent.bound();
        self
    }

    /// Evaluates the leaves of one payload, which are there at once.
    pub(crate) fn payload<T>(&self, render: impl FnOnce() -> T) -> T {
        self.spent.payload(true);
        let rendered = render();
        self.spent.payload(false);
        rendered
    }

    /// The JSON value of a leaf.
    pub(crate) fn leaf(&self, expression: &Expression) -> Result<Leaf, String> {
        let result = self.evaluate(expression)?;
        if value::is_omitted(&result) {
            return Ok(Leaf::Omitted);
        }
        let written = value::into_written(result);
        written.map(Leaf::Value).ok_or_else(|| format!("`{}` gives no JSON", shown(&expression.source)))
    }

    /// Whether a condition holds.
    pub(crate) fn holds(&self, expression: &Expression) -> Result<bool, String> {
        match self.evaluate(expression)? {
            Value::Bool(holds) => Ok(holds),
            other => {
                Err(format!("`{}` gives {}, not a boolean", shown(&expression.source), value::type_name_of(&other)))
            }
        }
    }

    fn evaluate(&self, expression: &Expression) -> Result<Value, String> {
        self.spent.reset();
        Value::resolve(&expression.tree, &self.context)
            .map_err(|error| format!("`{}`: {}", shown(&expression.source), explain(&error, &expression.source)))
    }
}

/// An error in words that are the same in every process: CEL's own would print maps in any order, and the file's
/// data, which a failure must not carry into records and logs.
fn explain(error: &ExecutionError, source: &str) -> String {
    match error {
        ExecutionError::NoSuchKey(key) if source.contains(key.as_str()) => format!("there is no `{key}`"),
        ExecutionError::NoSuchKey(_) => "the key that it computes isn't there".to_owned(),
        ExecutionError::NoSuchOverload(overload) => {
            format!("`{}` doesn't take ({})", overload.function(), overload.argument_types().join(", "))
        }
        ExecutionError::UnexpectedType { got, want } if got.len() < 32 => format!("{want} is needed, not {got}"),
        ExecutionError::FunctionError { function, message } if function == cost::LIMIT => message.clone(),
        ExecutionError::FunctionError { function, message } if function == value::LOOKUP => {
            format!("`lookup` {message}")
        }
        ExecutionError::FunctionError { function, .. } => format!("`{function}` fails"),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not declared"),
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            format!("`{operator}` doesn't take {} and {}", value::type_name_of(left), value::type_name_of(right))
        }
        ExecutionError::ValuesNotComparable(..) => "values of these types can't be compared".to_owned(),
        ExecutionError::UnsupportedIndex(..) | ExecutionError::UnsupportedKeyType(_) => {
            "a value of this type is no index".to_owned()
        }
        ExecutionError::IndexOutOfBounds(_) => "the index is outside the list".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        ExecutionError::DuplicateKey(_) => "a key is there twice".to_owned(),
        _ => "it can't be evaluated".to_owned(),
    }
}
