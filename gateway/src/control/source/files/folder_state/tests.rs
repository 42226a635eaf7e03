//! Updates that follow from the contents of files.

use super::*;
use crate::control::source::files::document;

const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nspec: {controller: wasm-gateway.dev/ingress-controller}\n";

fn ingress(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec: {{rules: [{{host: {host}}}]}}\n---\n"
    )
}

fn class(name: &str, created: &str) -> String {
    let metadata = format!(
        "{{name: {name}, annotations: {{ingressclass.kubernetes.io/is-default-class: \"true\"}}, creationTimestamp: {created}}}"
    );
    format!("{CLASS}metadata: {metadata}\n---\n")
}

fn set_file(folder: &mut FolderState, path: &str, text: &str) {
    match document::parse(Path::new("/yaml"), Path::new(path), text) {
        Ok(content) => folder.set_content(Path::new(path), content),
        Err(failure) => folder.reject(Path::new(path), failure),
    }
}

/// The changes of an update: `+ object host class` for Ingresses, `+ object` and `- object` for all others.
fn changes(update: &Update) -> Vec<String> {
    let change = |change: &Change| match change {
        Change::Apply(Object::Ingress(ingress)) => {
            let host = ingress.rules[0].host.as_deref().unwrap_or("*");
            format!("+ {} {host} {}", ingress.name, ingress.class.as_deref().unwrap_or("none"))
        }
        Change::Apply(object) => format!("+ {}", object.reference()),
        Change::Delete(reference) => format!("- {reference}"),
    };
    update.objects.iter().map(change).collect()
}

fn assert_changes(folder: &mut FolderState, expected: &[&str]) {
    assert_eq!(changes(&folder.take_update().unwrap_or_default()), expected);
}

#[test]
fn empty_folder_has_a_first_update_and_no_second() {
    let mut folder = FolderState::default();
    let first = folder.take_update().unwrap();
    assert_eq!(changes(&first), ["+ IngressClass gateway"]);
    assert_eq!(first.problems, Some(Vec::new()));
    assert!(folder.take_update().is_none());
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    assert_changes(&mut folder, &["+ default/web a gateway"]);
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    assert!(folder.take_update().is_none());
}

#[test]
fn first_definition_by_path_wins_until_it_is_removed() {
    let mut folder = FolderState::default();
    set_file(&mut folder, "b.yaml", &ingress("web", "b"));
    assert_changes(&mut folder, &["+ default/web b gateway", "+ IngressClass gateway"]);
    set_file(&mut folder, "a.yaml", &format!("# first\n{}{}", ingress("web", "a"), ingress("web", "again")));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), ["+ default/web a gateway"]);
    let lines: Vec<_> = update
        .problems
        .unwrap()
        .iter()
        .map(|found| format!("{}: {}", found.location.as_ref().unwrap(), found.problem))
        .collect();
    let prefix = ": Ingress default/web: DuplicateObject: defined in a.yaml:2 and again in";
    assert_eq!(
        lines,
        [
            format!("a.yaml:7{prefix} a.yaml:7; the first definition is used"),
            format!("b.yaml:1{prefix} b.yaml:1; the first definition is used"),
        ]
    );
    folder.remove(Path::new("a.yaml"));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), ["+ default/web b gateway"]);
    assert_eq!(update.problems, Some(Vec::new()));
}

#[test]
fn invalid_file_keeps_its_last_valid_content() {
    let mut folder = FolderState::default();
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    assert_changes(&mut folder, &["+ default/web a gateway", "+ IngressClass gateway"]);
    for broken in ["kind: [", "5", &format!("{}5", ingress("web", "b"))] {
        set_file(&mut folder, "a.yaml", broken);
        let update = folder.take_update().unwrap();
        assert_eq!(changes(&update), [""; 0]);
        assert_eq!(update.problems.unwrap().len(), 1);
    }
    set_file(&mut folder, "a.yaml", &ingress("web", "c"));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), ["+ default/web c gateway"]);
    assert_eq!(update.problems, Some(Vec::new()));
}

#[test]
fn file_that_was_never_valid_uses_its_valid_documents() {
    let mut folder = FolderState::default();
    set_file(&mut folder, "a.yaml", &format!("{}5", ingress("web", "a")));
    assert_changes(&mut folder, &["+ default/web a gateway", "+ IngressClass gateway"]);
    set_file(&mut folder, "a.yaml", &format!("{}6", ingress("web", "b")));
    assert_changes(&mut folder, &["+ default/web b gateway"]);
    set_file(&mut folder, "a.yaml", "kind: [");
    assert_changes(&mut folder, &[]);
}

#[test]
fn builtin_class_exists_while_no_file_defines_one() {
    let mut folder = FolderState::default();
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    assert_changes(&mut folder, &["+ default/web a gateway", "+ IngressClass gateway"]);
    set_file(&mut folder, "c.yaml", &format!("{CLASS}metadata: {{name: mine}}\n"));
    assert_changes(&mut folder, &["- IngressClass gateway", "+ default/web a none", "+ IngressClass mine"]);
    set_file(&mut folder, "c.yaml", &class("mine", "null"));
    assert_changes(&mut folder, &["+ default/web a mine", "+ IngressClass mine"]);
    set_file(
        &mut folder,
        "c.yaml",
        &CLASS.replace("wasm-gateway.dev", "example.com").replace("spec", "metadata: {name: mine}\nspec"),
    );
    assert_changes(
        &mut folder,
        &["+ default/web a gateway", "+ IngressClass gateway", "+ IngressClass mine"],
    );
}

#[test]
fn newest_default_class_wins_then_the_first_by_name() {
    let (old, young) = ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    for (classes, expected) in [
        ([class("a", old), class("b", young)], "b"),
        ([class("a", "null"), class("b", young)], "a"),
        ([class("b", old), class("a", old)], "a"),
    ] {
        let mut folder = FolderState::default();
        set_file(&mut folder, "a.yaml", &format!("{}{}", classes.concat(), ingress("web", "x")));
        let changes = changes(&folder.take_update().unwrap());
        assert_eq!(changes[0], format!("+ default/web x {expected}"));
    }
}

#[test]
fn secret_is_sent_when_its_bytes_change() {
    let secret = |key: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{tls.crt: chain, tls.key: {key}}}\n"
        )
    };
    let mut folder = FolderState::default();
    set_file(&mut folder, "a.yaml", &secret("one"));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), ["+ IngressClass gateway", "+ Secret default/s"]);
    assert_eq!(update.secrets[0].pair.as_ref().unwrap().key, b"one");
    set_file(&mut folder, "a.yaml", &secret("two"));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), [""; 0]);
    assert_eq!(update.secrets[0].pair.as_ref().unwrap().key, b"two");
    folder.remove(Path::new("a.yaml"));
    let update = folder.take_update().unwrap();
    assert_eq!(changes(&update), ["- Secret default/s"]);
    assert!(update.secrets[0].pair.is_none());
}

#[test]
fn moved_object_sends_its_location_only() {
    let mut folder = FolderState::default();
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    let source_maps = folder.take_update().unwrap().source_maps;
    let (object, place) = &source_maps[0];
    assert_eq!((object.to_string().as_str(), source_maps.len()), ("Ingress default/web", 2));
    assert_eq!(place.as_ref().unwrap().start().to_string(), "a.yaml:1");
    assert!(source_maps[1].1.is_none(), "the built-in class has no location");
    set_file(&mut folder, "a.yaml", &format!("# a comment\n\n{}", ingress("web", "a")));
    let update = folder.take_update().unwrap();
    assert!(update.is_location_only());
    assert_eq!(
        update.source_maps[0].1.as_ref().unwrap().locate("spec.rules[0].host").to_string(),
        "a.yaml:6"
    );
    folder.remove(Path::new("a.yaml"));
    assert!(folder.take_update().unwrap().source_maps[0].1.is_none());
}

#[test]
fn update_compares_only_objects_of_changed_files() {
    let mut folder = FolderState::default();
    for index in 0..100 {
        set_file(&mut folder, &format!("{index}.yaml"), &ingress(&format!("web{index}"), "a"));
    }
    folder.take_update().unwrap();
    assert!(folder.previous.is_empty());
    set_file(&mut folder, "7.yaml", &(ingress("web7", "b") + &ingress("more", "c")));
    let touched: Vec<_> = folder.previous.keys().map(ToString::to_string).collect();
    assert_eq!(touched, ["Ingress default/more", "Ingress default/web7"]);
    assert_changes(&mut folder, &["+ default/more c gateway", "+ default/web7 b gateway"]);
}

#[test]
fn configured_class_of_a_file_replaces_the_builtin_class() {
    let nginx = CLASS.replace("wasm-gateway.dev", "k8s.io").replace("spec", "metadata: {name: nginx}\nspec");
    let mut folder = FolderState::new(&["nginx".to_owned()]);
    set_file(&mut folder, "a.yaml", &(ingress("web", "a") + &nginx));
    assert_changes(&mut folder, &["+ default/web a none", "+ IngressClass nginx"]);
    // A configured class that no file defines does not count.
    let mut folder = FolderState::new(&["ghost".to_owned()]);
    set_file(&mut folder, "a.yaml", &ingress("web", "a"));
    assert_changes(&mut folder, &["+ default/web a gateway", "+ IngressClass gateway"]);
}
