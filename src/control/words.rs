//! The words that columns hold, as types. A word that this release does not know is an error, never another word.

/// Declares such a type: `words! { /// Doc. State, "state of a thing", { /// Doc. Open => "open", } }`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$about:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $name {
            /// The word, as the database and the interfaces spell it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub(in crate::control) fn parse(text: &str) -> $crate::error::Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::error::Error::defect(format!(concat!("unknown ", $what, " {}"), text))),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;
