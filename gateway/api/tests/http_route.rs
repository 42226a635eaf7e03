//! Reading and writing the subset of Gateway API's HTTPRoute.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use api::HttpRoute;
use api::Port;
use serde_json::Value;
use serde_json::json;

fn route(port: &Value) -> Value {
    json!({
        "hostnames": ["a.example"],
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/a" } }],
            "backendRefs": [{ "name": "web", "port": port, "weight": 1 }],
        }],
    })
}

fn read_port(port: &Value) -> Result<Port, String> {
    let route: HttpRoute = serde_json::from_value(route(port)).map_err(|error| error.to_string())?;
    Ok(route.rules[0].backend_refs[0].port.clone())
}

#[test]
fn route_round_trips_with_either_port() {
    for port in [json!(80), json!("http")] {
        let read: HttpRoute = serde_json::from_value(route(&port)).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), route(&port));
    }
}

#[test]
fn weight_absent_is_one() {
    let mut value = route(&json!(80));
    value["rules"][0]["backendRefs"][0].as_object_mut().unwrap().remove("weight");
    let read: HttpRoute = serde_json::from_value(value).unwrap();
    assert_eq!(read.rules[0].backend_refs[0].weight, 1);
}

#[test]
fn port_out_of_range_names_the_valid_ones() {
    for port in [json!(0), json!(65536), json!(-1), json!("")] {
        let error = read_port(&port).unwrap_err();
        assert!(
            error.contains("a port number from 1 to 65535 or the name of a Service port"),
            "{port}: {error}"
        );
    }
    assert_eq!(read_port(&json!(65535)), Ok(Port::Number(65535.try_into().unwrap())));
}

#[test]
fn unknown_field_is_rejected() {
    let mut value = route(&json!(80));
    value["rules"][0]["sessionAffinity"] = json!({});
    let error = serde_json::from_value::<HttpRoute>(value).unwrap_err().to_string();
    assert!(error.contains("unknown field `sessionAffinity`"), "{error}");
}

#[test]
fn schema_is_closed_and_port_is_int_or_string() {
    let schema = serde_json::to_value(schemars::schema_for!(HttpRoute)).unwrap();
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["$defs"]["Port"]["x-kubernetes-int-or-string"], json!(true));
}
