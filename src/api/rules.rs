//! Validation rules of PeonTask that are put together, in CEL (pure).
//!
//! The API server evaluates every rule of an object with every write, the rules of the spec with every patch of the
//! status too. What a rule costs, and where it belongs, is in docs/api/README.md, "What the schema costs".

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::schema;

/// Fields of a PeonTask's spec that cannot be changed, added or removed.
pub const IMMUTABLE: [&str; 9] = [
    "task",
    "taskJson",
    "taskFrom",
    "templateRef",
    "resources",
    "javaOpts",
    "registration",
    "middleManagerRef",
    "retry",
];

/// A rule on values that cannot change: with an update it is not evaluated again.
pub(super) fn on_creation(rule: &str) -> Rule {
    Rule::new(format!("oldSelf.hasValue() || ({rule})")).optional_old_self(true)
}

/// The spec's [`IMMUTABLE`] fields. One rule for all, which ends at once if nothing was changed, as with every patch of
/// the status.
pub(super) fn immutable() -> Rule {
    let same = |field: &str| {
        format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        )
    };
    let all = IMMUTABLE.map(|field| format!("({})", same(field))).join(" && ");
    // A `messageExpression` that names the changed field would cost more than the API server allows a rule.
    Rule::new(format!("self == oldSelf || ({all})"))
        .message(format!("{} are immutable: create another PeonTask", IMMUTABLE.join(", ")).as_str())
}

/// The conditions of a PeonTask, with the rules that protect its verdict. The default keeps the list from being removed,
/// which would remove its rules. They are here and not at the status, whose many fields would make each access cost more.
pub(super) fn task_conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut conditions = schema::conditions(generator);
    conditions.insert("default".into(), json!([]));
    let is_true = |name: &str| format!("self.exists(c, c.type == '{name}' && c.status == 'True')");
    let rules = [
        Rule::new(format!("!{} || !{}", is_true("Complete"), is_true("Failed")))
            .message("Complete and Failed exclude each other"),
        Rule::new(
            "oldSelf.all(o, !(o.type in ['Complete', 'Failed'] && o.status == 'True') || self.exists(n, n.type == o.type \
             && n.status == 'True' && n.reason == o.reason && n.message == o.message))",
        )
        .message("Complete and Failed are final: a verdict cannot be changed"),
    ];
    insert(&mut conditions, &rules);
    conditions
}

/// Sets the rules of a schema.
pub(super) fn insert(schema: &mut Schema, rules: &[Rule]) {
    let rules: Vec<Value> = rules.iter().map(|rule| json!(rule)).collect();
    schema.insert("x-kubernetes-validations".into(), json!(rules));
}
