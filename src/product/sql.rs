//! Statements that share a part: the columns, or what a list and its count match.
//!
//! [`sql!`] joins constants to one constant when Freehold is compiled. The result is a `&'static str`, as
//! [`Statements`](crate::tenancy::Statements) wants it: a value cannot get into it, only a parameter `$1` can.

/// One text of several constants: `sql!["SELECT ", COLUMNS, " FROM projects WHERE id = $1"]`.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {{
        const PARTS: &[&str] = &[$($part),+];
        const BYTES: &[u8] = &$crate::product::sql::joined::<{ $crate::product::sql::length(PARTS) }>(PARTS);
        const TEXT: &str = $crate::product::sql::text(BYTES);
        TEXT
    }};
}
pub(super) use sql;

pub(super) const fn length(parts: &[&str]) -> usize {
    let (mut length, mut part) = (0, 0);
    while part < parts.len() {
        length += parts[part].len();
        part += 1;
    }
    length
}

/// The bytes of all parts, whose [`length`] is `N`.
pub(super) const fn joined<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut bytes = [0; N];
    let (mut part, mut end) = (0, 0);
    while part < parts.len() {
        let from = parts[part].as_bytes();
        let mut at = 0;
        while at < from.len() {
            bytes[end] = from[at];
            at += 1;
            end += 1;
        }
        part += 1;
    }
    bytes
}

/// What [`joined`] made. Runs in the compiler only.
pub(super) const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("whole texts that are joined are a text"),
    }
}

#[cfg(test)]
mod tests {
    const COLUMNS: &str = "id, größe";

    #[test]
    fn parts_are_joined_as_they_stand() {
        const TEXT: &str = sql!["SELECT ", COLUMNS, " FROM t"];
        assert_eq!(TEXT, "SELECT id, größe FROM t");
        assert_eq!(sql![""], "");
    }
}
