//! docs/reports.md names every field of `result.json`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::made;

/// Objects whose keys are the run's own words, by the field that holds them.
const FREE: [&str; 2] = ["parameters", "latencies"];

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                match value {
                    Value::Object(free) if FREE.contains(&name.as_str()) => {
                        free.values().for_each(|value| fields(value, found));
                    }
                    _ => fields(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reports.md");
    let document = std::fs::read_to_string(path).unwrap();
    let results = serde_json::to_value(made("ringseed", 1, 1.0)).unwrap();
    let mut found = BTreeSet::new();
    fields(&results, &mut found);
    assert!(found.len() > 80, "the made run has all kinds of fields: {found:?}");
    let missing: Vec<&String> =
        found.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/reports.md: {missing:?}");
    let metrics: BTreeSet<&String> = results["phases"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|phase| phase["loads"].as_array().unwrap())
        .flat_map(|load| load["latencies"].as_object().unwrap().keys())
        .collect();
    for metric in metrics {
        assert!(document.contains(&format!("`{metric}`")), "the metric {metric}");
    }
}
