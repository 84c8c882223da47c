//! Taking a condition apart at its outermost `&&`, by its text: an expression's tree doesn't know where it stood.

/// The parts of a source between its outermost `&&`; the source itself where it is no conjunction.
pub(super) fn conjuncts(source: &str) -> Vec<&str> {
    let bytes = source.as_bytes();
    let (mut parts, mut begin, mut depth, mut at) = (Vec::new(), 0, 0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => match text_end(bytes, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return vec![source],
            },
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'&' if depth == 0 => {
                parts.push(&source[begin..at]);
                at += 2;
                begin = at.min(bytes.len());
                continue;
            }
            // What binds less than `&&`, and what isn't code, makes the whole something else than a conjunction.
            b'|' | b'?' if depth == 0 => return vec![source],
            b'/' if bytes.get(at + 1) == Some(&b'/') => return vec![source],
            _ => {}
        }
        at += 1;
    }
    parts.push(&source[begin..]);
    parts
}

/// Where the text that begins here ends; `None` for a kind of text that this doesn't read.
fn text_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let quote = bytes[begin];
    let is_raw = begin > 0 && matches!(bytes[begin - 1], b'r' | b'R');
    if bytes[begin..].starts_with(&[quote; 3]) || is_raw {
        return None;
    }
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_split_where_all_parts_must_hold() {
        for (source, parts) in [
            ("a", vec!["a"]),
            ("a && b && c", vec!["a ", " b ", " c"]),
            ("(a && b) && f(c && d)", vec!["(a && b) ", " f(c && d)"]),
            ("a && b || c", vec!["a && b || c"]),
            ("a && (b || c)", vec!["a ", " (b || c)"]),
            ("a ? b && c : d", vec!["a ? b && c : d"]),
            ("x == '&&' && y == \"\\\"&&\"", vec!["x == '&&' ", " y == \"\\\"&&\""]),
            ("x == '''&&''' && y", vec!["x == '''&&''' && y"]),
            ("a && b // && c", vec!["a && b // && c"]),
        ] {
            assert_eq!(conjuncts(source), parts, "{source}");
        }
    }
}
