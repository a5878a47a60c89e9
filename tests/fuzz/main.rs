//! LLVM's fuzzer around a target. `cargo xtask fuzz` builds it with the counters
//! that the fuzzer looks at, and names the target in `EBB_FUZZ_TARGET`.
#![no_main]

use std::{env, sync::LazyLock};

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = env::var("EBB_FUZZ_TARGET").unwrap_or_default();
    let names = TARGETS.map(|(name, _)| name);
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let (_, target) = found.unwrap_or_else(|| panic!("EBB_FUZZ_TARGET is none of {names:?}"));
    *target
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
