//! The console in a real browser: what people do with it, and what they see.
//!
//! They need root and chromium, and are run by `cargo xtask test`. Screenshots
//! are left in `target/tmp/console`.

mod doing;
mod draining;
mod scene;
mod seeing;
mod webdriver;
mod who;
