//! The arguments after the command. What xtask does not take goes on to the program that it starts.

use std::ffi::{OsStr, OsString};

/// The arguments of one command.
pub(crate) struct Options(Vec<OsString>);

impl Options {
    pub(crate) fn new(arguments: Vec<OsString>) -> Options {
        Options(arguments)
    }

    /// Takes every `name` before `--` away. Was there one?
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let own = self.own();
        let before = self.0.len();
        let mut index = 0;
        self.0.retain(|argument| {
            index += 1;
            index > own || argument != name
        });
        self.0.len() < before
    }

    /// Is `name` among the arguments before `--`? It stays.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0[..self.own()].iter().any(|argument| argument == name)
    }

    /// The value of `name VALUE` or `name=VALUE`, which stays; the last one counts.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let own = &self.0[..self.own()];
        own.iter().enumerate().rev().find_map(|(i, argument)| {
            let argument = argument.to_str()?;
            match argument.strip_prefix(name)? {
                "" => Some(own.get(i + 1)?.to_str()?.to_owned()),
                rest => rest.strip_prefix('=').map(str::to_owned),
            }
        })
    }

    /// What stands for itself before `--`: no flag, and not the value of one, but for those that take none.
    pub(crate) fn words(&self, flags: &[&str]) -> Vec<String> {
        let own = &self.0[..self.own()];
        let is_value = |i: usize| {
            let before = i.checked_sub(1).and_then(|i| own[i].to_str()).unwrap_or("");
            before.starts_with("--") && !before.contains('=') && !flags.contains(&before)
        };
        let words =
            own.iter().enumerate().filter(|&(i, _)| !is_value(i)).filter_map(|(_, word)| word.to_str());
        words.filter(|word| !word.starts_with('-')).map(str::to_owned).collect()
    }

    /// Do these arguments choose packages of their own?
    pub(crate) fn names_package(&self) -> bool {
        self.0[..self.own()].iter().filter_map(|argument| argument.to_str()).any(|argument| {
            argument.starts_with("--package") || (argument.starts_with("-p") && !argument.starts_with("--"))
        })
    }

    /// What is left.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().map(OsString::as_os_str)
    }

    /// How many arguments stand before `--`.
    fn own(&self) -> usize {
        self.0.iter().position(|argument| argument == "--").unwrap_or(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::new(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn flags_are_taken_before_the_dashes_only() {
        let mut options = options(&["--quick", "relu", "--", "--quick"]);
        assert!(options.flag("--quick"));
        assert!(!options.flag("--quick"));
        assert_eq!(options.rest().collect::<Vec<_>>(), ["relu", "--", "--quick"]);
    }

    #[test]
    fn values_have_two_spellings() {
        assert_eq!(options(&["--device", "cpu"]).value("--device").as_deref(), Some("cpu"));
        assert_eq!(options(&["--device=cuda"]).value("--device").as_deref(), Some("cuda"));
        assert_eq!(options(&["--device"]).value("--device"), None);
        assert_eq!(options(&["--devices=cuda"]).value("--device"), None);
        assert_eq!(options(&["--", "--device=cuda"]).value("--device"), None);
    }

    #[test]
    fn words_are_no_values() {
        let options =
            options(&["memory", "--quick", "host", "--ops", "relu", "--only=model", "model", "--", "x"]);
        assert_eq!(options.words(&["--quick"]), ["memory", "host", "model"]);
    }

    #[test]
    fn packages_are_seen() {
        assert!(options(&["-p", "taut-core"]).names_package());
        assert!(options(&["--package=taut-core"]).names_package());
        assert!(!options(&["--", "-p"]).names_package());
    }
}
