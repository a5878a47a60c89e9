//! How long the flows of a backend that leaves may live, as typed.

use crate::{model::DRAIN_TIMEOUT, wire::Deregister};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LeaveArgs {
    #[arg(long, value_name = "SECONDS", value_parser = timeout, conflicts_with = "now")]
    #[arg(help = format!(
        "How long open flows may last, {} to {} seconds [default: the attribute \
         connection-draining.timeout]",
        DRAIN_TIMEOUT.start(),
        DRAIN_TIMEOUT.end(),
    ))]
    timeout: Option<u32>,

    /// Close every open flow at once, at both ends
    #[arg(long)]
    pub(in crate::cli) now: bool,
}

impl From<&LeaveArgs> for Deregister {
    fn from(args: &LeaveArgs) -> Self {
        Self {
            timeout: args.timeout,
            now: args.now,
        }
    }
}

/// A drain's timeout as typed.
fn timeout(typed: &str) -> Result<u32, String> {
    typed
        .parse()
        .ok()
        .filter(|seconds| DRAIN_TIMEOUT.contains(seconds))
        .ok_or_else(|| {
            format!(
                "it must be a whole number of seconds from {} to {}",
                DRAIN_TIMEOUT.start(),
                DRAIN_TIMEOUT.end()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_one_second_to_one_hour() {
        assert_eq!(timeout("1"), Ok(1));
        assert_eq!(timeout("3600"), Ok(3600));
        for wrong in ["0", "3601", "-1", "5m", "", "1.5", "4294967297"] {
            let refused = timeout(wrong).expect_err(wrong);
            assert!(refused.contains("1 to 3600"), "{refused}");
        }
    }
}
