//! What a test measured, said where it is seen: `cargo xtask test` shows these
//! lines at its end.

use std::{env, fs::File, io::Write as _};

/// Prints the line, and adds it to what the whole run shows at its end.
pub fn line(text: &str) {
    println!("{text}");
    let Some(file) = env::var_os("EBB_TEST_REPORT") else {
        return;
    };
    // One write, for tests run at the same time.
    let written = File::options()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()));
    if let Err(error) = written {
        println!("cannot write {}: {error}", file.display());
    }
}
