//! What one evaluation may cost, and the calls that are put into an expression so that it is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cel::common::ast::{CallExpr, EntryExpr, Expr, operators};
use cel::common::types::{CelList, CelString};
use cel::{Context, DeclarationError, ExecutionError, FunctionContext, IdedExpr, Value};

use super::value;

/// Items that the comprehensions of one evaluation may go through.
pub const MAX_ITEMS: usize = 10_000;
/// Bytes that the `+` operators of one evaluation may produce, any value but a text counted as eight.
pub const MAX_SUM_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that `contains` and `in` may go through in one evaluation, a list's items counted as sixteen each.
pub const MAX_SEARCHED_BYTES: usize = 64 * 1024 * 1024;

/// Items that the comprehensions of one file may go through, all evaluations together.
pub const MAX_ITEMS_OF_A_FILE: usize = 100_000;
/// Bytes that the `+` operators of one file may produce, all evaluations together.
pub const MAX_SUM_BYTES_OF_A_FILE: usize = 16 * 1024 * 1024;
/// Bytes that `contains` and `in` may go through for one file, all evaluations together.
pub const MAX_SEARCHED_BYTES_OF_A_FILE: usize = 128 * 1024 * 1024;

// The names of the calls that count. No source can spell them.
const ITEMS: &str = "@items";
const SUM: &str = "@sum";
const CONTAINS: &str = "@contains";
pub(super) const MEMBER: &str = "@member";

/// What the evaluation under way has cost, and all of them together.
#[derive(Debug, Default)]
pub(super) struct Spent {
    items: Counter,
    sum_bytes: Counter,
    searched_bytes: Counter,
    /// Whether all evaluations together are bounded.
    is_bounded: AtomicBool,
}

#[derive(Debug, Default)]
struct Counter {
    /// Of the evaluation under way.
    one: AtomicUsize,
    /// Of all of them.
    all: AtomicUsize,
}

impl Spent {
    /// Begins an evaluation.
    pub(super) fn reset(&self) {
        for counter in [&self.items, &self.sum_bytes, &self.searched_bytes] {
            counter.one.store(0, Ordering::Relaxed);
        }
    }

    /// From here on all evaluations together are bounded.
    pub(super) fn bound(&self) {
        self.is_bounded.store(true, Ordering::Relaxed);
    }

    fn spend(
        &self,
        counter: &Counter,
        amount: usize,
        (limit, limit_of_all): (usize, usize),
        what: &str,
    ) -> Result<(), ExecutionError> {
        let add = |counter: &AtomicUsize| counter.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
        let (one, all) = (add(&counter.one), add(&counter.all));
        if one > limit {
            return Err(ExecutionError::function_error(LIMIT, format!("more than {limit} {what}")));
        }
        if self.is_bounded.load(Ordering::Relaxed) && all > limit_of_all {
            let text = format!("more than {limit_of_all} {what} in the expressions of one file together");
            return Err(ExecutionError::function_error(LIMIT, text));
        }
        Ok(())
    }

    fn items(&self, amount: usize) -> Result<(), ExecutionError> {
        self.spend(&self.items, amount, (MAX_ITEMS, MAX_ITEMS_OF_A_FILE), "items in comprehensions")
    }

    fn sum(&self, amount: usize) -> Result<(), ExecutionError> {
        self.spend(&self.sum_bytes, amount, (MAX_SUM_BYTES, MAX_SUM_BYTES_OF_A_FILE), "bytes from `+`")
    }

    fn searched(&self, amount: usize) -> Result<(), ExecutionError> {
        let limits = (MAX_SEARCHED_BYTES, MAX_SEARCHED_BYTES_OF_A_FILE);
        self.spend(&self.searched_bytes, amount, limits, "bytes searched")
    }
}

/// The function that errors about costs name.
pub(super) const LIMIT: &str = "@limit";

/// Declares the functions that count.
pub(super) fn declare(context: &mut Context<'_, '_>, spent: &Arc<Spent>) -> Result<(), DeclarationError> {
    context.add_function(ITEMS, {
        let spent = Arc::clone(spent);
        move |range: Value| {
            let items = value::items(range)?;
            spent.items(items.len())?;
            Ok::<Value, ExecutionError>(Value::List(items))
        }
    })?;
    context.add_function(SUM, {
        let spent = Arc::clone(spent);
        move |sum: Value| {
            spent.sum(value::weight(&sum))?;
            Ok::<Value, ExecutionError>(sum)
        }
    })?;
    context.add_function(CONTAINS, {
        let spent = Arc::clone(spent);
        move |call: &FunctionContext| contains(call, &spent)
    })?;
    context.add_function(MEMBER, {
        let spent = Arc::clone(spent);
        move |call: &FunctionContext| is_member(call, &spent)
    })
}

fn contains(call: &FunctionContext, spent: &Spent) -> Result<bool, ExecutionError> {
    let texts: Option<Vec<&str>> =
        call.args.iter().map(|arg| arg.downcast_ref::<CelString>().map(CelString::inner)).collect();
    match texts.as_deref() {
        Some([text, part]) => {
            spent.searched(text.len())?;
            Ok(text.contains(part))
        }
        _ => Err(no_overload("contains", call)),
    }
}

fn is_member(call: &FunctionContext, spent: &Spent) -> Result<bool, ExecutionError> {
    let [value, container] = call.args.as_slice() else { return Err(no_overload("in", call)) };
    let items = container.downcast_ref::<CelList>().map_or(1, |list| list.inner().len());
    spent.searched(items.saturating_mul(16))?;
    let container = container.as_container().ok_or_else(|| no_overload("in", call))?;
    container.contains(value.as_ref())
}

fn no_overload(function: &str, call: &FunctionContext) -> ExecutionError {
    let types = call.args.iter().map(|arg| arg.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}

/// Puts the calls that count into an expression: around the range of every comprehension and every `+`, and in the place of
/// `contains` and `in`.
pub(super) fn count_costs(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| count_costs(target));
            call.args.iter_mut().for_each(count_costs);
            match call.func_name.as_str() {
                operators::ADD if !adds_to_an_accumulator(call) => wrap(tree, SUM),
                operators::IN => MEMBER.clone_into(&mut call.func_name),
                "contains" => {
                    CONTAINS.clone_into(&mut call.func_name);
                    if let Some(target) = call.target.take() {
                        call.args.insert(0, *target);
                    }
                }
                _ => {}
            }
        }
        Expr::Select(select) => count_costs(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(count_costs),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    count_costs(&mut entry.key);
                    count_costs(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            count_costs(&mut comprehension.iter_range);
            count_costs(&mut comprehension.loop_cond);
            count_costs(&mut comprehension.loop_step);
            count_costs(&mut comprehension.result);
            wrap(&mut comprehension.iter_range, ITEMS);
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

/// `map` and `filter` collect with a `+` of their own, which the interpreter recognises by its shape.
fn adds_to_an_accumulator(call: &CallExpr) -> bool {
    matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'))
}

fn wrap(tree: &mut IdedExpr, function: &str) {
    let id = tree.id;
    let inner = std::mem::take(tree);
    let call = CallExpr { func_name: function.to_owned(), target: None, args: vec![inner] };
    *tree = IdedExpr { id, expr: Expr::Call(call) };
}
