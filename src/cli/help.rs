//! The help that people read: paragraphs wrap at the terminal's width, and a group of commands shows an example of each.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The command line as it is parsed and printed.
pub fn command() -> Command {
    adorned(Cli::command())
}

fn adorned(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let children: Vec<String> = command.get_subcommands().map(|child| child.get_name().to_owned()).collect();
    let command = children.iter().fold(command, |command, child| command.mut_subcommand(child, adorned));
    let said = command.get_after_help().map(ToString::to_string);
    match said {
        Some(text) => command.after_help(reflowed(&text)),
        None if children.is_empty() => command,
        None => {
            let examples: Vec<String> = command.get_subcommands().filter_map(first_example).collect();
            command
                .after_help(format!("Examples:\n{}\n\nconsign {name} COMMAND --help says more.", examples.join("\n")))
        }
    }
}

fn first_example(command: &Command) -> Option<String> {
    let text = command.get_after_help()?.to_string();
    text.lines().find(|line| line.starts_with("  consign ")).map(str::to_owned)
}

/// The same text with every paragraph on one line, so that it is wrapped once, where the terminal ends. Indented lines,
/// and those that lead to them by a colon, stand as they are.
fn reflowed(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let continues = |last: &String| !last.is_empty() && !last.starts_with(' ') && !last.ends_with(':');
        match lines.last_mut().filter(|last| continues(last)) {
            Some(last) if !line.is_empty() && !line.starts_with(' ') => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn paragraphs_are_joined_and_examples_stand() {
        let text = "Examples:\n  consign a\n  consign b\n\nEnds with 0 if\nall is well.\n\nTable:\n  x  y";
        assert_eq!(
            reflowed(text),
            "Examples:\n  consign a\n  consign b\n\nEnds with 0 if all is well.\n\nTable:\n  x  y"
        );
    }
}
