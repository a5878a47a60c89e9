//! Signatures as the real clients make them: verified, and refused when they
//! are not right.

use anyhow::{Result, ensure};

use crate::door::{OUTSIDE, play};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn only_who_has_a_key_is_answered_and_only_now() -> Result<()> {
    play(OUTSIDE, |door| {
        let list = "aws elb describe-load-balancers";
        door.shell(list)?;
        for (line, code) in [
            (
                format!("AWS_ACCESS_KEY_ID=AKIDNOBODY AWS_SECRET_ACCESS_KEY=x {list}"),
                "InvalidClientTokenId",
            ),
            (
                format!("AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=wrong {list}"),
                "SignatureDoesNotMatch",
            ),
            (
                format!("{list} --no-sign-request"),
                "MissingAuthenticationToken",
            ),
        ] {
            let refused = door.shell_refuses(&line)?;
            ensure!(refused.contains(&format!("({code})")), "{line}: {refused}");
        }
        door.python("replay.py", &[]).map(drop)
    })
}
