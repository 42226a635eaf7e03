//! What the Problems of a folder mean in a repository: paths from the working directory, Secrets that other controllers
//! make, and names that were probably meant.
//!
//! Not here: finding Problems. A running gateway reports them as they are.

use std::path::Path;

use routing::object::{Kind, Name};
use routing::{Compiler, Problem, Reason, Severity, suggest};

use crate::control::reload::{ProblemView, Reload};

/// Names the folder, and what is known about objects that it does not contain.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Repository<'a> {
    /// As on the command line.
    pub(in crate::cli) folder: &'a Path,
    /// Whether all missing Secrets are made elsewhere.
    pub(in crate::cli) assume_secrets: bool,
}

/// Returns the Problems of a folder, sorted by file and line.
pub(in crate::cli) fn problems(reload: &Reload, repository: Repository<'_>) -> Vec<ProblemView> {
    let problems = reload.problems();
    let mut views: Vec<ProblemView> = problems
        .all()
        .iter()
        .zip(problems.views())
        .map(|(problem, view)| adjusted(problem, view, reload, repository))
        .collect();
    views.sort_by(|a, b| (&a.file, a.line, a).cmp(&(&b.file, b.line, b)));
    views
}

fn adjusted(
    problem: &Problem,
    mut view: ProblemView,
    reload: &Reload,
    repository: Repository<'_>,
) -> ProblemView {
    if problem.reason == Reason::SecretNotFound
        && let Some(maker) = maker_of_secret(problem, reload, repository)
    {
        view.severity = Severity::Note.to_string();
        view.message += &format!(" in this folder; {maker}");
    }
    view.message += &suggestion(problem, reload.compiler());
    view.file = view.file.map(|file| located(repository.folder, &file));
    view
}

/// Returns a file's path from the working directory.
fn located(folder: &Path, file: &str) -> String {
    let is_here = folder == Path::new(".") || folder == Path::new("-");
    let path = if is_here { Path::new(file).to_owned() } else { folder.join(file) };
    let path = path.to_string_lossy().into_owned();
    path.strip_prefix("./").map(ToOwned::to_owned).unwrap_or(path)
}

/// Returns who makes a missing Secret, as a clause.
fn maker_of_secret(problem: &Problem, reload: &Reload, repository: Repository<'_>) -> Option<&'static str> {
    if repository.assume_secrets {
        return Some("--assume-secrets says that it is made elsewhere");
    }
    let ingress = reload.compiler().ingress(&problem.object.name);
    let ingress = ingress.filter(|_| problem.object.kind == Kind::Ingress)?;
    if ingress.has_issuer() {
        return Some("cert-manager makes it, by an annotation of the Ingress");
    }
    let entry = problem.field.strip_prefix("spec.tls[")?.split(']').next()?.parse::<usize>().ok()?;
    let secret = ingress.tls.get(entry)?.secret.as_ref()?;
    let name = Name { namespace: ingress.name.namespace.clone(), name: secret.clone() };
    reload.promised_secrets().contains(&name).then_some("another object in it makes the Secret")
}

/// Returns `; did you mean …?` for a Service or class that does not exist.
fn suggestion(problem: &Problem, compiler: &Compiler) -> String {
    match problem.reason {
        Reason::ServiceNotFound => {
            let Some(missing) = named_after("Service ", &problem.message) else { return String::new() };
            let (namespace, name) = missing.split_once('/').unwrap_or(("", missing));
            let known = compiler.services().filter(|known| *known.namespace == *namespace);
            suggest::did_you_mean(name, known.map(|known| &*known.name))
        }
        Reason::ClassNotFound => {
            let Some(missing) = named_after("IngressClass ", &problem.message) else { return String::new() };
            suggest::did_you_mean(missing, compiler.classes().map(|known| &**known))
        }
        Reason::UnknownField => {
            let Some(field) = problem.field.rsplit(['.', ']']).next() else { return String::new() };
            suggest::did_you_mean(field, FIELDS.iter().copied())
        }
        _ => String::new(),
    }
}

/// Returns the name that follows a word in a message of the compiler.
fn named_after<'a>(word: &str, message: &'a str) -> Option<&'a str> {
    message.strip_prefix(word)?.split(' ').next()
}

/// Fields of the Kubernetes kinds that are read, as far as manifests have them. Our own kinds name theirs in the error.
const FIELDS: &[&str] = &[
    "addressType",
    "annotations",
    "apiGroup",
    "apiVersion",
    "appProtocol",
    "backend",
    "clusterIP",
    "conditions",
    "controller",
    "data",
    "defaultBackend",
    "endpoints",
    "externalName",
    "host",
    "hosts",
    "http",
    "ingressClassName",
    "kind",
    "labels",
    "metadata",
    "name",
    "namespace",
    "nodePort",
    "number",
    "parameters",
    "path",
    "pathType",
    "paths",
    "port",
    "ports",
    "protocol",
    "resource",
    "rules",
    "scope",
    "secretName",
    "selector",
    "service",
    "spec",
    "stringData",
    "targetPort",
    "tls",
    "type",
];
