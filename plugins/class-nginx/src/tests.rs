//! Golden cases, and a verdict for every key.

use plugin_sdk::class::ClassIngress;
use plugin_sdk::class::ClassInput;
use plugin_sdk::class::ClassItem;

use super::DIALECT;
use super::keys::KEYS;
use super::translate;

#[test]
fn cases_pass() {
    plugin_sdk::class::run_cases("cases", translate);
}

/// Creates the input with an Ingress without paths, with one annotation.
fn input(key: &str, value: &str) -> ClassInput {
    let mut ingress = ClassIngress::default();
    ingress.metadata.namespace = "shop".to_owned();
    ingress.metadata.name = "web".to_owned();
    ingress.metadata.annotations.insert(format!("{DIALECT}{key}"), value.to_owned());
    let mut input = ClassInput { items: vec![ClassItem::Ingress(ingress)], ..ClassInput::default() };
    input.function_config.host = Some("shop.example".to_owned());
    input
}

#[test]
fn every_key_has_one_verdict_whatever_its_value() {
    let long = "x{}\n\"'".repeat(150_000);
    for key in KEYS {
        for value in ["", "true", "\0", "a\nb", "\"}{;#$", "-1", "18446744073709551616", &long] {
            let results = translate(&input(key.name, value)).results;
            assert_eq!(results.len(), 1, "{} {value:?}", key.name);
            for result in results {
                assert_eq!(result.annotation.as_deref(), Some(&*format!("{DIALECT}{}", key.name)));
                assert!(result.message.len() < 1000, "{}: {}", key.name, result.message.len());
                assert!(!result.message.contains(['\n', '\0']), "{}: {}", key.name, result.message);
            }
        }
    }
}
