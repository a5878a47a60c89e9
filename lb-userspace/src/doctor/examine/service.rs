//! What the service's user will meet. Pure.

use crate::doctor::{
    finding::{Finding, Verdict, good, wrong},
    mend::{Mend, Words},
    service::{Obstacle, Place, ServiceFacts},
};

/// What the agent needs of root's rights.
const NEEDED: [&str; 4] = ["cap_bpf", "cap_net_admin", "cap_net_raw", "cap_perfmon"];

pub(super) fn examine(service: &ServiceFacts, findings: &mut Vec<Finding>) {
    findings.push(rights(service));
    for given in &service.given {
        let found = format!("ebb.service gives it to {}", service.user);
        findings.push(good(format!("service: {}", given.display()), found));
    }
    for place in &service.places {
        findings.push(self::place(place, &service.user));
    }
}

fn rights(service: &ServiceFacts) -> Finding {
    let what = "service: rights";
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|needed| !service.capabilities.iter().any(|has| has == needed))
        .collect();
    if missing.is_empty() || service.user == "root" {
        return good(
            what,
            format!("it runs as {}, with what it needs", service.user),
        );
    }
    wrong(
        Verdict::Bad,
        what,
        format!(
            "ebb.service runs as {} and lacks {}: AmbientCapabilities= must name it",
            service.user,
            missing.join(", ").to_uppercase()
        ),
        Some(Mend::ByHand(Words::of("systemctl revert ebb.service"))),
    )
}

fn host<const N: usize>(commands: [Words; N]) -> Option<Mend> {
    Some(Mend::Host(commands.into()))
}

fn place(place: &Place, user: &str) -> Finding {
    let path = place.path.display();
    let what = format!("service: {}", place.what);
    let (problem, mend) = match &place.obstacle {
        None => return good(what, format!("{path} is for {user} to use")),
        Some(Obstacle::Missing) => (format!("{path} is not there"), None),
        Some(Obstacle::Folder { folder, mode }) => (
            format!(
                "{user} may not enter {} (mode {mode:04o}), where {path} is",
                folder.display()
            ),
            host([Words::of("chmod o+x").path(folder)]),
        ),
        Some(Obstacle::Mode { mode }) => (
            format!("{path} is not for {user} to use (mode {mode:04o})"),
            match place.what {
                "configuration" => host([
                    Words::of(&format!("chgrp {user}")).path(&place.path),
                    Words::of("chmod g+r").path(&place.path),
                ]),
                _ => host([Words::of(&format!("chown {user}")).path(&place.path)]),
            },
        ),
        Some(Obstacle::Hidden) => (
            format!("ebb.service hides {path} from {user}: move it, as to /etc/ebb"),
            None,
        ),
    };
    wrong(Verdict::Bad, what, problem, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceFacts {
        ServiceFacts {
            user: "ebb".to_owned(),
            capabilities: NEEDED.map(str::to_owned).to_vec(),
            given: vec!["/sys/fs/bpf/ebb".into()],
            places: vec![Place {
                path: "/etc/ebb/ebb.toml".into(),
                what: "configuration",
                obstacle: None,
            }],
        }
    }

    fn wrong_with(change: impl FnOnce(&mut ServiceFacts)) -> Vec<(String, Option<String>)> {
        let mut service = service();
        change(&mut service);
        let mut findings = Vec::new();
        examine(&service, &mut findings);
        findings.retain(|finding| finding.verdict != Verdict::Good);
        findings
            .into_iter()
            .map(|finding| {
                let mend = finding.mend.map(|mend| mend.to_string());
                (finding.found, mend)
            })
            .collect()
    }

    #[test]
    fn a_service_as_it_is_installed_is_fine() {
        assert_eq!(wrong_with(|_| {}), []);
    }

    #[test]
    fn what_the_services_user_may_not_use_is_named_with_what_mends_it() {
        let found = wrong_with(|service| {
            service
                .capabilities
                .retain(|capability| capability != "cap_bpf");
            service.places[0].obstacle = Some(Obstacle::Mode { mode: 0o600 });
            service.places.push(Place {
                path: "/sys/fs/bpf/ebb".into(),
                what: "bpffs",
                obstacle: Some(Obstacle::Folder {
                    folder: "/sys/fs/bpf".into(),
                    mode: 0o1700,
                }),
            });
        });
        let expected = [
            ("lacks CAP_BPF", "systemctl revert ebb.service"),
            (
                "(mode 0600)",
                "chgrp ebb /etc/ebb/ebb.toml && chmod g+r /etc/ebb/ebb.toml",
            ),
            (
                "may not enter /sys/fs/bpf (mode 1700)",
                "chmod o+x /sys/fs/bpf",
            ),
        ];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((found, mend), (text, command)) in found.iter().zip(expected) {
            assert!(found.contains(text), "{found}");
            assert_eq!(mend.as_deref(), Some(command));
        }
    }
}
