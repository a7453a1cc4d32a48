//! Secrets on their way in: from standard input or from a file, never from an argument.

use std::{fs, io::Read, path::Path};

use anyhow::{Context, ensure};
use secrecy::SecretString;

/// The longest secret; more is a mistake, such as a wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// All of standard input, without the line end that `echo` puts there.
pub(super) fn from_stdin(what: &str) -> anyhow::Result<SecretString> {
    read(std::io::stdin().lock(), what)
}

/// All of a file, without the line end that an editor puts there.
pub(super) fn from_file(path: &Path, what: &str) -> anyhow::Result<SecretString> {
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read(file, what)
}

fn read(source: impl Read, what: &str) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    source.take(MAX_BYTES).read_to_string(&mut text).with_context(|| format!("cannot read {what}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    ensure!(!line.is_empty(), "{what} is empty");
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_line_end_is_taken_off_and_nothing_else() {
        let secret = |text: &str| read(text.as_bytes(), "the password").map(|secret| secret.expose_secret().to_owned());
        assert_eq!(secret(" pass word \n").unwrap(), " pass word ");
        assert_eq!(secret("password\r\n").unwrap(), "password");
        assert_eq!(secret("password").unwrap(), "password");
        assert_eq!(secret("\n").unwrap_err().to_string(), "the password is empty");
    }
}
