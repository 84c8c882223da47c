//! The exit codes: one table for every command.

use std::process::ExitCode;

use crate::engine::Stop;

/// How a command ends. Scripts may rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, and the answer is yes.
    Ok,
    /// The answer is no: the file FAILED, a check found differences, an intervention was refused.
    No,
    /// The command line or the configuration is wrong.
    Usage,
    /// The gateway, the log or the registry can't be reached, or didn't answer in time.
    Unreachable,
    /// What was asked for isn't there.
    NotFound,
    /// It is under way and not finished yet.
    Unfinished,
    /// A part of consign itself broke; the message names it.
    Broken,
}

impl Exit {
    /// Every way to end, with its meaning, for `--help` and the documentation.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Ok, "done, and the answer is yes"),
        (Self::No, "the answer is no: the file FAILED, a check found differences, an intervention was refused"),
        (Self::Usage, "the command line or the configuration is wrong"),
        (Self::Unreachable, "the gateway, the log or the registry can't be reached, or didn't answer in time"),
        (Self::NotFound, "what was asked for isn't there"),
        (Self::Unfinished, "it is under way and not finished yet"),
        (Self::Broken, "a part of consign itself broke; the message names it"),
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::Unfinished => 5,
            Self::Broken => 6,
        }
    }

    /// The worse of two, for a command about several things: what failed to work before what is not there, that before
    /// a no, that before what is not finished.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let weight = |exit| match exit {
            Self::Ok => 0,
            Self::Unfinished => 1,
            Self::No => 2,
            Self::NotFound => 3,
            Self::Unreachable => 4,
            Self::Usage => 5,
            Self::Broken => 6,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

impl From<&Stop> for Exit {
    fn from(stop: &Stop) -> Self {
        match stop {
            Stop::Broken { .. } => Self::Broken,
            Stop::InstanceFenced { .. } | Stop::ProducerFenced { .. } | Stop::LogRefused(_) => Self::Unreachable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_table() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_worse_end_wins() {
        assert_eq!(Exit::Ok.worse(Exit::Unfinished), Exit::Unfinished);
        assert_eq!(Exit::No.worse(Exit::Unfinished), Exit::No);
        assert_eq!(Exit::Unreachable.worse(Exit::No), Exit::Unreachable);
    }
}
