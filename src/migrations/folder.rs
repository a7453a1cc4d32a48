//! A folder of migrations, as it lies on a disk. Whatever is in it, reading it comes to an end and takes little memory.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::MAX_SQL_BYTES;
use crate::error::{FieldError, Result};

/// A `*.sql` file, whatever else it may be.
pub(super) struct Entry {
    /// The file's name.
    pub(super) name: String,
    /// Its text.
    pub(super) text: Result<String, Unreadable>,
}

/// Why a file is no text of SQL.
pub(super) enum Unreadable {
    /// From this byte on it is not UTF-8. Its text with a mark in place of what is none.
    NotUtf8(usize, String),
    /// Anything else, in a sentence.
    Otherwise(String),
}

impl Unreadable {
    /// In a sentence, with the line, for the file that has it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::NotUtf8(offset, text) => {
                let line = line(text, *offset);
                format!("line {line}: there is something that is not UTF-8: save the file as UTF-8")
            }
            Self::Otherwise(reason) => reason.clone(),
        }
    }
}

/// All of the folder whose names end with `.sql`, by name. Nothing else is looked at.
///
/// # Errors
/// `invalid_migration` on the folder's name, when the folder itself cannot be read.
pub(super) fn sql_files(directory: &Path) -> Result<Vec<Entry>> {
    let names = names(directory).map_err(|error| {
        let message = format!("the folder cannot be read: {error}");
        FieldError::new(directory.display().to_string(), "invalid_migration", message)
    })?;
    let found = |name: std::ffi::OsString| {
        let text = read(&directory.join(&name));
        Entry { name: name.to_string_lossy().into_owned(), text }
    };
    Ok(names.into_iter().map(found).collect())
}

fn names(directory: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, Unreadable> {
    let bytes = bytes(path).map_err(Unreadable::Otherwise)?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Unreadable::NotUtf8(offset, String::from_utf8_lossy(error.as_bytes()).into_owned())
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let file = open(path).map_err(unreadable)?;
    // Of what was opened: the name may lead elsewhere by now.
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err("it is a folder: a migration is a file; rename the folder, or move it elsewhere".to_owned());
    }
    if !kind.is_file() {
        return Err("it is a device, a pipe or the like: a migration is a file that holds its text".to_owned());
    }
    let (mut bytes, bound) = (Vec::new(), MAX_SQL_BYTES as u64 + 1);
    file.take(bound).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_SQL_BYTES {
        return Err("it is longer than 256 KiB: divide it, and let a program load data".to_owned());
    }
    Ok(bytes)
}

/// Without waiting for whoever may write to a pipe.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The line of this byte, from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
