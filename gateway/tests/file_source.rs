//! The file source against a real folder: what an operator does to files, and which updates come of it.

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

/// How long an update may take on a busy machine before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// A folder and the source that watches it.
struct Watched {
    folder: TempDir,
    updates: mpsc::Receiver<Update>,
    _watcher: FolderWatcher,
}

impl Watched {
    /// Writes the files, starts to watch, and takes the first update.
    async fn start(files: &[(&str, &str)]) -> (Self, Update) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self::over(folder).await
    }

    async fn over(folder: TempDir) -> (Self, Update) {
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

    /// Renames a file that was written under another name into place, as careful programs do.
    fn replace(&self, name: &str, text: &str) {
        let before = self.path("new.tmp");
        fs::write(&before, text).unwrap();
        fs::rename(before, self.path(name)).unwrap();
    }

    async fn next(&mut self) -> Update {
        tokio::time::timeout(DEADLINE, self.updates.recv()).await.unwrap().unwrap()
    }
}

fn ingress(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\nspec:\n  rules:\n  - host: {host}\n---\n"
    )
}

/// What an update does: `+ name host` for Ingresses, `+ object` and `- object` for the rest.
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
async fn the_first_update_holds_all_that_is_there() {
    let (_watched, first) =
        Watched::start(&[("a.yaml", &ingress("a", "a1")), ("b.yml", &ingress("b", "b1")), ("c.txt", "?")])
            .await;
    assert_eq!(changes(&first), ["+ a a1", "+ b b1", "+ IngressClass gateway"]);
    assert_eq!(first.problems, Some(Vec::new()));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_that_names_it() {
    let (sender, _updates) = mpsc::channel(1);
    let error = watch(Path::new("/nowhere/to/be/found"), &[], sender.clone()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/to/be/found"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(watch(file.path(), &[], sender), Err(FilesError::NotAFolder { .. })));
}

#[tokio::test]
async fn a_rename_an_edit_and_a_deletion_are_one_change_each() {
    let two = |host: &str| format!("{}{}", ingress("a", host), ingress("b", host));
    let (mut watched, _) = Watched::start(&[("a.yaml", &two("h1"))]).await;
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
async fn an_edit_of_the_same_length_right_after_the_start_is_seen() {
    for round in 0..20 {
        let (mut watched, _) = Watched::start(&[("a.yaml", &ingress("a", "h1"))]).await;
        watched.write("a.yaml", &ingress("a", "h2"));
        assert_eq!(changes(&watched.next().await), ["+ a h2"], "round {round}");
    }
}

#[tokio::test]
async fn a_volume_swap_is_one_change() {
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
    let (mut watched, first) = Watched::over(folder).await;
    assert_eq!(changes(&first)[..50], expect("+", "v1"));
    assert_eq!(problems(&first), [""; 0], "files below dot names are not read a second time");
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
async fn a_half_written_file_keeps_its_last_good_content() {
    let (mut watched, _) = Watched::start(&[("sub.yaml", &ingress("a", "h1"))]).await;
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
async fn wrong_types_and_unknown_fields_are_named_with_file_and_line() {
    let (mut watched, first) =
        Watched::start(&[("a.yaml", &ingress("a", "h1").replace("host", "hosts"))]).await;
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
async fn an_empty_file_keeps_its_content_for_a_second_and_then_counts() {
    let (mut watched, _) = Watched::start(&[("a.yaml", &ingress("a", "h1"))]).await;
    let emptied = Instant::now();
    watched.write("a.yaml", "");
    // Another file's update shows that the source has looked since.
    watched.replace("b.yaml", &ingress("b", "h1"));
    let mut seen = changes(&watched.next().await);
    watched.write("a.yaml", &ingress("a", "h2"));
    while !seen.contains(&"+ a h2".to_owned()) {
        seen.extend(changes(&watched.next().await));
    }
    // On a machine that stood still for a second in between, `a` may rightly have been gone.
    if emptied.elapsed() < Duration::from_secs(1) {
        assert_eq!(seen, ["+ b h1", "+ a h2"]);
    }
    let emptied = Instant::now();
    watched.write("a.yaml", " \n");
    assert_eq!(changes(&watched.next().await), ["- a"]);
    assert!(emptied.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_first_file_by_path_wins_until_it_goes() {
    let (mut watched, first) =
        Watched::start(&[("1.yaml", &ingress("a", "first")), ("2.yaml", &ingress("a", "second"))]).await;
    assert_eq!(changes(&first), ["+ a first", "+ IngressClass gateway"]);
    assert_eq!(
        problems(&first),
        [
            "2.yaml:1: Ingress default/a: DuplicateObject: stands in 1.yaml:1 and again in 2.yaml:1; the first one counts"
        ]
    );
    fs::remove_file(watched.path("1.yaml")).unwrap();
    let update = watched.next().await;
    assert_eq!(changes(&update), ["+ a second"]);
    assert_eq!(update.problems, Some(Vec::new()));
}

#[tokio::test]
async fn the_default_class_comes_and_goes_with_the_files() {
    let (mut watched, first) = Watched::start(&[("a.yaml", &ingress("a", "h"))]).await;
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
async fn secrets_bring_their_bytes_and_print_none() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ndata:\n  tls.crt: Y2hhaW4=\nstringData:\n  tls.key: hushhush\n";
    let (_watched, first) = Watched::start(&[("s.yaml", secret)]).await;
    let [change] = first.secrets.as_slice() else { panic!("{first:?}") };
    let pair = change.pair.as_ref().unwrap();
    assert_eq!((pair.chain.as_slice(), pair.key.as_slice()), (&b"chain"[..], &b"hushhush"[..]));
    let printed = format!("{first:?}");
    assert!(!printed.contains("hushhush") && !printed.contains("104, 117"), "{printed}");
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), b"a: \xff\n").unwrap();
    fs::write(folder.path().join("b.yaml"), ingress("b", "h")).unwrap();
    fs::write(folder.path().join("c.yaml"), "[".repeat(1_000_000)).unwrap();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(folder.path().join("d.yaml")).status();
    assert!(status.is_ok_and(|status| status.success()));
    let (_watched, first) = Watched::over(folder).await;
    assert_eq!(changes(&first), ["+ b h", "+ IngressClass gateway"]);
    let lines = problems(&first);
    assert_eq!(lines.first().map(String::as_str), Some("a.yaml:1: File a.yaml: Unreadable: not UTF-8"));
    assert!(lines.len() == 2 && lines.concat().contains("c.yaml:1: File c.yaml: Unreadable: "), "{lines:?}");
}

#[tokio::test]
async fn a_folder_that_is_moved_away_keeps_its_content_until_another_takes_its_place() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("config");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), ingress("a", "h1")).unwrap();
    let (sender, mut updates) = mpsc::channel(16);
    let _watcher = watch(&root, &[], sender).unwrap();
    let mut next = async || tokio::time::timeout(DEADLINE, updates.recv()).await.unwrap().unwrap();
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
async fn watching_ends_with_its_handle() {
    let Watched { folder: _folder, mut updates, _watcher } = Watched::start(&[]).await.0;
    drop(_watcher);
    let end = tokio::time::timeout(DEADLINE, updates.recv()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}
