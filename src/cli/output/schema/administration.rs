//! The answers of the commands that need no gateway; see [`crate::cli::output::answer`].

use serde_json::{Value, json};

use super::{Definitions, add, list_of, object, or_null, reference};

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// Adds their definitions.
pub(super) fn define(definitions: &mut Definitions) {
    let text = json!({"type": "string"});
    let integer = json!({"type": "integer"});
    let boolean = json!({"type": "boolean"});
    let mut define = |name: &str, schema: Value| add(definitions, name, schema);
    let kinds = ["missing", "partitions", "replication", "config", "home_partitions", "other", "incompatible", "level"];
    define(
        "Differs",
        object(&[
            ("kind", json!({"enum": kinds})),
            ("what", text.clone()),
            ("key", or_null(&text)),
            ("is", or_null(&text)),
            ("must", or_null(&text)),
            ("text", text.clone()),
            ("to_do", text.clone()),
        ]),
    );
    let (counts, differs) = (("topics", integer.clone()), list_of("Differs"));
    let applied =
        [("dry_run", boolean.clone()), counts.clone(), ("mended", differs.clone()), ("left", differs.clone())];
    define("TopicsApplied", object(&applied));
    define("TopicsChecked", object(&[counts, ("differences", differs.clone())]));
    let grant = object(&[
        ("principal", text.clone()),
        ("operations", list(&text)),
        ("resource", json!({"enum": ["topic", "group", "transactional-id"]})),
        ("pattern", json!({"enum": ["literal", "prefixed"]})),
        ("names", list(&text)),
        ("purpose", text.clone()),
        ("command", text.clone()),
    ]);
    define("TopicsAcls", object(&[("acls", list(&grant))]));
    define("SchemasChecked", object(&[("differences", differs)]));
    let subject = object(&[("subject", text.clone()), ("id", integer.clone()), ("already_there", boolean.clone())]);
    define("SchemasRegistered", object(&[("subjects", list(&subject))]));
    let diagnostic = [
        ("code", json!({"type": "string", "pattern": "^CG1[0-9]{2}$"})),
        ("file", text.clone()),
        ("line", integer.clone()),
        ("column", integer.clone()),
        ("text", text.clone()),
        ("hint", or_null(&text)),
    ];
    define("Diagnostic", object(&diagnostic));
    let found = [("errors", list_of("Diagnostic")), ("warnings", list_of("Diagnostic"))];
    define("RoutingChecked", object(&[("digest", or_null(&text)), found[0].clone(), found[1].clone()]));
    let applied = [("digest", text.clone()), ("replaced", or_null(&text)), ("answers", list(&text)), found[1].clone()];
    define("RoutingApplied", object(&applied));
    let offset = object(&[
        ("topic", text.clone()),
        ("partition", integer.clone()),
        ("committed", or_null(&integer)),
        ("position", integer.clone()),
    ]);
    define("OffsetsRepaired", object(&[("dry_run", boolean.clone()), ("repaired", list(&offset))]));
    let difference = object(&[
        ("invariant", json!({"type": "string", "pattern": "^([IK][0-9]{1,2})$"})),
        ("file_id", or_null(&text)),
        ("topic", or_null(&text)),
        ("partition", or_null(&integer)),
        ("offset", or_null(&integer)),
        ("text", text.clone()),
    ]);
    let counts = json!({"type": "object", "additionalProperties": integer});
    define("Verified", object(&[("equal", boolean.clone()), ("counts", counts), ("differences", list(&difference))]));
    let cell = object(&[("inputs", list(&text)), ("outputs", list(&text))]);
    let table = object(&[
        ("name", text.clone()),
        ("title", text.clone()),
        ("inputs", list(&text)),
        ("outputs", list(&text)),
        ("cells", list(&cell)),
    ]);
    define("Machine", object(&[("tables", list(&table))]));
    let requests = json!({"type": "object", "additionalProperties": integer});
    let person = object(&[("saw", reference("FileState")), ("requests", requests.clone()), ("did", text.clone())]);
    let example = object(&[
        ("file_id", text.clone()),
        ("about", text.clone()),
        ("as_expected", boolean.clone()),
        ("differences", list(&text)),
        ("requests", requests),
        ("file", or_null(&reference("FileState"))),
        ("person", or_null(&person)),
    ]);
    define("Demo", object(&[("as_expected", boolean.clone()), ("took_ms", integer), ("files", list(&example))]));
    define(
        "Serving",
        object(&[("gateway", or_null(&text)), ("observing", or_null(&text)), ("receivers", or_null(&text))]),
    );
    let words = ["announced", "completed", "failed", "changed", "gone", "trouble"];
    define(
        "Watched",
        object(&[
            ("event", json!({"type": "string", "enum": words})),
            ("name", or_null(&text)),
            ("file_id", or_null(&text)),
            ("moved_to", or_null(&text)),
            ("deleted", boolean.clone()),
            ("reason", or_null(&text)),
        ]),
    );
    define("Completions", object(&[("shell", text.clone()), ("script", text)]));
}
