//! docs/API.md is true: every error code, every route and every reserved slug of the source is in it, and it
//! names none that the source does not have.
//!
//! The source is read as tokens. A code is a text in one of the places where codes are written: see [`codes_in`].

use std::{
    collections::BTreeSet,
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
    str::Chars,
};

use freehold::types::RESERVED_SLUGS;

/// Folders whose codes never reach an answer: what is wrong with a configuration, or with what a test asks for, is
/// told in sentences.
const INTERNAL: [&str; 4] = ["cli", "config", "faults", "telemetry"];

/// Functions that take a code, and as which of their arguments.
const CONSTRUCTORS: [(&str, usize); 7] = [
    ("conflict", 0),
    ("unavailable", 0),
    ("bad", 0),
    ("Invalid", 0),
    ("FieldError", 1),
    ("Problem", 1),
    ("Obstacle", 0),
];

/// What a sentence is called where it is made before the code that it goes with.
const SENTENCES: [&str; 4] = ["detail", "message", "rule", "format"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

impl Token {
    fn is(&self, mark: char) -> bool {
        *self == Self::Mark(mark)
    }

    fn word(&self) -> &str {
        if let Self::Word(word) = self { word } else { "" }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn api() -> String {
    fs::read_to_string(root().join("docs/API.md")).unwrap()
}

/// The lines between the heading `name` and the next one.
fn section<'a>(document: &'a str, name: &str) -> &'a str {
    let start = document.find(&format!("\n## {name}\n")).unwrap_or_else(|| panic!("docs/API.md has no section {name}"));
    let body = &document[start + 1..];
    body.split_once("\n## ").map_or(body, |(section, _)| section)
}

/// The first cells of a section's tables that are one piece of code each.
fn rows(section: &str) -> impl Iterator<Item = &str> {
    section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(cell, _)| cell))
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() && !INTERNAL.contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
                files.push(path);
            }
        }
    }
    files
}

/// The tokens of a source file without comments and tests.
fn tokens(path: &Path) -> Vec<Token> {
    let source = fs::read_to_string(path).unwrap();
    let program = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut tokens = Vec::new();
    let mut rest = program.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '/' if rest.peek() == Some(&'/') => drop(rest.by_ref().find(|c| *c == '\n')),
            '"' => tokens.push(Token::Text(text(&mut rest))),
            '\'' => skip_character(&mut rest),
            'r' if matches!(rest.peek(), Some('"' | '#')) => tokens.push(Token::Text(raw_text(&mut rest))),
            c if c.is_alphanumeric() || c == '_' => tokens.push(Token::Word(word(c, &mut rest))),
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Mark(c)),
        }
    }
    tokens
}

fn word(first: char, rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::from(first);
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        word.push(c);
    }
    word
}

fn text(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next().filter(|c| *c != '"') {
        text.push(c);
        if c == '\\' {
            text.extend(rest.next());
        }
    }
    text
}

fn raw_text(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut end = String::from("\"");
    while rest.next_if_eq(&'#').is_some() {
        end.push('#');
    }
    rest.next();
    let mut text = String::new();
    while !text.ends_with(&end) {
        text.push(rest.next().unwrap());
    }
    text
}

/// A character's literal; of a lifetime only its quote.
fn skip_character(rest: &mut Peekable<Chars<'_>>) {
    let mut ahead = rest.clone();
    let length = match (ahead.next(), ahead.next(), ahead.next()) {
        (Some('\\'), _, Some('\'')) => 3,
        (Some(_), Some('\''), _) => 2,
        _ => 0,
    };
    for _ in 0..length {
        rest.next();
    }
}

fn is_code(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The codes of a file: what is given to a `code` or to one of the [`CONSTRUCTORS`], what stands before the
/// sentence that explains it, and what such a sentence begins with.
fn codes_in(tokens: &[Token]) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(text) = token.text() else { continue };
        let (text, is_whole) = text.split_once(": ").map_or((text, true), |(head, _)| (head, false));
        if is_code(text) && if is_whole { is_given(tokens, at) } else { is_rejection(tokens, at) } {
            codes.insert(text.to_owned());
        }
    }
    codes
}

fn is_given(tokens: &[Token], at: usize) -> bool {
    let before = |steps: usize| at.checked_sub(steps).map_or("", |at| tokens[at].word());
    let is_member = tokens[at - 1].is(':') && before(2) == "code";
    let is_constant = tokens[at - 1].is('=') && (2..8).any(|steps| before(steps) == "CODE");
    is_member || is_constant || is_arm(tokens, at) || is_argument(tokens, at) || is_explained(tokens, at)
}

/// `Self::Refused => "refused"` in a `fn code`: how an outcome says its own code.
fn is_arm(tokens: &[Token], at: usize) -> bool {
    let function = tokens[..at].iter().rposition(|token| token.word() == "fn");
    tokens[at - 1].is('>') && function.is_some_and(|function| tokens[function + 1].word() == "code")
}

fn is_argument(tokens: &[Token], at: usize) -> bool {
    let (mut depth, mut index) = (0, 0);
    for (place, token) in tokens[..at].iter().enumerate().rev() {
        match token {
            Token::Mark(')' | ']' | '}') => depth += 1,
            Token::Mark('(') if depth == 0 => {
                let callee = match tokens[place - 1].word() {
                    "new" => tokens[place.saturating_sub(4)].word(),
                    name => name,
                };
                return CONSTRUCTORS.contains(&(callee, index));
            }
            Token::Mark('[' | '{' | ';') if depth == 0 => return false,
            Token::Mark('(' | '[' | '{') => depth -= 1,
            Token::Mark(',') if depth == 0 => index += 1,
            _ => {}
        }
    }
    false
}

/// Whether a sentence follows: one of ours, which begins in lower case, as no SQL does.
fn is_explained(tokens: &[Token], at: usize) -> bool {
    let follows = tokens.get(at + 1).is_some_and(|token| token.is(','));
    let is_sentence = |text: &str| text.contains(' ') && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '{');
    let is_ours = !tokens[at].text().is_some_and(|text| text.starts_with("freehold_"));
    let explains = tokens.get(at + 2).is_some_and(|token| match token {
        Token::Text(text) => is_sentence(text),
        token => SENTENCES.contains(&token.word()),
    });
    follows && is_ours && explains
}

/// `Err("code: sentence")`: how a value's refusal crosses serde.
fn is_rejection(tokens: &[Token], at: usize) -> bool {
    at >= 2 && tokens[at - 1].is('(') && tokens[at - 2].word() == "Err"
}

/// `#[utoipa::path(get, path = "/v1/projects", …)]`, where the path may be a constant of the file.
fn routes_in(tokens: &[Token]) -> impl Iterator<Item = String> {
    let path_of = |token: &Token| token.text().or_else(|| constant(tokens, token.word())).map(str::to_owned);
    tokens.windows(6).filter_map(move |window| match window {
        [open, method, comma, name, equals, path]
            if open.is('(') && comma.is(',') && name.word() == "path" && equals.is('=') && !path.is('>') =>
        {
            Some(format!(
                "{} {}",
                method.word().to_uppercase(),
                path_of(path).expect("a text or a constant of the file")
            ))
        }
        _ => None,
    })
}

/// The value of `const name: &str = "…"`.
fn constant<'a>(tokens: &'a [Token], name: &str) -> Option<&'a str> {
    tokens.windows(7).find_map(|window| match window {
        [kind, word, colon, ampersand, of, equals, value]
            if kind.word() == "const"
                && word.word() == name
                && colon.is(':')
                && ampersand.is('&')
                && of.word() == "str"
                && equals.is('=') =>
        {
            value.text()
        }
        _ => None,
    })
}

/// The names that the types of a file have in OpenAPI documents: of those that derive or implement `ToSchema`, and of
/// those that the macros make which do.
fn schemas_in(tokens: &[Token]) -> Vec<String> {
    const MACROS: [&str; 3] = ["choice", "text_value", "typed_id"];
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        let name = match token.word() {
            "ToSchema" if rest.first().is_some_and(|next| next.word() == "for") => rest.get(1).map(Token::word),
            "ToSchema" if is_derived(&tokens[..at]) => declared(rest),
            name if MACROS.contains(&name) && rest.first().is_some_and(|next| next.is('!')) => {
                after_attributes(&rest[2..]).map(Token::word)
            }
            "own_ids" if rest.first().is_some_and(|next| next.is('!')) => {
                let listed = rest.iter().take_while(|token| !token.is('}')).cloned().collect::<Vec<_>>();
                let all = listed.windows(2).filter(|pair| pair[1].is('='));
                names.extend(all.map(|pair| pair[0].word().to_owned()));
                None
            }
            _ => None,
        };
        names.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}

/// What stands after attributes and a visibility.
fn after_attributes(mut rest: &[Token]) -> Option<&Token> {
    while rest.first()?.is('#') {
        let end = rest.iter().position(|token| token.is(']'))?;
        rest = &rest[end + 1..];
    }
    if rest.first()?.word() == "pub" {
        let scope = rest.get(1).is_some_and(|token| token.is('(')).then(|| rest.iter().position(|token| token.is(')')));
        rest = &rest[scope.flatten().unwrap_or_default() + 1..];
    }
    rest.first()
}

/// Whether what stands before is `#[derive(…`.
fn is_derived(before: &[Token]) -> bool {
    before.iter().rev().take_while(|token| !token.is('#')).any(|token| token.word() == "derive")
}

/// The name of the struct or enum that follows, or what `#[schema(as = …)]` makes of it.
fn declared(rest: &[Token]) -> Option<&str> {
    let at = rest.iter().position(|token| matches!(token.word(), "struct" | "enum"))?;
    let renamed = rest[..at].windows(3).find(|window| window[0].word() == "as" && window[1].is('='));
    renamed.map(|window| window[2].word()).or_else(|| rest.get(at + 1).map(Token::word))
}

fn assert_same(what: &str, source: &BTreeSet<String>, documented: &BTreeSet<String>) {
    let missing: Vec<_> = source.difference(documented).collect();
    let stale: Vec<_> = documented.difference(source).collect();
    assert!(missing.is_empty(), "docs/API.md lacks these {what}: {missing:?}");
    assert!(stale.is_empty(), "docs/API.md names {what} that the source does not have: {stale:?}");
}

#[test]
fn every_error_code_is_documented_and_no_other() {
    let mut codes: BTreeSet<_> = sources().iter().flat_map(|path| codes_in(&tokens(path))).collect();
    // `Error::code` names those of the variants that carry none.
    codes.extend(["validation_failed", "precondition_failed", "internal"].map(str::to_owned));
    let api = api();
    let documented: Vec<_> = rows(section(&api, "Error codes")).map(str::to_owned).collect();
    let distinct: BTreeSet<_> = documented.iter().cloned().collect();
    assert_same("error codes", &codes, &distinct);
}

#[test]
fn every_route_is_documented_and_no_other() {
    let routes: BTreeSet<_> = sources().iter().flat_map(|path| routes_in(&tokens(path)).collect::<Vec<_>>()).collect();
    let api = api();
    let documented: BTreeSet<_> = rows(section(&api, "Routes")).map(str::to_owned).collect();
    assert_same("routes", &routes, &documented);
}

/// A document has one place for a name: of two types that have the same one, the last would stand for both.
#[test]
fn every_schema_has_a_name_of_its_own() {
    let mut places = std::collections::BTreeMap::<String, Vec<PathBuf>>::new();
    for path in sources() {
        for name in schemas_in(&tokens(&path)) {
            places.entry(name).or_default().push(path.clone());
        }
    }
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "types with one name in OpenAPI, say #[schema(as = …)] at one of them: {twice:#?}");
    for known in ["Tenant", "Server", "Operation", "OperationState", "Problem", "Slug", "TenantId", "TaskStatus"] {
        assert!(places.contains_key(known), "{known} is not seen");
    }
}

#[test]
fn every_reserved_slug_is_documented_and_no_other() {
    let reserved: BTreeSet<_> = RESERVED_SLUGS.iter().map(|slug| (*slug).to_owned()).collect();
    let api = api();
    let documented: BTreeSet<_> =
        section(&api, "Reserved slugs").split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_same("reserved slugs", &reserved, &documented);
}
