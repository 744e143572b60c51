//! Variables of the environment as containers have them: one set to nothing is not set, and an error about a value names
//! the variable that it stands in.

use std::env;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// Compose files and units of systemd pass on what is not set as an empty value. Such a variable says nothing.
pub(super) fn without_empty(command: Command) -> Command {
    let unset = |argument: Arg| {
        let value = argument.get_env().and_then(env::var_os);
        let empty = value.is_some_and(|value| value.is_empty());
        if empty { argument.env(Resettable::Reset) } else { argument }
    };
    command.mut_args(unset).mut_subcommands(without_empty)
}

/// An error of the parser's, with the variable in it if the value came from there.
pub(super) fn named(mut error: clap::Error, command: &Command, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let shown = shown.clone();
    let subcommand = arguments.iter().find_map(|word| command.find_subcommand(word));
    let argument = subcommand.and_then(|command| {
        command
            .get_arguments()
            .find(|argument| argument.to_string() == shown && !is_said(argument, arguments))
    });
    if let Some(variable) = argument.and_then(Arg::get_env).filter(|name| env::var_os(name).is_some()) {
        let both = format!("{} ({shown})", variable.to_string_lossy());
        error.insert(ContextKind::InvalidArg, ContextValue::String(both));
    }
    error
}

fn is_said(argument: &Arg, arguments: &[OsString]) -> bool {
    let Some(long) = argument.get_long() else { return false };
    let is_it = |word: &str| {
        word.strip_prefix("--")
            .and_then(|word| word.strip_prefix(long))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    arguments.iter().any(|word| word.to_str().is_some_and(is_it))
}

/// What an error about a value of `run` names: the flag, or the variable too if the value came from there.
pub(super) fn origin(matches: &ArgMatches, argument: &Arg) -> String {
    let flag = argument.get_long().map(|long| format!("--{long}"));
    let variable = argument
        .get_env()
        .filter(|_| matches.value_source(argument.get_id().as_str()) == Some(ValueSource::EnvVariable))
        .map(|name| name.to_string_lossy().into_owned());
    match (variable, flag) {
        (Some(variable), Some(flag)) => format!("{variable} ({flag})"),
        (variable, flag) => variable.or(flag).unwrap_or_default(),
    }
}
