//! Schemas that the derive cannot express.

use super::peon_template::SecurityDefault;
use super::reason::Cause;
use super::rules;
use schemars::{Schema, SchemaGenerator, json_schema};

/// Characters of a task id that Druid 33.0.0 accepts (`IdUtils.validateId`), without NUL; `druid::task_id` implements
/// the same rule in code.
pub(super) const TASK_ID: &str =
    r"^[^\x00-\x1e\x80-\x9e\x{e000}-\x{f8fe}\x{fff1}-\x{fffe}\x{10000}-\x{10ffff}]+$";

/// The Druid task: an object stored whole, of which the API server checks the fields that every task must have.
pub(super) fn task(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-map-type": "atomic",
        "required": ["type"],
        "properties": {
            "type": {
                "description": "Type of the Druid task. No default. Example: `index_parallel`.",
                "type": "string",
                "minLength": 1,
                "maxLength": 255,
            },
            "id": {
                "description": "Id of the Druid task: at most 255 characters without `/`, control characters or a \
                    leading `.`. Default: the name of the PeonTask. Example: `index_wikipedia_2026-11-21`.",
                "type": "string",
                "nullable": true,
                "minLength": 1,
                "maxLength": 255,
                // Rules instead of a `pattern`: rules have messages.
                "x-kubernetes-validations": [
                    {
                        "rule": "!self.contains('/') && !self.startsWith('.')",
                        "message": "a Druid task id cannot contain '/' or start with '.'",
                    },
                    {
                        "rule": format!("self.matches(r'{TASK_ID}')"),
                        "message": "the task id has a character that Druid refuses: a control character (tabs and line \
                            breaks too), one of the private use area, or one outside the basic plane, such as an emoji",
                    },
                    {
                        "rule": "bytes(self).size() <= 255",
                        "message": "a task id can have 255 bytes in UTF-8",
                    },
                ],
            },
            "context": {
                "description": "Context of the Druid task. Keys that the operator reads: `druid.peon.pod.memory`, \
                    `druid.peon.pod.cpu`, `druid.peon.javaOpts`, `druid.indexer.runner.javaOpts`, \
                    `druid.indexer.runner.javaOptsArray`, `druid.indexer.fork.property.*` and \
                    `broadcastDatasourceLoadingMode`. Default: none. Example: `{druid.peon.pod.memory: 4Gi}`.",
                "type": "object",
                "nullable": true,
                "x-kubernetes-preserve-unknown-fields": true,
            },
        },
    })
}

/// The schema of a field's type; the field keeps its description.
pub(super) fn described<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// A payload in chunks: in ConfigMaps or in Secrets, not both, since the order of chunks is that of one list.
pub(super) fn task_from(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = described::<super::TaskFrom>(generator);
    let one_kind = "(has(self.configMaps) && self.configMaps.size() > 0) != (has(self.secrets) && self.secrets.size() > 0)";
    let rule = rules::on_creation(one_kind).message("give the chunks either in configMaps or in secrets");
    rules::insert(&mut schema, &[rule]);
    schema
}

/// Sources of properties, each either a ConfigMap or a Secret.
pub(super) fn properties_from(generator: &mut SchemaGenerator) -> Schema {
    let mut item = described::<super::PropertiesSource>(generator);
    item.insert(
        "x-kubernetes-validations".into(),
        serde_json::json!([{
            "rule": "has(self.configMapRef) != has(self.secretRef)",
            "message": "give either configMapRef or secretRef",
        }]),
    );
    json_schema!({"type": "array", "maxItems": 16, "items": item})
}

/// Budgets of retries by cause.
pub(super) fn retry_limits(_: &mut SchemaGenerator) -> Schema {
    let causes: Vec<&str> = Cause::retried().map(Cause::as_str).collect();
    json_schema!({
        "type": "object",
        "maxProperties": causes.len(),
        "additionalProperties": {
            "description": "Attempts more, 0 to 100. Example: `2`.",
            "type": "integer", "format": "int32", "minimum": 0, "maximum": 100,
        },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(cause, cause in {causes:?})").replace('"', "'"),
            "message": format!("causes that can be retried are {}", causes.join(", ")),
        }],
    })
}

/// One Kubernetes quantity.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 64,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            "message": "must be a Kubernetes quantity above zero such as 512Mi, 2G or 2",
        }],
    })
}

/// A duration in whole seconds, above zero.
pub(super) fn seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 315_360_000, "nullable": true})
}

/// Records of attempts, bounded.
pub(super) fn attempts(generator: &mut SchemaGenerator) -> Schema {
    let item = described::<super::AttemptRecord>(generator);
    json_schema!({"type": "array", "maxItems": crate::api::attempts::MOST_RECORDS, "items": item})
}

/// Requests and limits as in `core/v1` `ResourceRequirements`, with quantities that the API server checks.
pub(super) fn resources(_: &mut SchemaGenerator) -> Schema {
    let quantities = |what: &str| {
        json_schema!({
            "description": format!("{what} Memory in bytes and cpu in cores, as Kubernetes quantities. \
                Default: the same as the other. Example: `{{memory: 4Gi, cpu: 500m}}`."),
            "type": "object",
            "maxProperties": 32,
            "additionalProperties": {
                "description": "A Kubernetes quantity. Example: `512Mi`.",
                "x-kubernetes-int-or-string": true,
                "maxLength": 64,
                "x-kubernetes-validations": [{
                    "rule": "type(self) == int ? self >= 0 : isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",
                    "message": "must be a Kubernetes quantity such as 512Mi, 2G, 500m or 2",
                }],
            },
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "limits": quantities("The most that the container may use."),
            "requests": quantities("What the scheduler sets aside for the container."),
            "claims": {
                "description": "Entries of the pod template's `resourceClaims` that the container uses. Default: none. \
                    Example: `[{name: gpu}]`.",
                "type": "array",
                "maxItems": 32,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {
                            "description": "Name of the claim in the pod. No default. Example: `gpu`.",
                            "type": "string", "minLength": 1, "maxLength": 253,
                        },
                        "request": {
                            "description": "The request of the claim that the container uses. Default: all of them. \
                                Example: `small`.",
                            "type": "string", "maxLength": 253,
                        },
                    },
                },
            },
        },
    })
}

/// A pod template of any Kubernetes version: the API server drops no field.
pub(super) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "metadata": {
                "description": "Labels and annotations of the pod. Default: none. \
                    Example: `{annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\"}}`.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "spec": {
                "description": "The pod's spec, see `kubectl explain pod.spec`. Default: none. \
                    Example: `{priorityClassName: ingestion}`.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
        },
    })
}

/// JVM options: bounded, and so is a pod's argument file.
pub(super) fn java_opts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "items": { "type": "string", "minLength": 1, "maxLength": 4096 },
    })
}

/// Absolute paths, of which a colon would make two.
pub(super) fn class_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": { "type": "string", "maxLength": 1024, "pattern": "^/[^:]*$" },
    })
}

/// Fields of security contexts.
pub(super) fn security_defaults(_: &mut SchemaGenerator) -> Schema {
    let names = SecurityDefault::ALL.map(SecurityDefault::as_str);
    json_schema!({
        "type": "array",
        "maxItems": SecurityDefault::ALL.len(),
        "items": { "type": "string", "enum": names },
    })
}

/// Conditions as in `metav1.Condition`: a list keyed by type, with bounds that limit the cost of its validation rules.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "Type of the condition. Example: `Complete`.",
                    "type": "string", "minLength": 1, "maxLength": 64,
                },
                "status": {
                    "description": "`True`: the condition holds. `False`: it does not. `Unknown`: it is not known yet. \
                        Example: `True`.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "A stable name, documented in docs/reasons.md and docs/middle-manager.md. Example: \
                        `OOMKilled`.",
                    "type": "string", "minLength": 1, "maxLength": 128,
                },
                "message": {
                    "description": "The exact cause, for people. Example: `the peon exceeded its memory limit`.",
                    "type": "string", "maxLength": 4096,
                },
                "lastTransitionTime": {
                    "description": "When the status or the reason last changed. Example: `2026-11-21T08:00:10Z`.",
                    "type": "string", "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The generation of the object that the condition belongs to. Example: `1`.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use crate::druid::task_id;

    /// The ids of `odd` are judged alike by the schema's pattern and by the code that reads payloads.
    #[test]
    fn the_pattern_and_the_parser_agree() {
        let pattern = regex::Regex::new(super::TASK_ID).unwrap();
        let odd = [
            "plain-id_1.2",
            "with:colon",
            "with space",
            "with/slash",
            "back\\slash",
            "..",
            "../up",
            ".dot",
            "UPPER",
            "ünïcødé",
            "emoji😀",
            "tab\tx",
            "new\nline",
            "pct%41",
            "q?x=1&y",
            "",
            " lead",
            "trail ",
            "quote\"x",
            "dollar$x",
            "nul\0x",
            "curly{x}",
            "us\u{1f}x",
            "del\u{7f}",
            "nel\u{85}",
            "nbsp\u{a0}x",
            "pua\u{e001}",
            "ls\u{2028}x",
            "last\u{fff0}",
            "bom\u{feff}",
            "x\u{fff1}",
            "\u{f8ff}",
            "a\u{3000}b",
            "newline\n",
            "\u{9f}",
        ];
        for id in odd {
            let accepted = pattern.is_match(id) && !id.contains('/') && !id.starts_with('.');
            assert_eq!(accepted, task_id::check(id).is_ok(), "{id:?}");
        }
    }
}
