//! What is asked of an expression before it is taken in.

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::{Context, IdedExpr};

use super::Scope;
use crate::routing::diagnostic::nearest;
use crate::routing::table::Table;

/// How deeply an expression may nest.
const MAX_DEPTH: usize = 64;

/// The fields of `file`.
const FILE_FIELDS: &[&str] = &[
    "id",
    "type",
    "name",
    "schema_version",
    "location",
    "size",
    "checksum",
    "media_type",
    "produced_by",
    "produced_at",
];

/// The names of CEL's types, as `type(x) == int` uses them.
const TYPES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Every function: its name, its number of arguments when called as `f(…)`, and when called as `x.f(…)`.
const FUNCTIONS: &[(&str, Option<usize>, Option<usize>)] = &[
    ("bool", Some(1), None),
    ("bytes", Some(1), None),
    ("contains", None, Some(1)),
    ("double", Some(1), None),
    ("dyn", Some(1), None),
    ("endsWith", None, Some(1)),
    ("int", Some(1), None),
    ("lookup", Some(2), None),
    ("matches", Some(2), Some(1)),
    ("omit", Some(0), None),
    ("size", Some(1), Some(0)),
    ("startsWith", None, Some(1)),
    ("string", Some(1), None),
    ("type", Some(1), None),
    ("uint", Some(1), None),
];

/// The macros, which are no functions once an expression has been read. Named in suggestions.
const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "map", "filter"];

impl Scope {
    const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Condition | Self::Leaf => &["file", "attributes", "data", "content"],
            Self::Response => &["status", "headers", "body", "text"],
        }
    }

    fn has_function(self, name: &str) -> bool {
        match name {
            "omit" => self == Self::Leaf,
            "lookup" => self != Self::Response,
            _ => true,
        }
    }
}

/// Refuses what isn't declared and what wouldn't be bounded. Gives the names of the tables that it reads, sorted, and whether it
/// reads `content`.
pub(super) fn check(
    tree: &IdedExpr,
    scope: Scope,
    tables: &BTreeMap<String, Table>,
) -> Result<(Vec<String>, bool), String> {
    let read = BTreeSet::new();
    let mut checker =
        Checker { scope, tables, bound: Vec::new(), in_comprehension: false, depth: 0, read, reads_content: false };
    checker.expression(tree, true)?;
    Ok((checker.read.into_iter().collect(), checker.reads_content))
}

struct Checker<'a> {
    scope: Scope,
    tables: &'a BTreeMap<String, Table>,
    /// Names that the comprehension around brings in.
    bound: Vec<&'a str>,
    in_comprehension: bool,
    depth: usize,
    /// The tables that are read.
    read: BTreeSet<String>,
    reads_content: bool,
}

impl<'a> Checker<'a> {
    /// Checks an expression; `is_result` says that its value is the whole expression's.
    fn expression(&mut self, tree: &'a IdedExpr, is_result: bool) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("the expression nests more than {MAX_DEPTH} deep"));
        }
        let result = match &tree.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call, is_result),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expression(element, false)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key, false).and_then(|()| self.expression(&entry.value, false))
                }
                EntryExpr::StructField(_) => Err("messages can't be built here".to_owned()),
            }),
            Expr::Struct(_) => Err("messages can't be built here".to_owned()),
            Expr::Unspecified => Err("the expression can't be read".to_owned()),
        };
        self.depth -= 1;
        result
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        self.reads_content |= name == "content" && self.scope != Scope::Response;
        let is_known = name.starts_with('@')
            || self.bound.contains(&name)
            || self.scope.variables().contains(&name)
            || TYPES.contains(&name);
        if is_known {
            return Ok(());
        }
        let legal = self.scope.variables().iter().copied().chain(self.bound.iter().copied());
        Err(format!("`{name}` is not declared{}", nearest_one(name, legal)))
    }

    fn select(&mut self, select: &'a SelectExpr) -> Result<(), String> {
        match &select.operand.expr {
            Expr::Ident(name) if name == "file" && !FILE_FIELDS.contains(&select.field.as_str()) => {
                let nearest = nearest_one(&select.field, FILE_FIELDS.iter().copied());
                return Err(format!("`file` has no `{}`{nearest}", select.field));
            }
            Expr::Call(call) if call.func_name == "lookup" => {
                if let Some((name, table)) = self.table_of(call)
                    && !table.has_column(&select.field)
                {
                    let nearest = nearest_one(&select.field, table.columns());
                    return Err(format!("table `{name}` has no column `{}`{nearest}", select.field));
                }
            }
            _ => {}
        }
        self.expression(&select.operand, false)
    }

    fn call(&mut self, call: &'a CallExpr, is_result: bool) -> Result<(), String> {
        let name = call.func_name.as_str();
        if is_operator(name) {
            let is_choice = name == operators::CONDITIONAL;
            return call
                .args
                .iter()
                .enumerate()
                .try_for_each(|(i, arg)| self.expression(arg, is_result && is_choice && i > 0));
        }
        self.function(call)?;
        match name {
            "omit" if !is_result => {
                return Err("`omit()` must be the result of the whole expression, or of one branch of it".to_owned());
            }
            "lookup" => self.check_table(call)?,
            "matches" => self.check_pattern(call)?,
            _ => {}
        }
        call.target.iter().map(|target| &**target).chain(&call.args).try_for_each(|arg| self.expression(arg, false))
    }

    /// Checks that there is such a function, called so.
    fn function(&self, call: &CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name && self.scope.has_function(name));
        let Some((_, as_function, as_method)) = known else {
            let legal = FUNCTIONS.iter().map(|(known, ..)| *known).filter(|known| self.scope.has_function(known));
            let nearest = nearest_one(name, legal.chain(MACROS.iter().copied()));
            return Err(format!("there is no function `{name}` here{nearest}"));
        };
        match if call.target.is_some() { as_method } else { as_function } {
            Some(arity) if *arity == call.args.len() => Ok(()),
            Some(arity) => Err(format!("`{name}` stands here with {} arguments and takes {arity}", call.args.len())),
            None if call.target.is_some() => Err(format!("`{name}` is called as `{name}(…)`")),
            None => Err(format!("`{name}` is called as `x.{name}(…)`")),
        }
    }

    fn table_of(&self, call: &CallExpr) -> Option<(&'a str, &'a Table)> {
        match &call.args.first()?.expr {
            Expr::Literal(LiteralValue::String(name)) => {
                self.tables.get_key_value(name.inner()).map(|(name, table)| (name.as_str(), table))
            }
            _ => None,
        }
    }

    fn check_table(&mut self, call: &CallExpr) -> Result<(), String> {
        match call.args.first().map(|arg| &arg.expr) {
            Some(Expr::Literal(LiteralValue::String(name))) if self.tables.contains_key(name.inner()) => {
                self.read.insert(name.inner().to_owned());
                Ok(())
            }
            Some(Expr::Literal(LiteralValue::String(name))) => {
                let nearest = nearest_one(name.inner(), self.tables.keys().map(String::as_str));
                Err(format!("there is no table `{}`{nearest}", name.inner()))
            }
            _ => Err("`lookup` takes the table's name as a text that stands in the expression".to_owned()),
        }
    }

    /// A pattern is read anew at each call, so that it may be neither computed nor repeated.
    fn check_pattern(&self, call: &CallExpr) -> Result<(), String> {
        if self.in_comprehension {
            return Err("`matches` can't stand inside a comprehension".to_owned());
        }
        let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|arg| &arg.expr) else {
            return Err("`matches` takes a pattern that stands in the expression".to_owned());
        };
        let mut context = Context::with_env(std::sync::Arc::clone(&super::ENV));
        context.add_variable_from_value("pattern", pattern.inner());
        let is_legal = super::ENV.compile("''.matches(pattern)").is_ok_and(|program| program.execute(&context).is_ok());
        if is_legal { Ok(()) } else { Err(format!("`{}` is no regular expression", pattern.inner())) }
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Result<(), String> {
        if self.in_comprehension {
            return Err("comprehensions (`all`, `exists`, `exists_one`, `map`, `filter`) can't nest or be chained; \
                        `map(x, condition, value)` filters and maps in one"
                .to_owned());
        }
        self.in_comprehension = true;
        let names = [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref()];
        let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
        for name in &names {
            if self.scope.variables().contains(name) || TYPES.contains(name) {
                return Err(format!("`{name}` is taken: give the comprehension's variable another name"));
            }
        }
        self.expression(&comprehension.iter_range, false)?;
        self.expression(&comprehension.accu_init, false)?;
        let outer = self.bound.len();
        self.bound.extend(names);
        for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
            self.expression(part, false)?;
        }
        self.bound.truncate(outer);
        self.in_comprehension = false;
        Ok(())
    }
}

fn nearest_one<'s>(wrong: &str, legal: impl IntoIterator<Item = &'s str>) -> String {
    let alike = nearest(wrong, legal).filter(|word| strsim::normalized_damerau_levenshtein(wrong, word) >= 0.4);
    alike.map_or_else(String::new, |word| format!("; the nearest that is: `{word}`"))
}

fn is_operator(name: &str) -> bool {
    use operators as op;
    [
        op::CONDITIONAL,
        op::LOGICAL_AND,
        op::LOGICAL_OR,
        op::LOGICAL_NOT,
        op::SUBSTRACT,
        op::ADD,
        op::MULTIPLY,
        op::DIVIDE,
        op::MODULO,
        op::EQUALS,
        op::NOT_EQUALS,
        op::GREATER_EQUALS,
        op::LESS_EQUALS,
        op::GREATER,
        op::LESS,
        op::NEGATE,
        op::INDEX,
        op::IN,
        op::NOT_STRICTLY_FALSE,
    ]
    .contains(&name)
}
