//! The words of the tables `operations` and `operation_steps`, as types. A word that this release does not know is an
//! error, never another word.

use super::words::words;

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
