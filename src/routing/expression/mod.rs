//! CEL as routing documents use it: the same result in every process, in bounded time.
//!
//! What the language leaves open is closed here. JSON numbers are ints where their value is integral and fits 64 bits,
//! else doubles. A comprehension over a map goes through its keys in order. Names and functions are checked when the
//! document is loaded. Comprehensions don't nest, and what they and `+` may produce is counted.

mod check;
mod response;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use serde_json::Value as Json;

pub use response::{Response, Rule, response_rule};

use super::table::Table;

/// Longest source of an expression, in bytes.
pub const MAX_SOURCE: usize = 4096;
/// Items that the comprehensions of one evaluation may go through.
pub const MAX_ITEMS: usize = 10_000;
/// Bytes that the `+` operators of one evaluation may produce, list items counted as eight each.
pub const MAX_SUM_BYTES: usize = 4 * 1024 * 1024;

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
        let program = ENV.compile(source).map_err(|errors| parse_error(&errors))?;
        let mut tree = program.expression().clone();
        check::check(&tree, scope, tables)?;
        check::count_costs(&mut tree);
        Ok(Self { source: source.into(), tree: Arc::new(tree) })
    }

    /// The text as it stands in the document.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

fn parse_error(errors: &cel::ParseErrors) -> String {
    errors.errors.first().map_or_else(
        || "the expression can't be read".to_owned(),
        |error| format!("the expression can't be read at character {}: {}", error.pos.1.max(1), one_line(&error.msg)),
    )
}

fn one_line(text: &str) -> String {
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

/// What one evaluation may still cost.
#[derive(Debug, Default)]
struct Spent {
    items: AtomicUsize,
    sum_bytes: AtomicUsize,
}

impl Spent {
    fn reset(&self) {
        self.items.store(0, Ordering::Relaxed);
        self.sum_bytes.store(0, Ordering::Relaxed);
    }

    fn spend(counter: &AtomicUsize, amount: usize, limit: usize, what: &str) -> Result<(), ExecutionError> {
        let spent = counter.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
        if spent > limit { Err(ExecutionError::function_error(what, format!("more than {limit}"))) } else { Ok(()) }
    }
}

/// The names that expressions see, with their values, for one file or one response.
pub(crate) struct Evaluator {
    context: Context<'static, 'static>,
    spent: Arc<Spent>,
}

impl Evaluator {
    /// An environment with these variables and, for `lookup`, these tables.
    pub(crate) fn new<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a Json)>,
        tables: Arc<BTreeMap<String, Table>>,
    ) -> Result<Self, String> {
        let spent = Arc::new(Spent::default());
        let mut context = Context::with_env(Arc::clone(&ENV));
        for (name, json) in variables {
            context.add_variable_from_value(name, value::from_json(json)?);
        }
        let declared = [
            context.add_function("omit", value::omit),
            context.add_function("lookup", move |table: Arc<String>, key: Value| value::lookup(&tables, &table, &key)),
            context.add_function(check::ITEMS, {
                let spent = Arc::clone(&spent);
                move |range: Value| {
                    let items = value::items(range)?;
                    Spent::spend(&spent.items, items.len(), MAX_ITEMS, LIMIT_ITEMS)?;
                    Ok::<Value, ExecutionError>(Value::List(items))
                }
            }),
            context.add_function(check::SUM, {
                let spent = Arc::clone(&spent);
                move |sum: Value| {
                    Spent::spend(&spent.sum_bytes, value::weight(&sum), MAX_SUM_BYTES, LIMIT_SUM)?;
                    Ok::<Value, ExecutionError>(sum)
                }
            }),
        ];
        declared.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())?;
        Ok(Self { context, spent })
    }

    /// The JSON value of a leaf.
    pub(crate) fn leaf(&self, expression: &Expression) -> Result<Leaf, String> {
        let result = self.evaluate(expression)?;
        if value::is_omit(&result) {
            return Ok(Leaf::Omitted);
        }
        value::to_json(&result).map(Leaf::Value).map_err(|why| format!("`{}`: {why}", expression.source))
    }

    /// Whether a condition holds.
    pub(crate) fn holds(&self, expression: &Expression) -> Result<bool, String> {
        match self.evaluate(expression)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("`{}` gives {}, not a boolean", expression.source, value::type_name(&other))),
        }
    }

    fn evaluate(&self, expression: &Expression) -> Result<Value, String> {
        self.spent.reset();
        Value::resolve(&expression.tree, &self.context)
            .map_err(|error| format!("`{}`: {}", expression.source, explain(&error)))
    }
}

const LIMIT_ITEMS: &str = "items in comprehensions";
const LIMIT_SUM: &str = "bytes from `+`";

/// An error in words that are the same in every process: CEL's own would print maps in any order, and the file's data.
fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        ExecutionError::NoSuchOverload(overload) => {
            format!("`{}` doesn't take ({})", overload.function(), overload.argument_types().join(", "))
        }
        ExecutionError::UnexpectedType { got, want } if got.len() < 32 => format!("a {got} stands where a {want} must"),
        ExecutionError::FunctionError { function, message } if function == LIMIT_ITEMS || function == LIMIT_SUM => {
            format!("{message} {function}")
        }
        ExecutionError::FunctionError { function, message } if function == value::LOOKUP => {
            format!("`lookup` {message}")
        }
        ExecutionError::FunctionError { function, .. } => format!("`{function}` fails"),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not declared"),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => format!("`{operator}` doesn't take these types"),
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
