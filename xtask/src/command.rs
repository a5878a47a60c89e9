//! Running other programs: a failed one is shown as it was run, a long step
//! says what it does and how long it took.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Says what is about to be done, does it, says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let done = work();
    let seconds = start.elapsed().as_secs_f32();
    match done {
        Ok(_) => eprintln!("    {what}: {seconds:.1} s"),
        Err(_) => eprintln!("    {what}: failed after {seconds:.1} s"),
    }
    done
}

/// Runs it with our terminal, to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    Ok(())
}

/// Runs it and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    if !out.status.success() {
        let stderr = String::from_utf8_lossy(&out.stderr);
        bail!("{}: {}\n{}", out.status, shown(command), stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// As [`output`], for what people wait for: its complaints and its progress
/// are shown as they come.
pub(crate) fn output_of_long(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start: {}", shown(command)))?;
    if !out.status.success() {
        bail!("{}: {}", out.status, shown(command));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Becomes it: signals and the exit code are then its own.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start: {}", shown(command)))
}

/// The cargo that runs us, with the toolchain that was chosen for it.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` set for xtask itself is nobody else's.
    for (name, _) in env::vars_os() {
        if is_of_this_package(&name) {
            command.env_remove(name);
        }
    }
    command.current_dir(crate::workspace::root());
    command
}

/// Whether the variable describes xtask's own package rather than a wish of
/// the user.
pub(crate) fn is_of_this_package(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_BIN_")
            || [
                "CARGO_MANIFEST_DIR",
                "CARGO_MANIFEST_PATH",
                "CARGO_CRATE_NAME",
            ]
            .contains(&name)
    })
}

/// The command as one would type it, with the variables that we added.
fn shown(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        // The separator of CARGO_ENCODED_RUSTFLAGS is invisible; show it as
        // bash would take it.
        format!(
            "'{}'",
            word.replace('\'', r"'\''").replace('\x1f', "'$'\\x1f''")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("cargo");
        command
            .args(["build", "--cfg=a=\"b c\"", "it's"])
            .env("FLAGS", "-a\x1f-b");
        assert_eq!(
            shown(&command),
            r#"FLAGS='-a'$'\x1f''-b' cargo build '--cfg=a="b c"' 'it'\''s'"#
        );
    }
}
