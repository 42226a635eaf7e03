//! Fenced blocks, inline code and shell commands of a Markdown text.

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The word behind the fence: `sh`, `yaml`, `text`.
    pub(crate) language: String,
    pub(crate) text: String,
}

/// Returns all fenced blocks in order.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let parts: Vec<_> = markdown.split("```").collect();
    assert!(parts.len() % 2 == 1, "a fence is not closed");
    let inside = parts.into_iter().skip(1).step_by(2);
    let block = |part: &str| {
        let (language, text) = part.split_once('\n').unwrap_or(("", part));
        Block { language: language.trim().to_owned(), text: text.to_owned() }
    };
    inside.map(block).collect()
}

/// Returns all inline code outside of fenced blocks.
pub(crate) fn inline_code(markdown: &str) -> Vec<String> {
    let outside: String = markdown.split("```").step_by(2).collect();
    outside.split('`').skip(1).step_by(2).map(|text| text.replace('\n', " ")).collect()
}

/// Splits a script into commands. A here-document and a continued line belong to their command.
pub(crate) fn commands(script: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), script.lines());
    while let Some(line) = lines.next() {
        let mut command = line.to_owned();
        while command.ends_with('\\') {
            command = format!("{}{}", command.trim_end_matches('\\'), lines.next().unwrap().trim_start());
        }
        if let Some((_, end)) = line.split_once("<<") {
            let end = end.trim_matches('\'');
            for line in lines.by_ref() {
                command += &format!("\n{line}");
                if line == end {
                    break;
                }
            }
        }
        if !command.trim().is_empty() && !command.starts_with('#') {
            found.push(command);
        }
    }
    found
}

/// Splits a command into words as a shell does. Quotes group; nothing is expanded.
pub(crate) fn words(command: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (None, ' ' | '\n') => found.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == c => quote = None,
            _ => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    found
}

#[test]
fn commands_keep_here_documents_and_continued_lines() {
    let script = "mkdir a\ncat > a <<'END'\nx \\\n  y\nEND\nrun \\\n  --flag &\n";
    assert_eq!(commands(script), ["mkdir a", "cat > a <<'END'\nx \\\n  y\nEND", "run --flag &"]);
    assert_eq!(words("a  'b c'=\"d\" ''"), ["a", "b c=d", ""]);
}

#[test]
fn blocks_and_inline_code_are_separate() {
    let page = "`a` and `b`\n```sh\nrun `c`\n```\n`d e`\n";
    assert_eq!(blocks(page), [Block { language: "sh".to_owned(), text: "run `c`\n".to_owned() }]);
    assert_eq!(inline_code(page), ["a", "b", "d e"]);
}
