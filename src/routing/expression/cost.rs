//! What one evaluation may cost, and the calls that are put into an expression so that it is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

// The names of the calls that count. No source can spell them.
const ITEMS: &str = "@items";
const SUM: &str = "@sum";
const CONTAINS: &str = "@contains";
pub(super) const MEMBER: &str = "@member";

/// What the evaluation under way has cost.
#[derive(Debug, Default)]
pub(super) struct Spent {
    items: AtomicUsize,
    sum_bytes: AtomicUsize,
    searched_bytes: AtomicUsize,
}

impl Spent {
    /// Begins an evaluation.
    pub(super) fn reset(&self) {
        for counter in [&self.items, &self.sum_bytes, &self.searched_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

fn spend(counter: &AtomicUsize, amount: usize, limit: usize, what: &str) -> Result<(), ExecutionError> {
    let spent = counter.fetch_add(amount, Ordering::Relaxed).saturating_add(amount);
    if spent > limit {
        return Err(ExecutionError::function_error(LIMIT, format!("more than {limit} {what}")));
    }
    Ok(())
}

/// The function that errors about costs name.
pub(super) const LIMIT: &str = "@limit";

/// Declares the functions that count.
pub(super) fn declare(context: &mut Context<'_, '_>, spent: &Arc<Spent>) -> Result<(), DeclarationError> {
    context.add_function(ITEMS, {
        let spent = Arc::clone(spent);
        move |range: Value| {
            let items = value::items(range)?;
            spend(&spent.items, items.len(), MAX_ITEMS, "items in comprehensions")?;
            Ok::<Value, ExecutionError>(Value::List(items))
        }
    })?;
    context.add_function(SUM, {
        let spent = Arc::clone(spent);
        move |sum: Value| {
            spend(&spent.sum_bytes, value::weight(&sum), MAX_SUM_BYTES, "bytes from `+`")?;
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
            spend(&spent.searched_bytes, text.len(), MAX_SEARCHED_BYTES, "bytes searched")?;
            Ok(text.contains(part))
        }
        _ => Err(no_overload("contains", call)),
    }
}

fn is_member(call: &FunctionContext, spent: &Spent) -> Result<bool, ExecutionError> {
    let [value, container] = call.args.as_slice() else { return Err(no_overload("in", call)) };
    let items = container.downcast_ref::<CelList>().map_or(1, |list| list.inner().len());
    spend(&spent.searched_bytes, items.saturating_mul(16), MAX_SEARCHED_BYTES, "bytes searched")?;
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
