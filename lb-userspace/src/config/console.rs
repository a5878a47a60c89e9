//! The `[console]` section: where the web page is, and who may use it.

use super::{
    diagnostic::{At, Findings},
    entrance::{Entrance, entrance},
    written::WrittenEntrance,
};

/// Where the console listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8090";

/// Access keys are what people log in with.
pub(super) fn console(
    written: At<WrittenEntrance>,
    findings: &mut Findings<'_>,
) -> Option<Entrance> {
    entrance(written.value, DEFAULT_LISTEN, &written.span, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostic, Document, Purpose};

    fn parse(section: &str) -> Result<Option<Entrance>, Vec<Diagnostic>> {
        let text = format!("interfaces = [\"eth0\"]\n{section}");
        let document = Document::parse("ebb.toml", &text, Purpose::Agent, None)?;
        Ok(document.settings.unwrap().console)
    }

    #[test]
    fn it_is_off_unless_asked_for_and_then_on_loopback() {
        assert_eq!(parse("").unwrap(), None);
        let console = parse("[console]").unwrap().unwrap();
        assert_eq!(console.listen, DEFAULT_LISTEN.parse().unwrap());
        assert!(console.access_keys.is_empty());
    }

    #[test]
    fn elsewhere_it_needs_access_keys() {
        let open = "[console]\nlisten = \"10.0.0.1:8090\"";
        let found = parse(open).unwrap_err();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert!(found[0].to_string().contains("no access keys"), "{found:?}");
        let locked = format!("{open}\naccess_keys = {{ anna = \"secret\" }}");
        assert_eq!(parse(&locked).unwrap().unwrap().access_keys.len(), 1);
    }
}
