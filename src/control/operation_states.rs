//! The words of the tables `operations` and `operation_steps`, as types. A word that this release does not know is an
//! error, never another word.

use std::fmt;

use crate::error::{Error, Result};

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

            pub(super) fn parse(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Error::defect(format!(concat!("unknown ", $what, " {}"), text))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where an operation is in its life.
    OperationState, "state of an operation", {
        /// It waits for a replica.
        Queued => "queued",
        /// A replica holds its claim.
        Running => "running",
        /// It waits for an operator.
        Blocked => "blocked",
        /// All its steps are done.
        Succeeded => "succeeded",
        /// It could not go on, and what it did is undone.
        Failed => "failed",
        /// Somebody called it off, and what it did is undone.
        Cancelled => "cancelled",
    }
}

words! {
    /// Where a step of an operation is.
    StepState, "state of a step", {
        /// It was not begun.
        Pending => "pending",
        /// It was begun.
        Running => "running",
        /// It is done.
        Succeeded => "succeeded",
        /// Its last attempt, or that of its undoing, ended with an error.
        Failed => "failed",
        /// Its undoing was begun.
        Undoing => "undoing",
        /// It is undone.
        Undone => "undone",
    }
}

words! {
    /// Which way an operation goes.
    Direction, "direction of an operation", {
        /// Its steps are done, in order.
        Forward => "forward",
        /// What its steps did is undone, in the opposite order.
        Undo => "undo",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_no_other_word() {
        assert_eq!(Direction::parse("undo").unwrap(), Direction::Undo);
        assert!(Direction::parse("sideways").unwrap_err().chain().contains("sideways"));
        assert!(OperationState::parse("").is_err() && StepState::parse("Pending").is_err());
    }
}
