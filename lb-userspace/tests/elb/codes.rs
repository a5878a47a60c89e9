//! Every code that the API has for its actions, provoked once. Those that ebb
//! has no cause for are not among its codes: `DependencyThrottle` (there is
//! nothing to throttle) and the like.

use std::collections::BTreeSet;

use lb_userspace::api::elb::Code;

use crate::world::Agent;

const LISTENER: [&str; 3] = [
    "Listeners.member.1.Protocol=TCP",
    "Listeners.member.1.LoadBalancerPort=80",
    "Listeners.member.1.InstancePort=8080",
];

/// What `CreateLoadBalancer` is refused with: `name`, the usual listener, and
/// `more`.
fn create(agent: &Agent, name: &str, more: &[&str]) -> String {
    let name = format!("LoadBalancerName={name}");
    let parameters = [&[name.as_str()], &LISTENER[..], more].concat();
    agent.refused("CreateLoadBalancer", &parameters)
}

/// As [`create`], with another listener than the usual one.
fn listen(agent: &Agent, fields: &[&str]) -> String {
    let mut parameters = vec![
        "LoadBalancerName=new".to_owned(),
        "AvailabilityZones.member.1=a".to_owned(),
    ];
    parameters.extend(
        fields
            .iter()
            .map(|field| format!("Listeners.member.1.{field}")),
    );
    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
    agent.refused("CreateLoadBalancer", &parameters)
}

#[test]
fn every_code_is_answered_where_it_belongs() {
    let agent = Agent::start();
    agent.create("web");
    let mut seen = BTreeSet::new();
    let mut expect = |code: Code, answered: String| {
        assert_eq!(answered, code.name());
        seen.insert(code.name());
    };
    let zone = "AvailabilityZones.member.1=a";
    let web = "LoadBalancerName=web";
    let nobody = "LoadBalancerName=nobody";

    // CreateLoadBalancer.
    expect(
        Code::DuplicateLoadBalancerName,
        create(&agent, "web", &[zone]),
    );
    for bad in ["-x", "x-", "a.b", "", &"x".repeat(33), "%C3%BC"] {
        expect(Code::ValidationError, create(&agent, bad, &[zone]));
    }
    expect(Code::ValidationError, create(&agent, "new", &[]));
    expect(
        Code::ValidationError,
        create(&agent, "new", &[zone, "Subnets.member.1=subnet-1"]),
    );
    expect(
        Code::InvalidScheme,
        create(&agent, "new", &[zone, "Scheme=public"]),
    );
    expect(
        Code::SubnetNotFound,
        create(&agent, "new", &["Subnets.member.1=net-1"]),
    );
    expect(
        Code::InvalidSubnet,
        create(&agent, "new", &["Subnets.member.1=subnet-%20"]),
    );
    expect(
        Code::InvalidSecurityGroup,
        create(&agent, "new", &[zone, "SecurityGroups.member.1=all"]),
    );
    expect(
        Code::DuplicateTagKeys,
        create(
            &agent,
            "new",
            &[zone, "Tags.member.1.Key=k", "Tags.member.2.Key=k"],
        ),
    );
    let many: Vec<String> = (1..=51)
        .map(|n| format!("Tags.member.{n}.Key=k{n}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([zone]).collect();
    expect(Code::TooManyTags, create(&agent, "new", &many));
    let ports = ["LoadBalancerPort=443", "InstancePort=443"];
    for protocol in ["Protocol=HTTPS", "Protocol=SSL", "Protocol=UDP"] {
        expect(
            Code::UnsupportedProtocol,
            listen(&agent, &[&ports[..], &[protocol]].concat()),
        );
    }
    expect(
        Code::CertificateNotFound,
        listen(
            &agent,
            &[&ports[..], &["Protocol=TCP", "SSLCertificateId=arn"]].concat(),
        ),
    );
    expect(
        Code::InvalidConfigurationRequest,
        listen(
            &agent,
            &[&ports[..], &["Protocol=HTTP", "InstanceProtocol=TCP"]].concat(),
        ),
    );
    for bad in [
        ["LoadBalancerPort=0", "InstancePort=1"],
        ["LoadBalancerPort=1", "InstancePort=65536"],
    ] {
        expect(
            Code::ValidationError,
            listen(&agent, &[&bad[..], &["Protocol=TCP"]].concat()),
        );
    }
    agent.create("second");
    agent.create("third");
    expect(Code::TooManyLoadBalancers, create(&agent, "new", &[zone]));
    let poor = Agent::with("listen = \"127.0.0.1:0\"");
    expect(Code::OperationNotPermitted, create(&poor, "new", &[zone]));

    // Listeners.
    let other = [
        web,
        LISTENER[0],
        LISTENER[1],
        "Listeners.member.1.InstancePort=81",
    ];
    expect(
        Code::DuplicateListener,
        agent.refused("CreateLoadBalancerListeners", &other),
    );
    let certificate = |lb, port| {
        let parameters = [lb, port, "SSLCertificateId=arn"];
        agent.refused("SetLoadBalancerListenerSSLCertificate", &parameters)
    };
    expect(
        Code::UnsupportedProtocol,
        certificate(web, "LoadBalancerPort=80"),
    );
    expect(
        Code::ListenerNotFound,
        certificate(web, "LoadBalancerPort=81"),
    );
    expect(
        Code::LoadBalancerNotFound,
        certificate(nobody, "LoadBalancerPort=80"),
    );

    // Instances.
    for id in ["i-0aaa", "10.0.0.100", "127.0.0.1", "fd00%3A%3A1", "%20"] {
        let id = format!("Instances.member.1.InstanceId={id}");
        expect(
            Code::InvalidInstance,
            agent.refused("RegisterInstancesWithLoadBalancer", &[web, &id]),
        );
        expect(
            Code::InvalidInstance,
            agent.refused("DescribeInstanceHealth", &[web, &id]),
        );
    }

    // Attributes.
    let attribute = |parameter: &str| {
        let parameter = format!("LoadBalancerAttributes.{parameter}");
        agent.refused("ModifyLoadBalancerAttributes", &[web, &parameter])
    };
    for bad in [
        "ConnectionDraining.Enabled=yes",
        "ConnectionDraining.Timeout=300",
        "ConnectionSettings.IdleTimeout=0",
        "ConnectionSettings.IdleTimeout=4001",
        "CrossZoneLoadBalancing.Enabled=",
        "Unheard.Of=1",
    ] {
        expect(Code::ValidationError, attribute(bad));
    }
    for timeout in ["0", "3601", "-1", "five", "1e2"] {
        let bad = format!(
            "ConnectionDraining.Enabled=true&LoadBalancerAttributes.ConnectionDraining.Timeout={timeout}"
        );
        expect(Code::ValidationError, attribute(&bad));
    }
    expect(
        Code::InvalidConfigurationRequest,
        attribute("AccessLog.Enabled=true"),
    );
    expect(
        Code::LoadBalancerAttributeNotFound,
        attribute(
            "AdditionalAttributes.member.1.Key=a&LoadBalancerAttributes.AdditionalAttributes.member.1.Value=b",
        ),
    );

    // Health checks.
    let check = |target: &str, interval: u32, timeout: u32| {
        let target = format!("HealthCheck.Target={target}");
        let interval = format!("HealthCheck.Interval={interval}");
        let timeout = format!("HealthCheck.Timeout={timeout}");
        let thresholds = [
            "HealthCheck.UnhealthyThreshold=2",
            "HealthCheck.HealthyThreshold=10",
        ];
        let parameters = [
            web,
            &target,
            &interval,
            &timeout,
            thresholds[0],
            thresholds[1],
        ];
        agent.refused("ConfigureHealthCheck", &parameters)
    };
    for (target, interval, timeout) in [
        ("TCP:80", 4, 2),
        ("TCP:80", 301, 5),
        ("TCP:80", 30, 1),
        ("TCP:80", 300, 61),
        ("TCP:80", 10, 10),
        ("HTTP:80", 30, 5),
        ("PING", 30, 5),
    ] {
        expect(Code::ValidationError, check(target, interval, timeout));
    }

    // Labels and policies.
    expect(
        Code::InvalidConfigurationRequest,
        agent.refused(
            "AttachLoadBalancerToSubnets",
            &[web, "Subnets.member.1=subnet-1"],
        ),
    );
    expect(
        Code::InvalidConfigurationRequest,
        agent.refused(
            "DisableAvailabilityZonesForLoadBalancer",
            &[web, "AvailabilityZones.member.1=local-1a"],
        ),
    );
    let policy = [web, "PolicyName=p", "CookieName=c"];
    agent.ok("CreateAppCookieStickinessPolicy", &policy);
    expect(
        Code::DuplicatePolicyName,
        agent.refused("CreateAppCookieStickinessPolicy", &policy),
    );
    let set = |port, policy| {
        let parameters = [web, port, policy];
        agent.refused("SetLoadBalancerPoliciesOfListener", &parameters)
    };
    let port = "LoadBalancerPort=80";
    expect(
        Code::InvalidConfigurationRequest,
        set(port, "PolicyNames.member.1=p"),
    );
    expect(Code::PolicyNotFound, set(port, "PolicyNames.member.1=q"));
    expect(
        Code::ListenerNotFound,
        set("LoadBalancerPort=81", "PolicyNames="),
    );
    expect(
        Code::PolicyTypeNotFound,
        agent.refused(
            "CreateLoadBalancerPolicy",
            &[
                web,
                "PolicyName=q",
                "PolicyTypeName=SSLNegotiationPolicyType",
            ],
        ),
    );
    for n in 2..=100 {
        let name = format!("PolicyName=p{n}");
        agent.ok("CreateLBCookieStickinessPolicy", &[web, &name]);
    }
    expect(
        Code::TooManyPolicies,
        agent.refused("CreateLBCookieStickinessPolicy", &[web, "PolicyName=p101"]),
    );

    // What is nobody's mistake.
    agent.store.set_full(true);
    expect(
        Code::InternalFailure,
        agent.refused(
            "AddTags",
            &["LoadBalancerNames.member.1=web", "Tags.member.1.Key=k"],
        ),
    );
    agent.store.set_full(false);

    // Those of requests and signatures have tests of their own.
    let elsewhere = [
        Code::AccessDenied,
        Code::IncompleteSignature,
        Code::InvalidAction,
        Code::InvalidClientTokenId,
        Code::MalformedQueryString,
        Code::MissingAction,
        Code::MissingAuthenticationToken,
        Code::MissingParameter,
        Code::RequestExpired,
        Code::ServiceUnavailable,
        Code::SignatureDoesNotMatch,
    ];
    let not_seen: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code.name()) && !elsewhere.contains(code))
        .collect();
    assert!(not_seen.is_empty(), "{not_seen:?}");
}

#[test]
fn every_action_on_a_load_balancer_knows_when_there_is_none() {
    let agent = Agent::start();
    let names = ["LoadBalancerName=nobody"];
    let plural = ["LoadBalancerNames.member.1=nobody"];
    let health = [
        "HealthCheck.Target=TCP:80",
        "HealthCheck.Interval=30",
        "HealthCheck.Timeout=5",
        "HealthCheck.UnhealthyThreshold=2",
        "HealthCheck.HealthyThreshold=10",
    ];
    let instance = ["Instances.member.1.InstanceId=10.0.1.11"];
    let zone = ["AvailabilityZones.member.1=a"];
    let subnet = ["Subnets.member.1=subnet-1"];
    let tag = ["Tags.member.1.Key=k"];
    let of: [(&str, &[&str], &[&str]); 22] = [
        ("AddTags", &plural, &tag),
        (
            "ApplySecurityGroupsToLoadBalancer",
            &names,
            &["SecurityGroups.member.1=sg-1"],
        ),
        ("AttachLoadBalancerToSubnets", &names, &subnet),
        ("ConfigureHealthCheck", &names, &health),
        (
            "CreateAppCookieStickinessPolicy",
            &names,
            &["PolicyName=p", "CookieName=c"],
        ),
        ("CreateLBCookieStickinessPolicy", &names, &["PolicyName=p"]),
        ("CreateLoadBalancerListeners", &names, &LISTENER),
        (
            "CreateLoadBalancerPolicy",
            &names,
            &[
                "PolicyName=p",
                "PolicyTypeName=ProxyProtocolPolicyType",
                "PolicyAttributes.member.1.AttributeName=ProxyProtocol",
                "PolicyAttributes.member.1.AttributeValue=true",
            ],
        ),
        (
            "DeleteLoadBalancerListeners",
            &names,
            &["LoadBalancerPorts.member.1=80"],
        ),
        ("DeleteLoadBalancerPolicy", &names, &["PolicyName=p"]),
        ("DeregisterInstancesFromLoadBalancer", &names, &instance),
        ("DescribeInstanceHealth", &names, &[]),
        ("DescribeLoadBalancerAttributes", &names, &[]),
        ("DescribeLoadBalancerPolicies", &names, &[]),
        ("DescribeLoadBalancers", &plural, &[]),
        ("DescribeTags", &plural, &[]),
        ("DetachLoadBalancerFromSubnets", &names, &subnet),
        ("DisableAvailabilityZonesForLoadBalancer", &names, &zone),
        ("EnableAvailabilityZonesForLoadBalancer", &names, &zone),
        (
            "ModifyLoadBalancerAttributes",
            &names,
            &["LoadBalancerAttributes.ConnectionDraining.Enabled=true"],
        ),
        ("RegisterInstancesWithLoadBalancer", &names, &instance),
        ("RemoveTags", &plural, &tag),
    ];
    for (action, lb, more) in of {
        let code = agent.refused(action, &[lb, more].concat());
        assert_eq!(code, "LoadBalancerNotFound", "{action}");
    }
    let refusal = agent.call("DescribeInstanceHealth", &names);
    assert_eq!(
        refusal.text("Error/Message"),
        "There is no ACTIVE Load Balancer named 'nobody'"
    );
    // Deleting what is not there is no mistake.
    agent.ok("DeleteLoadBalancer", &names);
}
