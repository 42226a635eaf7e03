//! The language of comments and documents: words that make a sentence hard to read.

use crate::tree::{files, read};

/// Words and phrases that comments and documents do not use, with what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("anew", "again"),
    ("are to be", "must be"),
    ("at hand", "available"),
    ("bears", "tolerates"),
    ("came to", "name the outcome"),
    ("crowd", "connections"),
    ("door", "name the interface"),
    ("for ever", "without a limit"),
    ("forever", "without a limit"),
    ("forsake", "reset"),
    ("house", "name the thing"),
    ("is to be", "must be"),
    ("lookout", "probe"),
    ("nobody", "name the actor: no client, no caller"),
    ("peace", "name the state"),
    ("room", "space"),
    ("seat", "slot"),
    ("so long", "give the duration"),
    ("so many", "give the number"),
    ("somebody", "name the actor"),
    ("stands", "is"),
    ("stood", "was"),
    ("tells", "reports, returns"),
    ("told", "reported, notified"),
    ("whoever", "name the actor"),
];

#[test]
fn comments_and_documents_use_plain_words() {
    let mut found = Vec::new();
    for file in files(".", &["rs", "md", "toml", "yaml", "sh"]) {
        if file.ends_with("architecture/words.rs") {
            continue;
        }
        let text = read(&file);
        let prose = match file.rsplit('.').next() {
            Some("rs") => comments(&text),
            Some("md") => numbered(&text, |_| true),
            _ => numbered(&text, |line| line.trim_start().starts_with('#')),
        };
        for (number, line) in prose {
            found.extend(
                banned(&line).map(|(word, better)| format!("{file}:{number}: `{word}`: {better}: {line}")),
            );
        }
    }
    assert!(found.is_empty(), "{} places\n{}", found.len(), found.join("\n"));
}

fn numbered(text: &str, is_prose: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| is_prose(line));
    lines.map(|(at, line)| (at + 1, line.trim().to_owned())).collect()
}

/// Returns the banned words of a line.
fn banned(line: &str) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let line = format!(" {} ", line.to_lowercase());
    BANNED.iter().filter(move |(word, _)| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !is_part(before) && !is_part(after)
        })
    })
}

/// Returns the line comments of a Rust file with their line numbers. Comment marks in string literals do not count.
fn comments(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut string: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if let Some(hashes) = string {
                let closes = bytes[at] == b'"'
                    && bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count() >= hashes;
                if closes {
                    string = None;
                } else if hashes == 0 && bytes[at] == b'\\' {
                    at += 1;
                }
                at += 1;
                continue;
            }
            match bytes[at] {
                b'/' if bytes.get(at + 1) == Some(&b'/') => {
                    found.push((number + 1, line[at..].to_owned()));
                    break;
                }
                b'"' => {
                    let before = &line[..at];
                    let hashes = before.bytes().rev().take_while(|byte| *byte == b'#').count();
                    let is_raw = before[..at - hashes].ends_with('r');
                    string = Some(if is_raw { hashes } else { 0 });
                    if is_raw && hashes == 0 {
                        // Without escapes, and closed by the next quote.
                        string = line[at + 1..].find('"').map_or(Some(0), |end| {
                            at += end + 1;
                            None
                        });
                    }
                }
                // A character literal may hold a quote.
                b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 2,
                b'\'' if bytes.get(at + 1) == Some(&b'\\') && bytes.get(at + 3) == Some(&b'\'') => at += 3,
                _ => {}
            }
            at += 1;
        }
    }
    found
}

#[test]
fn comments_are_found_beside_strings() {
    let text = "let a = \"http://x\"; // one\n/// two\nlet b = r#\"// no \" // no\"#; // three\nlet c = '\"'; // four\n\
                let d = \"a\n // no\n\"; // five\nlet e = b'\\\"'; // six";
    let found: Vec<_> = comments(text).into_iter().map(|(number, text)| format!("{number}{text}")).collect();
    assert_eq!(found, ["1// one", "2/// two", "3// three", "4// four", "7// five", "8// six"]);
}

#[test]
fn banned_words_are_found_as_words() {
    for (line, count) in [
        ("// Nobody waits.", 1),
        ("// It is made anew, so long as", 2),
        ("// has_room, mushroom, bedroom", 0),
        ("// what is to be done", 1),
    ] {
        assert_eq!(banned(line).count(), count, "{line}");
    }
}
