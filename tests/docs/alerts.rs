//! The alerts use metrics that exist, and reasons that tasks have.

use regex::Regex;
use serde_json::Value;

use crate::pages::root;

#[test]
fn alerts_use_metrics_and_reasons_that_are_documented() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let rule: Value = serde_yaml::from_str(&read("config/monitoring/prometheusrule.yaml")).unwrap();
    let (metrics, reasons) = (read("docs/metrics.md"), read("docs/reasons.md"));
    let metric = Regex::new(r"peon_operator_[a-z_]+").unwrap();
    let named = Regex::new(r#"reason=~?"([A-Za-z|]+)""#).unwrap();
    let mut found = 0;
    for alert in rule["spec"]["groups"][0]["rules"].as_array().unwrap() {
        let expr = alert["expr"].as_str().unwrap();
        for name in metric.find_iter(expr) {
            found += 1;
            let row = format!("| `{}` |", name.as_str());
            assert!(metrics.contains(&row), "{expr}");
        }
        for reason in named.captures_iter(expr).flat_map(|all| {
            let all = all.get(1).unwrap().as_str();
            all.split('|').collect::<Vec<_>>()
        }) {
            assert!(reasons.contains(&format!("| `{reason}` |")), "{reason}");
        }
        assert!(alert["annotations"]["summary"].is_string(), "{alert}");
    }
    assert!(found > 10, "{found}");
}
