//! The commands of the original's documentation, byte for byte.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{lab::agent::LB, report};

use crate::door::{Door, LOOPBACK, play};

const ENABLE: &str = r#"aws elb modify-load-balancer-attributes --load-balancer-name my-loadbalancer --load-balancer-attributes "{\"ConnectionDraining\":{\"Enabled\":true,\"Timeout\":300}}""#;
const DISABLE: &str = r#"aws elb modify-load-balancer-attributes --load-balancer-name my-loadbalancer --load-balancer-attributes "{\"ConnectionDraining\":{\"Enabled\":false}}""#;
const SHOW: &str = "aws elb describe-load-balancer-attributes --load-balancer-name my-loadbalancer";

fn create(door: &Door<'_>, name: &str) -> Result<Value> {
    let line = format!(
        "aws elb create-load-balancer --load-balancer-name {name} \
         --listeners Protocol=TCP,LoadBalancerPort=80,InstanceProtocol=TCP,InstancePort=8080 \
         --availability-zones local-1a"
    );
    Ok(serde_json::from_str(&door.shell(&line)?)?)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn its_two_commands_answer_as_it_says() -> Result<()> {
    play(LOOPBACK, |door| {
        assert_eq!(
            create(door, "my-loadbalancer")?,
            json!({ "DNSName": "10.0.0.100" })
        );
        let answer = |line| -> Result<Value> {
            let printed = door.shell(line)?;
            report::line(&format!(
                "$ {line}\n{}",
                printed.split_whitespace().collect::<Vec<_>>().join(" ")
            ));
            Ok(serde_json::from_str(&printed)?)
        };
        assert_eq!(
            answer(ENABLE)?,
            json!({
                "LoadBalancerAttributes": { "ConnectionDraining": { "Enabled": true, "Timeout": 300 } },
                "LoadBalancerName": "my-loadbalancer",
            })
        );
        assert_eq!(
            answer(SHOW)?["LoadBalancerAttributes"]["ConnectionDraining"],
            json!({ "Enabled": true, "Timeout": 300 })
        );
        assert_eq!(
            answer(DISABLE)?,
            json!({
                "LoadBalancerAttributes": { "ConnectionDraining": { "Enabled": false, "Timeout": 300 } },
                "LoadBalancerName": "my-loadbalancer",
            })
        );
        let shown: Value = door.ebb.json(&["attributes", "show", "my-loadbalancer"])?;
        assert_eq!(shown["connection_draining"]["enabled"], false, "{shown}");
        Ok(())
    })
}

/// The whole life of a balancer by the command line, with its own waiters.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_balancer_lives_by_the_command_line_alone() -> Result<()> {
    play(LOOPBACK, |door| {
        create(door, LB)?;
        let elb = |line: &str| door.shell(&format!("aws elb {line}"));
        elb(
            "register-instances-with-load-balancer --load-balancer-name web --instances web-1 10.0.1.12",
        )?;
        elb("wait any-instance-in-service --load-balancer-name web")?;
        elb("wait instance-in-service --load-balancer-name web --instances web-1")?;
        let page = door
            .site
            .client
            .run("curl", &["-sS", "--max-time", "5", &door.site.url("/")])?;
        assert!(page.starts_with("web-"), "{page}");

        let deregistered: Value = serde_json::from_str(&elb(
            "deregister-instances-from-load-balancer --load-balancer-name web --instances web-1",
        )?)?;
        // The one that is registered under its address.
        assert_eq!(
            deregistered,
            json!({ "Instances": [{ "InstanceId": "10.0.1.12" }] })
        );
        elb("wait instance-deregistered --load-balancer-name web --instances web-1")?;
        let health: Value = serde_json::from_str(&elb(
            "describe-instance-health --load-balancer-name web --instances web-1",
        )?)?;
        assert_eq!(
            health["InstanceStates"][0],
            json!({
                "InstanceId": "web-1",
                "State": "OutOfService",
                "ReasonCode": "Instance",
                "Description": "Instance is not currently registered with the LoadBalancer.",
            })
        );
        let refused = door
            .shell_refuses("aws elb describe-load-balancer-attributes --load-balancer-name nope")?;
        assert!(
            refused.contains("(LoadBalancerNotFound)")
                && refused.contains("There is no ACTIVE Load Balancer named 'nope'"),
            "{refused}"
        );
        elb("delete-load-balancer --load-balancer-name web")?;
        let all: Value = serde_json::from_str(&elb("describe-load-balancers")?)?;
        assert_eq!(all, json!({ "LoadBalancerDescriptions": [] }));
        Ok(())
    })
}
