//! The CRDs that are compared.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The CRD of PeonTask in this checkout.
const NOW: &str = include_str!("../../../../crds/peontasks.yaml");

/// A CRD of PeonTask.
#[derive(Debug)]
pub(super) struct Variant {
    /// Its name in the table.
    pub(super) name: String,
    /// The manifest.
    pub(super) crd: Value,
    /// Title of a column that no other variant has: tables have it as soon as the API server serves this CRD.
    pub(super) column: String,
}

impl Variant {
    fn new(name: String, mut crd: Value, nth: usize) -> Result<Self> {
        let column = format!("Variant-{nth}");
        let columns = &mut crd["spec"]["versions"][0]["additionalPrinterColumns"];
        let columns = columns.as_array_mut().context("no columns")?;
        columns.push(json!({"name": column, "type": "string", "jsonPath": ".metadata.name"}));
        Ok(Self { name, crd, column })
    }
}

/// The CRDs in these files, named as they are.
pub(super) fn of_files(paths: &[PathBuf]) -> Result<Vec<Variant>> {
    let read = |(nth, path): (usize, &PathBuf)| {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Variant::new(name.into_owned(), parse(&text)?, nth)
    };
    paths.iter().enumerate().map(read).collect()
}

/// The CRD of this checkout without its rules, with an open schema, and as it is.
pub(super) fn of_this_checkout() -> Result<Vec<Variant>> {
    let now = parse(NOW)?;
    let mut no_rules = now.clone();
    remove_rules(&mut no_rules);
    let all = [("no rules", no_rules), ("open", open(now.clone())), ("now", now)];
    let named = all.into_iter().enumerate();
    // Behind any number of files.
    named
        .map(|(nth, (name, crd))| Variant::new(name.to_owned(), crd, usize::MAX - nth))
        .collect()
}

fn parse(text: &str) -> Result<Value> {
    serde_yaml::from_str(text).context("not a CRD")
}

fn remove_rules(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(remove_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_rules),
        _ => {}
    }
}

/// With a schema that knows only what `selectableFields` needs, and the default of the status.
fn open(mut crd: Value) -> Value {
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let object = |properties: Value| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
    let text = json!({"type": "string", "nullable": true});
    let reference = object(json!({"name": text}));
    let mut status = object(json!({"phase": text, "taskId": text, "taskType": text, "dataSource": text}));
    status["default"] = schema["properties"]["status"]["default"].take();
    *schema = object(json!({"spec": object(json!({"middleManagerRef": reference})), "status": status}));
    crd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_differ_in_their_schemas_and_columns() {
        let [no_rules, open, now] = of_this_checkout().unwrap().try_into().unwrap();
        let has_rules = |v: &Variant| v.crd.to_string().contains("x-kubernetes-validations");
        assert!(!has_rules(&no_rules) && !has_rules(&open) && has_rules(&now));
        let size = |v: &Variant| v.crd["spec"]["versions"][0]["schema"].to_string().len();
        assert!(size(&open) < 1000 && size(&no_rules) < size(&now));
        for field in now.crd["spec"]["versions"][0]["selectableFields"]
            .as_array()
            .unwrap()
        {
            let path = field["jsonPath"].as_str().unwrap().replace('.', "/properties/");
            let schema = &open.crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            assert!(schema.pointer(&path).is_some(), "{path}");
        }
        assert!(no_rules.column != open.column && open.column != now.column);
    }
}
