//! The text of a file as statements, each parsed by itself: a mistake in one does not hide another.
//!
//! The parser is `squawk-syntax`, and only this file and the kinds of its nodes know it. It descends recursively and is
//! not ours: so what is nested too deep is not given to it, and what it panics on is a finding like others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use squawk_lexer::{LiteralKind, TokenKind, tokenize};
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

pub(super) type Kind = SyntaxKind;
pub(super) type Node = SyntaxNode;

/// How many tokens of a statement may lie in one another: more than any statement that people write, and what the parser
/// needs less than [`STACK`] for.
const MAX_DEPTH: usize = 4_000;
/// The stack of the thread that lints. Memory is only taken as far as it is used.
pub(super) const STACK: usize = 128 * 1024 * 1024;

/// A comment, and the statement that it stands right before.
pub(super) struct Comment<'a> {
    pub(super) offset: usize,
    pub(super) text: &'a str,
    /// None inside a statement.
    pub(super) before: Option<usize>,
}

/// One statement of a file.
pub(super) struct Statement {
    /// Where it begins in the file.
    pub(super) offset: usize,
    /// Its tree; of a statement with a syntax error whatever could be made of it.
    pub(super) nodes: Vec<Node>,
    /// The first syntax error: where in the file, and what.
    pub(super) error: Option<(usize, String)>,
}

/// A file's text.
pub(super) struct Script<'a> {
    pub(super) statements: Vec<Statement>,
    pub(super) comments: Vec<Comment<'a>>,
}

impl<'a> Script<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let (mut script, mut open) = (Self { statements: Vec::new(), comments: Vec::new() }, Open::default());
        for (offset, kind, token) in tokens(text) {
            match kind {
                TokenKind::Whitespace => {}
                TokenKind::LineComment | TokenKind::BlockComment { .. } => {
                    let before = open.start.is_none().then_some(script.statements.len());
                    script.comments.push(Comment { offset, text: token, before });
                }
                TokenKind::Semi if open.is_complete() => {
                    script.end(text, open.start, offset + token.len());
                    open = Open::default();
                }
                _ => open.take(offset, kind, token),
            }
        }
        script.end(text, open.start, text.len());
        script
    }

    fn end(&mut self, text: &'a str, start: Option<usize>, end: usize) {
        if let Some(offset) = start {
            self.statements.push(parse(offset, text.get(offset..end).unwrap_or_default()));
        }
    }
}

/// A statement whose end is not reached yet.
#[derive(Default)]
struct Open {
    start: Option<usize>,
    parentheses: usize,
    /// `BEGIN ATOMIC … END` holds statements, and `CASE … END` lies in them.
    blocks: usize,
    after_begin: bool,
}

impl Open {
    fn is_complete(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn take(&mut self, offset: usize, kind: TokenKind, token: &str) {
        self.start.get_or_insert(offset);
        let is = |word: &str| kind == TokenKind::Ident && token.eq_ignore_ascii_case(word);
        match kind {
            TokenKind::OpenParen => self.parentheses += 1,
            TokenKind::CloseParen => self.parentheses = self.parentheses.saturating_sub(1),
            _ if self.blocks > 0 && is("end") => self.blocks -= 1,
            _ if is("atomic") && self.after_begin || self.blocks > 0 && is("case") => self.blocks += 1,
            _ => {}
        }
        self.after_begin = is("begin");
    }
}

fn parse(offset: usize, text: &str) -> Statement {
    let unread = |what: &str| Statement { offset, nodes: Vec::new(), error: Some((offset, what.to_owned())) };
    if depth(text, true) > MAX_DEPTH {
        return unread("it is nested too deep to be read");
    }
    let read = catch_unwind(AssertUnwindSafe(|| {
        let parsed = SourceFile::parse(text);
        let error = parsed.errors().into_iter().next();
        (parsed.syntax_node().children().collect(), error)
    }));
    match read {
        Ok((nodes, error)) => {
            let error = error.map(|error| (offset + usize::from(error.range().start()), error.message().to_owned()));
            Statement { offset, nodes, error }
        }
        Err(_) => unread("the linter's parser gave up on it"),
    }
}

/// How deep the parser may have to go: every token since the last comma or semicolon, on every level of parentheses. A
/// text in quotes may be a function's body, which is parsed too.
fn depth(text: &str, with_bodies: bool) -> usize {
    let (mut levels, mut sum, mut deepest) = (vec![0_usize], 0_usize, 0_usize);
    for (_, kind, token) in tokens(text) {
        match kind {
            TokenKind::Whitespace | TokenKind::LineComment | TokenKind::BlockComment { .. } => continue,
            TokenKind::Comma | TokenKind::Semi => sum -= levels.last_mut().map_or(0, std::mem::take),
            TokenKind::OpenParen | TokenKind::OpenBracket => {
                // It may also hang on what is before it: `a[1][1]`.
                sum += 1;
                *levels.last_mut().unwrap_or(&mut 0) += 1;
                levels.push(0);
            }
            TokenKind::CloseParen | TokenKind::CloseBracket if levels.len() > 1 => sum -= levels.pop().unwrap_or(0),
            TokenKind::Literal { kind: LiteralKind::DollarQuotedString { .. } | LiteralKind::Str { .. } }
                if with_bodies =>
            {
                deepest = deepest.max(depth(body(token), false));
            }
            _ => {
                sum += 1;
                *levels.last_mut().unwrap_or(&mut 0) += 1;
            }
        }
        deepest = deepest.max(levels.len() + sum);
    }
    deepest
}

/// The tokens of a text: where they begin, what they are, their text.
fn tokens(text: &str) -> impl Iterator<Item = (usize, TokenKind, &str)> {
    tokenize(text).scan(0, move |offset, token| {
        let start = *offset;
        *offset += token.len as usize;
        Some((start, token.kind, text.get(start..*offset)?))
    })
}

/// The words of a text outside quotes and comments, in lower case: `execute` in a function's body.
pub(super) fn words(text: &str) -> Vec<String> {
    tokens(text).filter(|(_, kind, _)| *kind == TokenKind::Ident).map(|(_, _, word)| word.to_lowercase()).collect()
}

/// The text between the quotes of a literal.
pub(super) fn body(literal: &str) -> &str {
    if let Some(rest) = literal.strip_prefix('$') {
        let tag = rest.split('$').next().unwrap_or_default().len() + 2;
        return literal.get(tag..literal.len().saturating_sub(tag)).unwrap_or_default();
    }
    let start = literal.find('\'').map_or(0, |quote| quote + 1);
    literal.get(start..).map_or("", |rest| rest.strip_suffix('\'').unwrap_or(rest))
}
