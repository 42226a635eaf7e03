//! The file source against a real folder: changes of files and the updates that follow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gateway::control::source::Update;
use gateway::control::source::files::{FilesError, FolderWatcher, watch};
use routing::object::{Change, Object};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Maximum wait for an update. Far above the usual time, for a busy machine.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(20);

/// A folder and the source that watches it.
struct WatchedFolder {
    folder: TempDir,
    updates: mpsc::Receiver<Update>,
    _watcher: FolderWatcher,
}

impl WatchedFolder {
    /// Writes the files, starts the source, and returns its first update.
    async fn start(files: &[(&str, &str)]) -> (Self, Update) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::watch(folder).await
    }

    async fn watch(folder: TempDir) -> (Self, Update) {
        let (sender, updates) = mpsc::channel(16);
        let watcher = watch(folder.path(), &[], sender).unwrap();
        let mut watched = Self { folder, updates, _watcher: watcher };
        let first = watched.next().await;
        (watched, first)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a file under another name and renames it into place, as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        let temporary = self.path("new.tmp");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    async fn next(&mut self) -> Update {
        tokio::time::timeout(UPDATE_TIMEOUT, self.updates.recv()).await.unwrap().unwrap()
    }
}

fn ingress(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\nspec:\n  rules:\n  - host: {host}\n---\n"
    )
}

/// The changes of an update: `+ name host` for Ingresses, `+ object` and `- name` for all others.
fn changes(update: &Update) -> Vec<String> {
    let change = |change: &Change| match change {
        Change::Apply(Object::Ingress(ingress)) => {
            let host = ingress.rules.first().and_then(|rule| rule.host.as_deref());
            format!("+ {} {}", ingress.name.name, host.unwrap_or("*"))
        }
        Change::Apply(object) => format!("+ {}", object.reference()),
        Change::Delete(reference) => format!("- {}", reference.name.name),
    };
    update.objects.iter().map(change).collect()
}

fn problems(update: &Update) -> Vec<String> {
    update
        .problems
        .iter()
        .flatten()
        .map(|found| format!("{}: {}", found.location.as_ref().unwrap(), found.problem))
        .collect()
}

#[tokio::test]
async fn first_update_contains_all_objects() {
    let (_watched, first) = WatchedFolder::start(&[
        ("a.yaml", &ingress("a", "a1")),
        ("b.yml", &ingress("b", "b1")),
        ("c.txt", "?"),
    ])
    .await;
    assert_eq!(changes(&first), ["+ a a1", "+ b b1", "+ IngressClass gateway"]);
    assert_eq!(first.problems, Some(Vec::new()));
}

#[tokio::test]
async fn missing_folder_is_an_error_with_its_path() {
    let (sender, _updates) = mpsc::channel(1);
    let error = watch(Path::new("/nowhere/to/be/found"), &[], sender.clone()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/to/be/found"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(watch(file.path(), &[], sender), Err(FilesError::NotAFolder { .. })));
}

#[tokio::test]
async fn rename_edit_and_deletion_are_one_update_each() {
    let two = |host: &str| format!("{}{}", ingress("a", host), ingress("b", host));
    let (mut watched, _) = WatchedFolder::start(&[("a.yaml", &two("h1"))]).await;
    watched.replace("a.yaml", &two("h2"));
    assert_eq!(changes(&watched.next().await), ["+ a h2", "+ b h2"]);
    watched.write("a.yaml", &two("h3"));
    assert_eq!(changes(&watched.next().await), ["+ a h3", "+ b h3"]);
    fs::create_dir(watched.path("sub")).unwrap();
    watched.write("sub/c.yaml", &ingress("c", "h4"));
    assert_eq!(changes(&watched.next().await), ["+ c h4"]);
    fs::remove_file(watched.path("a.yaml")).unwrap();
    assert_eq!(changes(&watched.next().await), ["- a", "- b"]);
    fs::remove_dir_all(watched.path("sub")).unwrap();
    assert_eq!(changes(&watched.next().await), ["- c"]);
}

#[tokio::test]
async fn edit_of_equal_length_right_after_the_start_is_read() {
    for round in 0..20 {
        let (mut watched, _) = WatchedFolder::start(&[("a.yaml", &ingress("a", "h1"))]).await;
        watched.write("a.yaml", &ingress("a", "h2"));
        assert_eq!(changes(&watched.next().await), ["+ a h2"], "round {round}");
    }
}

#[tokio::test]
async fn volume_swap_is_one_update() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let names: Vec<String> = (0..50).map(|number| format!("f{number:02}")).collect();
    let version = |version: &str, names: &[String]| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        for name in names {
            fs::write(data.join(format!("{name}.yaml")), ingress(name, version)).unwrap();
        }
        symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    let expect = |sign: &str, version: &str| -> Vec<String> {
        names.iter().map(|name| format!("{sign} {name} {version}")).collect()
    };
    version("v1", &names);
    for name in &names {
        symlink(format!("..data/{name}.yaml"), root.join(format!("{name}.yaml"))).unwrap();
    }
    let (mut watched, first) = WatchedFolder::watch(folder).await;
    assert_eq!(changes(&first)[..50], expect("+", "v1"));
    assert_eq!(problems(&first), [""; 0], "files below dot names are not read twice");
    for next in ["v2", "v3"] {
        version(next, &names);
        assert_eq!(changes(&watched.next().await), expect("+", next));
    }
    version("v4", names.get(1..).unwrap());
    let mut expected = vec!["- f00".to_owned()];
    expected.extend_from_slice(expect("+", "v4").get(1..).unwrap());
    assert_eq!(changes(&watched.next().await), expected);
}

#[tokio::test]
async fn half_written_file_keeps_its_last_valid_content() {
    let (mut watched, _) = WatchedFolder::start(&[("sub.yaml", &ingress("a", "h1"))]).await;
    watched.write("sub.yaml", &format!("{}spec: [\n", ingress("a", "h2")));
    let update = watched.next().await;
    assert_eq!(changes(&update), [""; 0]);
    let lines = problems(&update);
    assert!(lines.len() == 1 && lines.concat().starts_with("sub.yaml:"), "{lines:?}");
    watched.write("sub.yaml", &ingress("a", "h3"));
    let update = watched.next().await;
    assert_eq!(changes(&update), ["+ a h3"]);
    assert_eq!(update.problems, Some(Vec::new()));
}

#[tokio::test]
async fn wrong_types_and_unknown_fields_have_file_and_line() {
    let (mut watched, first) =
        WatchedFolder::start(&[("a.yaml", &ingress("a", "h1").replace("host", "hosts"))]).await;
    assert_eq!(
        problems(&first),
        [
            "a.yaml:7: Ingress default/a spec.rules[0].hosts: UnknownField: there is no such field; it has no effect"
        ]
    );
    watched.write("a.yaml", &ingress("a", "[h2]"));
    let lines = problems(&watched.next().await);
    assert!(
        lines.iter().any(
            |line| line.starts_with("a.yaml:7: File a.yaml: Unreadable: Ingress a: spec.rules[0].host: ")
        ),
        "{lines:?}"
    );
}

#[tokio::test]
async fn empty_file_keeps_its_content_for_a_second() {
    let (mut watched, _) = WatchedFolder::start(&[("a.yaml", &ingress("a", "h1"))]).await;
    let emptied = Instant::now();
    watched.write("a.yaml", "");
    // The update of another file shows that the source has scanned the folder since.
    watched.replace("b.yaml", &ingress("b", "h1"));
    let mut received = changes(&watched.next().await);
    watched.write("a.yaml", &ingress("a", "h2"));
    while !received.contains(&"+ a h2".to_owned()) {
        received.extend(changes(&watched.next().await));
    }
    // If the machine was stalled for a second, `a` may have been removed in between.
    if emptied.elapsed() < Duration::from_secs(1) {
        assert_eq!(received, ["+ b h1", "+ a h2"]);
    }
    let emptied = Instant::now();
    watched.write("a.yaml", " \n");
    assert_eq!(changes(&watched.next().await), ["- a"]);
    assert!(emptied.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn first_file_by_path_wins_until_it_is_removed() {
    let (mut watched, first) =
        WatchedFolder::start(&[("1.yaml", &ingress("a", "first")), ("2.yaml", &ingress("a", "second"))])
            .await;
    assert_eq!(changes(&first), ["+ a first", "+ IngressClass gateway"]);
    assert_eq!(
        problems(&first),
        [
            "2.yaml:1: Ingress default/a: DuplicateObject: defined in 1.yaml:1 and again in 2.yaml:1; the first definition is used"
        ]
    );
    fs::remove_file(watched.path("1.yaml")).unwrap();
    let update = watched.next().await;
    assert_eq!(changes(&update), ["+ a second"]);
    assert_eq!(update.problems, Some(Vec::new()));
}

#[tokio::test]
async fn builtin_class_exists_while_no_file_defines_one() {
    let (mut watched, first) = WatchedFolder::start(&[("a.yaml", &ingress("a", "h"))]).await;
    let class = |update: &Update| {
        update.objects.iter().find_map(|change| match change {
            Change::Apply(Object::Ingress(ingress)) => Some(ingress.class.as_deref().map(str::to_owned)),
            _ => None,
        })
    };
    assert_eq!(class(&first), Some(Some("gateway".to_owned())));
    let ours = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: mine\n\
                spec:\n  controller: wasm-gateway.dev/ingress-controller\n";
    watched.replace("class.yaml", ours);
    let update = watched.next().await;
    assert_eq!(class(&update), Some(None));
    assert_eq!(changes(&update), ["- gateway", "+ a h", "+ IngressClass mine"]);
    fs::remove_file(watched.path("class.yaml")).unwrap();
    assert_eq!(class(&watched.next().await), Some(Some("gateway".to_owned())));
}

#[tokio::test]
async fn secrets_have_bytes_and_print_none() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  tls.crt: Y2hhaW4=\nstringData:\n  tls.key: hushhush\n";
    let (_watched, first) = WatchedFolder::start(&[("s.yaml", secret)]).await;
    let [change] = first.secrets.as_slice() else { panic!("{first:?}") };
    let pair = change.pair.as_ref().unwrap();
    assert_eq!((pair.chain.as_slice(), pair.key.as_slice()), (&b"chain"[..], &b"hushhush"[..]));
    let printed = format!("{first:?}");
    assert!(!printed.contains("hushhush") && !printed.contains("104, 117"), "{printed}");
}

#[tokio::test]
async fn unreadable_files_are_problems_and_others_are_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), b"a: \xff\n").unwrap();
    fs::write(folder.path().join("b.yaml"), ingress("b", "h")).unwrap();
    fs::write(folder.path().join("c.yaml"), "[".repeat(1_000_000)).unwrap();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(folder.path().join("d.yaml")).status();
    assert!(status.is_ok_and(|status| status.success()));
    let (_watched, first) = WatchedFolder::watch(folder).await;
    assert_eq!(changes(&first), ["+ b h", "+ IngressClass gateway"]);
    let lines = problems(&first);
    assert_eq!(lines.first().map(String::as_str), Some("a.yaml:1: File a.yaml: Unreadable: not UTF-8"));
    assert!(lines.len() == 2 && lines.concat().contains("c.yaml:1: File c.yaml: Unreadable: "), "{lines:?}");
}

#[tokio::test]
async fn file_that_turns_unreadable_keeps_its_routes() {
    let (mut watched, first) = WatchedFolder::start(&[("a.yaml", &ingress("a", "h"))]).await;
    assert_eq!(changes(&first), ["+ a h", "+ IngressClass gateway"]);
    for text in [&b"a: \xff\n"[..], b"[[["] {
        fs::write(watched.path("new.tmp"), text).unwrap();
        fs::rename(watched.path("new.tmp"), watched.path("a.yaml")).unwrap();
        let update = watched.next().await;
        assert_eq!(changes(&update), [""; 0], "the last content stays in use");
        assert!(
            problems(&update)[0].contains("a.yaml:1: File a.yaml: Unreadable: "),
            "{:?}",
            problems(&update)
        );
    }
    watched.replace("a.yaml", &ingress("a", "other"));
    let update = watched.next().await;
    assert_eq!((changes(&update), problems(&update)), (vec!["+ a other".to_owned()], Vec::new()));
}

#[tokio::test]
async fn moved_folder_keeps_its_content_until_replaced() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("config");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), ingress("a", "h1")).unwrap();
    let (sender, mut updates) = mpsc::channel(16);
    let _watcher = watch(&root, &[], sender).unwrap();
    let mut next = async || tokio::time::timeout(UPDATE_TIMEOUT, updates.recv()).await.unwrap().unwrap();
    next().await;
    fs::rename(&root, outer.path().join("old")).unwrap();
    let update = next().await;
    assert_eq!(changes(&update), [""; 0]);
    assert_eq!(problems(&update), [".: File .: Unreadable: the folder is gone; its last content is kept"]);
    fs::create_dir(outer.path().join("new")).unwrap();
    fs::write(outer.path().join("new/a.yaml"), ingress("a", "h2")).unwrap();
    fs::rename(outer.path().join("new"), &root).unwrap();
    let update = next().await;
    assert_eq!(problems(&update), [""; 0]);
    let changed = if update.objects.is_empty() { next().await } else { update };
    assert_eq!(changes(&changed), ["+ a h2"]);
}

#[tokio::test]
async fn watch_ends_when_its_handle_is_dropped() {
    let WatchedFolder { folder: _folder, mut updates, _watcher } = WatchedFolder::start(&[]).await.0;
    drop(_watcher);
    let end = tokio::time::timeout(UPDATE_TIMEOUT, updates.recv()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}
