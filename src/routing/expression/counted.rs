//! The calls that are put into an expression so that what it costs is counted before it is spent, and what they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::common::types::{CelBool, CelBytes, CelInt, CelList, CelMap, CelString, Kind};
use cel::common::value::{CowVal, Val};
use cel::{Context, DeclarationError, ExecutionError, FunctionContext, IdedExpr};

use super::cost::{LIMIT, Spent};
use super::{shared, value};
use crate::routing::table::Table;
use crate::routing::weight;

// The names of the calls that count. No source can spell them.
const ITEMS: &str = "@items";
const ADD: &str = "@add";
const EQUALS: &str = "@equals";
const DIFFERS: &str = "@differs";
const CONTAINS: &str = "@contains";
pub(super) const MEMBER: &str = "@member";
/// Around a list or a map: counts it, and lets its copies share it.
const SHARE: &str = "@share";
/// Around an operand: counts what an operator goes through, be it only to say that it doesn't take it.
const SEEN: &str = "@seen";
/// Around an argument: counts a text that a function goes through.
const TEXT: &str = "@text";
/// Around an argument: counts a text that a function copies.
const COPIED: &str = "@copied";
/// Around a text in which a pattern is looked for.
const MATCHED: &str = "@matched";

/// In the place of `lookup(…).column` and of `has(lookup(…).column)`: one cell, without the map of its row.
const CELL: &str = "@cell";
const HAS_CELL: &str = "@has_cell";

/// Around a whole leaf: writes its JSON, within the room that there is.
const LEAF: &str = "@leaf";
/// Around a whole condition: gives a boolean, or something of the type that it is instead.
const CONDITION: &str = "@condition";

/// How much slower a pattern is than a search, at its worst.
const PATTERN_FACTOR: usize = 64;
/// What an entry of a map that is put together costs beside its key and its value, in steps.
const MAP_STEPS: usize = 4;
/// A text that stands in an expression counts nowhere, up to this length.
const SHORT: usize = 256;

type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync + 'static,
>;

/// Declares the functions that count, and `lookup`, which builds a map.
pub(super) fn declare(
    context: &mut Context<'_, '_>,
    spent: &Arc<Spent>,
    tables: &Arc<Tables>,
) -> Result<(), DeclarationError> {
    type Reading =
        for<'c, 'v> fn(&mut FunctionContext<'c, 'v>, &Spent, &Tables) -> Result<CowVal<'c, 'v>, ExecutionError>;
    type Counted = for<'c, 'v> fn(&mut FunctionContext<'c, 'v>, &Spent) -> Result<CowVal<'c, 'v>, ExecutionError>;
    let all: [(&str, Counted); 13] = [
        (ITEMS, items),
        (ADD, sum),
        (EQUALS, |call, spent| Ok(boolean(are_equal(call, spent)?))),
        (DIFFERS, |call, spent| Ok(boolean(!are_equal(call, spent)?))),
        (CONTAINS, contains),
        (MEMBER, is_member),
        (SHARE, share),
        (SEEN, seen),
        (TEXT, |call, spent| text(call, spent, 1)),
        (COPIED, copied),
        (MATCHED, |call, spent| text(call, spent, PATTERN_FACTOR)),
        (LEAF, leaf),
        (CONDITION, |call, _| condition(call)),
    ];
    for (name, count) in all {
        let spent = Arc::clone(spent);
        let function: Function = Box::new(move |call| count(call, &spent));
        context.add_function(name, function)?;
    }
    let all: [(&str, Reading); 3] = [(value::LOOKUP, lookup), (CELL, cell), (HAS_CELL, has_cell)];
    for (name, read) in all {
        let (spent, tables) = (Arc::clone(spent), Arc::clone(tables));
        let function: Function = Box::new(move |call| read(call, &spent, &tables));
        context.add_function(name, function)?;
    }
    Ok(())
}

type Tables = BTreeMap<String, Table>;
type Row = BTreeMap<String, String>;

fn boolean<'c, 'v>(value: bool) -> CowVal<'c, 'v> {
    CowVal::owned(CelBool::from(value))
}

/// The only argument.
fn argument<'c, 'v>(call: &mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    call.args.pop().ok_or_else(|| ExecutionError::invalid_argument_count(1, 0))
}

fn both<'a>(call: &'a FunctionContext<'_, '_>) -> Result<(&'a dyn Val, &'a dyn Val), ExecutionError> {
    match call.args.as_slice() {
        [left, right] => Ok((left.as_ref(), right.as_ref())),
        args => Err(ExecutionError::invalid_argument_count(2, args.len())),
    }
}

fn text_len(value: &dyn Val) -> usize {
    let text = value.downcast_ref::<CelString>().map(|text| text.inner().len());
    text.or_else(|| value.downcast_ref::<CelBytes>().map(|bytes| bytes.inner().len())).unwrap_or(0)
}

fn len(container: &dyn Val) -> usize {
    let list = container.downcast_ref::<CelList>().map(|list| list.inner().len());
    list.or_else(|| container.downcast_ref::<CelMap>().map(|map| map.inner().len())).unwrap_or(0)
}

fn items<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let mut number = || {
        let number = call.args.pop().and_then(|arg| arg.downcast_ref::<CelInt>().map(|int| *int.inner()));
        number.and_then(|int| usize::try_from(int).ok()).unwrap_or(usize::MAX)
    };
    let (text_bytes, steps) = (number(), number());
    let range = argument(call)?;
    spent.items(len(range.as_ref()), steps, text_bytes)?;
    if let Some(map) = range.downcast_ref::<CelMap>() {
        let keys = map.inner().keys().map(|key| shared::of(key.inner()));
        spent.built(keys.fold(weight::LIST, usize::saturating_add))?;
    }
    value::items(range)
}

/// What an operator doesn't take. CEL's own error would carry a copy of both.
fn not_taken(operator: &'static str, left: &dyn Val, right: &dyn Val) -> ExecutionError {
    ExecutionError::UnsupportedBinaryOperator(operator, value::stand_in(left), value::stand_in(right))
}

fn sum<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let (left, right) = both(call)?;
    let is_number = |value: &dyn Val| matches!(value.get_type().kind(), Kind::Int | Kind::UInt | Kind::Double);
    match (left.get_type().kind(), right.get_type().kind()) {
        (Kind::String, Kind::String) | (Kind::Bytes, Kind::Bytes) => {
            let bytes = text_len(left).saturating_add(text_len(right));
            spent.sum(bytes)?;
            spent.built(weight::of_text(bytes))?;
        }
        (Kind::List, Kind::List) => {
            let items = len(left).saturating_add(len(right));
            spent.sum(items.saturating_mul(32))?;
            spent.built(items.saturating_mul(weight::VALUE).saturating_add(weight::LIST))?;
        }
        _ if is_number(left) && is_number(right) => spent.sum(8)?,
        _ => return Err(not_taken("add", left, right)),
    }
    let sum = left.as_adder().ok_or_else(|| not_taken("add", left, right))?.add(right)?;
    match shared::share(sum.as_ref()) {
        Some(shared) => Ok(CowVal::Owned(shared)),
        None => Err(not_taken("add", left, right)),
    }
}

fn are_equal(call: &FunctionContext<'_, '_>, spent: &Spent) -> Result<bool, ExecutionError> {
    let (left, right) = both(call)?;
    spent.searched(shared::of(left).min(shared::of(right)))?;
    Ok(left.equals(right))
}

fn contains<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let texts: Option<Vec<&str>> =
        call.args.iter().map(|arg| arg.downcast_ref::<CelString>().map(CelString::inner)).collect();
    match texts.as_deref() {
        Some([text, part]) => {
            spent.searched(text.len())?;
            Ok(boolean(text.contains(part)))
        }
        _ => Err(no_overload("contains", call)),
    }
}

fn is_member<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let (value, container) = both(call)?;
    let one = shared::of(value);
    let in_all = match container.downcast_ref::<CelList>() {
        Some(list) => shared::of(container).min(one.saturating_mul(list.inner().len())),
        None => one,
    };
    let items = container.downcast_ref::<CelList>().map_or(1, |list| list.inner().len());
    spent.searched(items.saturating_mul(16).max(in_all / 4))?;
    let known = container.as_container().ok_or_else(|| no_overload("in", call))?;
    known.contains(value).map(boolean)
}

fn no_overload(function: &str, call: &FunctionContext<'_, '_>) -> ExecutionError {
    let types = call.args.iter().map(|arg| arg.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(function, types)
}

fn share<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let built = argument(call)?;
    spent.built(shared::own(built.as_ref()))?;
    Ok(shared::share(built.as_ref()).map_or(built, CowVal::Owned))
}

fn seen<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let operand = argument(call)?;
    let bytes = match operand.get_type().kind() {
        // No operator takes it, and CEL's error carries a copy.
        Kind::List | Kind::Map => shared::of(operand.as_ref()).saturating_mul(4),
        _ => text_len(operand.as_ref()),
    };
    if bytes > 0 {
        spent.searched(bytes)?;
    }
    Ok(operand)
}

fn text<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &Spent,
    factor: usize,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let argument = argument(call)?;
    spent.searched(text_len(argument.as_ref()).saturating_mul(factor))?;
    Ok(argument)
}

fn copied<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let argument = argument(call)?;
    spent.built(weight::of_text(text_len(argument.as_ref())))?;
    Ok(argument)
}

fn owned<'c, 'v>(value: cel::Value) -> Result<CowVal<'c, 'v>, ExecutionError> {
    Ok(CowVal::Owned(<Box<dyn Val>>::try_from(value)?))
}

fn leaf<'c, 'v>(call: &mut FunctionContext<'c, 'v>, spent: &Spent) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let result = argument(call)?;
    if value::is_omit(result.as_ref()) {
        return Ok(result);
    }
    let json = value::to_json(result.as_ref(), &spent.room());
    owned(value::written(json.map_err(|why| ExecutionError::function_error(LIMIT, why))?))
}

fn condition<'c, 'v>(call: &mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let result = argument(call)?;
    if result.downcast_ref::<CelBool>().is_some() {
        return Ok(result);
    }
    owned(value::stand_in(result.as_ref()))
}

/// The row that `lookup(table, key)` is about, if there is one.
fn row<'t>(
    call: &FunctionContext<'_, '_>,
    spent: &Spent,
    tables: &'t Tables,
) -> Result<Option<&'t Row>, ExecutionError> {
    let [table, key, ..] = call.args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, call.args.len()));
    };
    let table = table.downcast_ref::<CelString>().map(CelString::inner).unwrap_or_default();
    spent.searched(text_len(key.as_ref()))?;
    value::row(tables, table, &value::table_key(key.as_ref())?)
}

fn lookup<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &Spent,
    tables: &Tables,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let row = row(call, spent, tables)?;
    spent.built(row.map_or(weight::VALUE, value::weight_of_row))?;
    Ok(CowVal::Owned(value::row_map(row)))
}

/// The column that stands as a text after the table and the key.
fn column<'a>(call: &'a FunctionContext<'_, '_>) -> &'a str {
    call.args.get(2).and_then(|arg| arg.downcast_ref::<CelString>()).map(CelString::inner).unwrap_or_default()
}

fn cell<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &Spent,
    tables: &Tables,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let (row, column) = (row(call, spent, tables)?, column(call));
    let cell = row.and_then(|row| row.get(column));
    let cell = cell.ok_or_else(|| ExecutionError::NoSuchKey(Arc::new(column.to_owned())))?;
    spent.built(weight::of_text(cell.len()))?;
    Ok(CowVal::Owned(shared::text(cell.clone())))
}

fn has_cell<'c, 'v>(
    call: &mut FunctionContext<'c, 'v>,
    spent: &Spent,
    tables: &Tables,
) -> Result<CowVal<'c, 'v>, ExecutionError> {
    let (row, column) = (row(call, spent, tables)?, column(call));
    Ok(boolean(row.is_some_and(|row| row.contains_key(column))))
}

/// Puts the calls that count into a leaf of a payload.
pub(super) fn count_leaf(tree: &mut IdedExpr) {
    count_costs(tree);
    wrap(tree, LEAF, &[]);
}

/// Puts the calls that count into a condition.
pub(super) fn count_condition(tree: &mut IdedExpr) {
    count_costs(tree);
    wrap(tree, CONDITION, &[]);
}

/// What stands in a counted expression, as far as its form goes.
pub(super) fn inner(tree: &IdedExpr) -> &IdedExpr {
    match &tree.expr {
        Expr::Call(call) if [LEAF, CONDITION].contains(&call.func_name.as_str()) => call.args.first().unwrap_or(tree),
        _ => tree,
    }
}

fn count_costs(tree: &mut IdedExpr) {
    count_in_parts(tree);
    share_result(tree);
}

/// Lets a list, a map or a comprehension that gives a list be shared.
fn share_result(tree: &mut IdedExpr) {
    let is_built = match &tree.expr {
        Expr::List(_) | Expr::Map(_) => true,
        Expr::Comprehension(comprehension) => matches!(comprehension.accu_init.expr, Expr::List(_)),
        _ => false,
    };
    if is_built {
        wrap(tree, SHARE, &[]);
    }
}

fn count_in_parts(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Call(call) => {
            let collects = adds_to_an_accumulator(call);
            call.target.iter_mut().for_each(|target| count_costs(target));
            for arg in &mut call.args {
                count_in_parts(arg);
                // The list that `map` and `filter` collect by keeps its shape, and one that is only searched is never copied.
                let is_kept = collects || call.func_name == operators::IN && is_fixed(arg);
                if !is_kept {
                    share_result(arg);
                }
            }
            if !collects {
                count_call(call);
            }
        }
        Expr::Select(select) => {
            count_costs(&mut select.operand);
            if let Some(cell) = cell_of(tree.id, select) {
                *tree = cell;
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(count_costs),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    count_costs(&mut entry.key);
                    count_operand(&mut entry.key, SEEN);
                    count_costs(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            let (mut steps, mut text_bytes) = (0, 0);
            for part in [&comprehension.loop_cond, &comprehension.loop_step] {
                measure(part, &mut steps, &mut text_bytes);
            }
            count_costs(&mut comprehension.iter_range);
            count_in_parts(&mut comprehension.loop_cond);
            count_in_parts(&mut comprehension.loop_step);
            count_costs(&mut comprehension.result);
            wrap(&mut comprehension.iter_range, ITEMS, &[steps, text_bytes]);
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

/// One cell of a row, where a column is selected of what `lookup` gives.
fn cell_of(id: u64, select: &mut SelectExpr) -> Option<IdedExpr> {
    let Expr::Call(call) = &mut select.operand.expr else { return None };
    if call.func_name != value::LOOKUP {
        return None;
    }
    let mut args = std::mem::take(&mut call.args);
    args.push(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(std::mem::take(&mut select.field).into())) });
    let func_name = if select.test { HAS_CELL } else { CELL }.to_owned();
    Some(IdedExpr { id, expr: Expr::Call(CallExpr { func_name, target: None, args }) })
}

/// `map` and `filter` collect with a `+` of their own, which the interpreter recognises by its shape.
fn adds_to_an_accumulator(call: &CallExpr) -> bool {
    call.func_name == operators::ADD
        && matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'))
}

fn is_fixed(tree: &IdedExpr) -> bool {
    matches!(&tree.expr, Expr::List(list) if list.elements.iter().all(|part| matches!(part.expr, Expr::Literal(_))))
}

/// Puts what counts into a call whose parts count already.
fn count_call(call: &mut CallExpr) {
    match call.func_name.as_str() {
        operators::ADD => ADD.clone_into(&mut call.func_name),
        operators::IN => MEMBER.clone_into(&mut call.func_name),
        operators::EQUALS if !call.args.iter().any(is_small) => EQUALS.clone_into(&mut call.func_name),
        operators::NOT_EQUALS if !call.args.iter().any(is_small) => DIFFERS.clone_into(&mut call.func_name),
        "contains" => {
            CONTAINS.clone_into(&mut call.func_name);
            if let Some(target) = call.target.take() {
                call.args.insert(0, *target);
            }
        }
        operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => call.args.iter_mut().for_each(|arg| count_operand(arg, SEEN)),
        // A key is gone through to be found, and stands in the error where it isn't.
        operators::INDEX => call.args.iter_mut().skip(1).for_each(|index| count_operand(index, TEXT)),
        "matches" => {
            let text = call.target.as_deref_mut().or_else(|| call.args.first_mut());
            text.into_iter().for_each(|text| count_operand(text, MATCHED));
        }
        "startsWith" | "endsWith" => call.args.iter_mut().for_each(|arg| count_operand(arg, TEXT)),
        "size" | "int" | "uint" | "double" | "bool" => {
            let operands = call.target.as_deref_mut().into_iter().chain(&mut call.args);
            operands.for_each(|arg| count_operand(arg, TEXT));
        }
        "string" | "bytes" => call.args.iter_mut().for_each(|arg| count_operand(arg, COPIED)),
        _ => {}
    }
}

fn count_operand(operand: &mut IdedExpr, function: &str) {
    if !is_small(operand) {
        wrap(operand, function, &[]);
    }
}

/// Whether it is certain that a value is neither a list, nor a map, nor a long text.
fn is_small(tree: &IdedExpr) -> bool {
    match &tree.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().len() <= SHORT,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() <= SHORT,
        Expr::Literal(_) => true,
        Expr::Call(call) => matches!(
            call.func_name.as_str(),
            operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE
                | operators::LOGICAL_NOT
                | "size"
                | "int"
                | "uint"
                | "double"
                | "bool"
                | "type"
        ),
        _ => false,
    }
}

/// Counts the parts of an expression, and the bytes of the texts that stand in it.
fn measure(tree: &IdedExpr, steps: &mut usize, text_bytes: &mut usize) {
    *steps += 1;
    if let Expr::Map(map) = &tree.expr {
        *steps += MAP_STEPS * map.entries.len();
    }
    let mut part = |part: &IdedExpr| measure(part, steps, text_bytes);
    match &tree.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(part),
        Expr::Select(select) => part(&select.operand),
        Expr::List(list) => list.elements.iter().for_each(part),
        Expr::Map(map) => map.entries.iter().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &entry.expr {
                part(&entry.key);
                part(&entry.value);
            }
        }),
        Expr::Comprehension(comprehension) => {
            let parts = [&comprehension.iter_range, &comprehension.loop_cond, &comprehension.loop_step];
            parts.into_iter().chain([&comprehension.result]).for_each(part);
        }
        Expr::Literal(LiteralValue::String(text)) => *text_bytes += text.inner().len(),
        Expr::Literal(LiteralValue::Bytes(bytes)) => *text_bytes += bytes.inner().len(),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

fn wrap(tree: &mut IdedExpr, function: &str, numbers: &[usize]) {
    let id = tree.id;
    let number = |number: &usize| {
        let int = i64::try_from(*number).unwrap_or(i64::MAX);
        IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(int.into())) }
    };
    let inner = std::mem::take(tree);
    let args = std::iter::once(inner).chain(numbers.iter().map(number)).collect();
    let call = CallExpr { func_name: function.to_owned(), target: None, args };
    *tree = IdedExpr { id, expr: Expr::Call(call) };
}
