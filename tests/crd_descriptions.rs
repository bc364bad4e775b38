//! The schemas of the CRDs explain every field, and an API server accepts them without a warning.

use peon_operator::api::crds::all;
use serde_json::Value;

/// A property of a schema, at any depth.
struct Field {
    /// From the root, such as `.spec.retry.limits`; `[]` stands for an item, `{}` for a value of a map.
    path: String,
    schema: Value,
}

impl Field {
    /// Its description, in one line.
    fn description(&self) -> String {
        let text = self.schema["description"].as_str().unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether it has no properties of its own.
    fn is_leaf(&self) -> bool {
        let own = |schema: &Value| schema["properties"].is_object();
        !own(&self.schema) && !own(&self.schema["items"]) && !own(&self.schema["additionalProperties"])
    }

    /// The values of its enumeration, or of that of its items.
    fn values(&self) -> Vec<&str> {
        [&self.schema["enum"], &self.schema["items"]["enum"]]
            .into_iter()
            .flat_map(|values| values.as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect()
    }
}

/// Name and root schema of every CRD.
fn schemas() -> Vec<(String, Value)> {
    let of = |crd: &_| {
        let crd = serde_json::to_value(crd).unwrap_or_default();
        let kind = crd["spec"]["names"]["kind"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (
            kind,
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
        )
    };
    all().iter().map(of).collect()
}

/// The fields below `part`, `spec` or `status`, of every kind.
fn fields(part: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    for (kind, schema) in schemas() {
        collect(
            &format!("{kind}.{part}"),
            &schema["properties"][part],
            &mut fields,
        );
    }
    fields
}

fn collect(path: &str, schema: &Value, fields: &mut Vec<Field>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields.push(Field {
            path: path.clone(),
            schema: field.clone(),
        });
        collect(&path, field, fields);
    }
    for (part, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[part].is_object() {
            collect(&format!("{path}{sign}"), &schema[part], fields);
        }
    }
}

/// The paths of the fields that do not fit.
fn wrong(fields: Vec<Field>, fits: impl Fn(&Field) -> bool) -> Vec<String> {
    let wrong = fields.into_iter().filter(|field| !fits(field));
    wrong.map(|field| field.path).collect()
}

#[test]
fn every_field_is_described() {
    for (kind, schema) in schemas() {
        let mut fields = Vec::new();
        collect(&kind, &schema, &mut fields);
        assert!(fields.len() > 5, "{kind} has {} fields", fields.len());
        assert_eq!(wrong(fields, |f| !f.description().is_empty()), [""; 0]);
    }
}

#[test]
fn every_field_of_a_spec_says_its_default_and_an_example() {
    let says = |field: &Field| {
        let text = field.description();
        !field.is_leaf()
            || (text.contains("Default:") || text.contains("No default")) && text.contains("Example:")
    };
    assert_eq!(wrong(fields("spec"), says), [""; 0]);
}

#[test]
fn the_default_of_a_schema_is_that_of_its_description() {
    let agrees = |field: &Field| {
        let default = match &field.schema["default"] {
            Value::Null | Value::Object(_) | Value::Array(_) => return true,
            Value::String(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        field.description().contains(&format!("Default: {default}"))
    };
    assert_eq!(wrong(fields("spec"), agrees), [""; 0]);
}

#[test]
fn every_field_of_a_status_has_an_example() {
    let says = |field: &Field| !field.is_leaf() || field.description().contains("Example:");
    assert_eq!(wrong(fields("status"), says), [""; 0]);
}

#[test]
fn every_value_of_an_enumeration_is_explained() {
    for part in ["spec", "status"] {
        let explains = |field: &Field| {
            let text = field.description();
            let named =
                |value: &&str| text.contains(&format!("`{value}`")) || text.contains(&format!("{value}:"));
            field.values().iter().all(named)
        };
        assert!(fields(part).iter().any(|f| !f.values().is_empty()), "{part}");
        assert_eq!(wrong(fields(part), explains), [""; 0]);
    }
}

#[test]
fn every_amount_has_a_unit() {
    let units = [("Seconds", "econds"), ("Bytes", "bytes"), ("Percent", "percent")];
    for part in ["spec", "status"] {
        let says = |field: &Field| {
            let name = field.path.rsplit('.').next().unwrap_or_default();
            let mut missing = units.iter().filter(|(suffix, unit)| {
                name.contains(suffix)
                    && field.schema["type"] == "integer"
                    && !field.description().contains(unit)
            });
            let quantity = matches!(name.to_lowercase().as_str(), "memory" | "maxmemory" | "max")
                && field.is_leaf()
                && field.schema["type"] != "integer";
            missing.next().is_none() && (!quantity || field.description().contains("in bytes"))
        };
        assert_eq!(wrong(fields(part), says), [""; 0]);
    }
}

/// Formats that Kubernetes documents for custom resources, and those of numbers.
const FORMATS: [&str; 10] = [
    "int32",
    "int64",
    "float",
    "double",
    "byte",
    "date",
    "date-time",
    "duration",
    "uri",
    "uuid",
];

#[test]
fn every_format_is_known_to_the_api_server() {
    fn check(path: &str, value: &Value) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v)).collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, v)| (i.to_string(), v))
                .collect(),
            _ => Vec::new(),
        };
        for (key, child) in children {
            if let ("format", Some(format)) = (key.as_str(), child.as_str()) {
                assert!(FORMATS.contains(&format), "{path}: {format}");
            }
            check(&format!("{path}.{key}"), child);
        }
    }
    for (kind, schema) in schemas() {
        check(&kind, &schema);
    }
}

#[test]
fn every_integer_has_bounds_or_a_signed_format() {
    for part in ["spec", "status"] {
        let bounded = |field: &Field| {
            let schema = &field.schema;
            schema["type"] != "integer"
                || schema["format"].is_string()
                || schema["minimum"].is_number() && schema["maximum"].is_number()
        };
        assert_eq!(wrong(fields(part), bounded), [""; 0]);
    }
}
