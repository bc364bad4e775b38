use serde_json::json;

use super::*;

fn options(value: Value) -> Result<Vec<String>, String> {
    let context = Map::from_iter([(JAVA_OPTS_ARRAY.to_owned(), value)]);
    context_options(&context, JAVA_OPTS_ARRAY)
}

/// Druid takes a list of a property in text, and users copy it from there.
#[test]
fn a_list_in_a_string_is_a_list() {
    let listed = ["-Xmx1g", "-Da=b c", "-Dd=[\"e\"]"];
    assert_eq!(options(json!(listed)).unwrap(), listed);
    for space in ["", " ", "\n"] {
        let text = format!("{space}{}{space}", json!(listed));
        assert_eq!(options(json!(text)).unwrap(), listed, "{text:?}");
    }
    assert_eq!(options(json!("[]")).unwrap(), [""; 0]);
    assert_eq!(options(json!("-Da=[1] -Xmx1g")).unwrap(), ["-Da=[1]", "-Xmx1g"]);
    for text in ["[", "[-Xmx1g]", "[\"-Xmx1g\"", "[1]", "[\"-Xmx1g\"] -Xms1g"] {
        let said = options(json!(text)).unwrap_err();
        assert!(said.starts_with(JAVA_OPTS_ARRAY), "{said}");
        assert!(said.contains("array of strings"), "{said}");
    }
}
