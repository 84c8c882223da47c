//! The file types for which a condition can hold, as far as its form tells.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::counted::MEMBER;

/// The names that `file.type` must be one of; `None` where the form doesn't bound it.
pub(super) fn file_types(tree: &IdedExpr) -> Option<BTreeSet<String>> {
    match &tree.expr {
        Expr::Literal(LiteralValue::Boolean(value)) if !*value.inner() => Some(BTreeSet::new()),
        Expr::Call(call) => of_call(call),
        _ => None,
    }
}

fn of_call(call: &CallExpr) -> Option<BTreeSet<String>> {
    let [left, right] = call.args.as_slice() else { return None };
    match call.func_name.as_str() {
        operators::LOGICAL_AND => match (file_types(left), file_types(right)) {
            (Some(left), Some(right)) => Some(left.intersection(&right).cloned().collect()),
            (one, other) => one.or(other),
        },
        operators::LOGICAL_OR => Some(&file_types(left)? | &file_types(right)?),
        operators::EQUALS if is_file_type(left) => text(right).map(|name| BTreeSet::from([name])),
        operators::EQUALS if is_file_type(right) => text(left).map(|name| BTreeSet::from([name])),
        MEMBER if is_file_type(left) => match &right.expr {
            Expr::List(list) => list.elements.iter().map(text).collect(),
            _ => None,
        },
        _ => None,
    }
}

fn is_file_type(tree: &IdedExpr) -> bool {
    let Expr::Select(select) = &tree.expr else { return false };
    select.field == "type" && !select.test && matches!(&select.operand.expr, Expr::Ident(name) if name == "file")
}

fn text(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Expression, Scope};

    #[test]
    fn the_form_of_a_condition_bounds_the_types() {
        for (condition, types) in [
            ("file.type == 'a'", Some(vec!["a"])),
            ("'a' == file.type", Some(vec!["a"])),
            ("file.type in ['a', 'b']", Some(vec!["a", "b"])),
            ("file.type in ['a', 'b'] && file.type == 'b' && data.x == 1", Some(vec!["b"])),
            ("file.type == 'a' && file.type == 'b'", Some(vec![])),
            ("file.type == 'a' || file.type == 'b'", Some(vec!["a", "b"])),
            ("file.type == 'a' || data.x == 1", None),
            ("false", Some(vec![])),
            ("true", None),
            ("file.type != 'a'", None),
            ("file.type in [data.x]", None),
            ("file.name == 'a'", None),
            ("data.type == 'a'", None),
        ] {
            let compiled = Expression::compile(condition, Scope::Condition, &BTreeMap::new()).unwrap();
            let found = compiled.file_types().map(|types| types.into_iter().collect::<Vec<_>>());
            let expected = types.map(|types| types.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, expected, "{condition}");
        }
    }
}
