//! What the actions do and answer.

use crate::world::Agent;

const WEB: &str = "LoadBalancerName=web";
const LB: &str = "DescribeLoadBalancersResult/LoadBalancerDescriptions/member";

#[test]
fn a_load_balancer_is_created_described_and_deleted() {
    let agent = Agent::start();
    let answer = agent.ok(
        "CreateLoadBalancer",
        &[
            WEB,
            "Listeners.member.1.Protocol=tcp",
            "Listeners.member.1.LoadBalancerPort=443",
            "Listeners.member.1.InstancePort=8443",
            "Listeners.member.2.Protocol=HTTP",
            "Listeners.member.2.LoadBalancerPort=80",
            "Listeners.member.2.InstanceProtocol=http",
            "Listeners.member.2.InstancePort=8080",
            "Subnets.member.1=subnet-b",
            "Subnets.member.2=subnet-a",
            "SecurityGroups.member.1=sg-1",
            "Scheme=internal",
            "Tags.member.1.Key=k",
            "Tags.member.1.Value=v%20%2B%20w",
        ],
    );
    assert_eq!(
        answer.text("CreateLoadBalancerResult/DNSName"),
        "10.0.0.100"
    );
    assert_eq!(agent.create("other"), "10.0.0.101");

    let described = agent.ok("DescribeLoadBalancers", &["LoadBalancerNames.member.1=web"]);
    let texts = |path: &str| described.texts(&format!("{LB}/{path}"));
    assert_eq!(texts("LoadBalancerName"), ["web"]);
    assert_eq!(texts("DNSName"), ["10.0.0.100"]);
    assert_eq!(texts("Scheme"), ["internal"]);
    let listener = |name: &str| texts(&format!("ListenerDescriptions/member/Listener/{name}"));
    assert_eq!(listener("Protocol"), ["HTTP", "TCP"]);
    assert_eq!(listener("InstanceProtocol"), ["HTTP", "TCP"]);
    assert_eq!(listener("LoadBalancerPort"), ["80", "443"]);
    assert_eq!(listener("InstancePort"), ["8080", "8443"]);
    assert_eq!(texts("Subnets/member"), ["subnet-a", "subnet-b"]);
    assert_eq!(texts("SecurityGroups/member"), ["sg-1"]);
    assert_eq!(texts("HealthCheck/Target"), ["TCP:8080"]);
    assert_eq!(texts("HealthCheck/Interval"), ["30"]);
    assert_eq!(texts("HealthCheck/Timeout"), ["5"]);
    assert_eq!(texts("HealthCheck/UnhealthyThreshold"), ["2"]);
    assert_eq!(texts("HealthCheck/HealthyThreshold"), ["10"]);
    // Lists that are empty are there.
    for list in [
        "AvailabilityZones",
        "Instances",
        "Policies/OtherPolicies",
        "BackendServerDescriptions",
    ] {
        assert_eq!(texts(list), [""], "{list}");
    }
    let created = texts("CreatedTime").concat();
    assert!(
        created.starts_with("20") && created.ends_with('Z'),
        "{created}"
    );

    agent.ok("DeleteLoadBalancer", &[WEB]);
    let left = agent.ok("DescribeLoadBalancers", &[]);
    assert_eq!(left.texts(&format!("{LB}/LoadBalancerName")), ["other"]);
    // Its address is free again.
    assert_eq!(agent.create("web"), "10.0.0.100");
}

#[test]
fn created_again_the_same_it_is_the_same() {
    let agent = Agent::start();
    let vip = agent.create("web");
    assert_eq!(agent.create("web"), vip);
    let described = agent.ok("DescribeLoadBalancers", &[]);
    assert_eq!(described.texts(LB).len(), 1);
}

#[test]
fn attributes_begin_as_the_originals_and_change_one_by_one() {
    let agent = Agent::start();
    agent.create("web");
    let all = |path: &str| {
        let described = agent.ok("DescribeLoadBalancerAttributes", &[WEB]);
        described.text(&format!(
            "DescribeLoadBalancerAttributesResult/LoadBalancerAttributes/{path}"
        ))
    };
    assert_eq!(all("ConnectionDraining/Enabled"), "false");
    assert_eq!(all("ConnectionDraining/Timeout"), "300");
    assert_eq!(all("ConnectionSettings/IdleTimeout"), "60");
    assert_eq!(all("CrossZoneLoadBalancing/Enabled"), "false");
    assert_eq!(all("AccessLog/Enabled"), "false");
    assert_eq!(all("AdditionalAttributes/member/Value"), "defensive");

    let modify = |parameters: &[&str]| {
        let parameters: Vec<String> = parameters
            .iter()
            .map(|parameter| format!("LoadBalancerAttributes.{parameter}"))
            .collect();
        let mut all = vec![WEB];
        all.extend(parameters.iter().map(String::as_str));
        agent.ok("ModifyLoadBalancerAttributes", &all).body
    };
    // Only what was named is answered, whole.
    let answer = modify(&[
        "ConnectionDraining.Enabled=true",
        "ConnectionDraining.Timeout=600",
    ]);
    assert!(
        answer.contains(
            "<ModifyLoadBalancerAttributesResult><LoadBalancerName>web</LoadBalancerName>\
             <LoadBalancerAttributes><ConnectionDraining><Enabled>true</Enabled>\
             <Timeout>600</Timeout></ConnectionDraining></LoadBalancerAttributes>\
             </ModifyLoadBalancerAttributesResult>"
        ),
        "{answer}"
    );
    // A timeout that is left out stays.
    modify(&["ConnectionDraining.Enabled=false"]);
    assert_eq!(all("ConnectionDraining/Timeout"), "600");
    modify(&["ConnectionDraining.Enabled=true"]);
    assert_eq!(all("ConnectionDraining/Timeout"), "600");
    modify(&[
        "ConnectionSettings.IdleTimeout=4000",
        "CrossZoneLoadBalancing.Enabled=true",
        "AccessLog.Enabled=true",
        "AccessLog.S3BucketName=b",
        "AccessLog.EmitInterval=5",
        "AccessLog.S3BucketPrefix=p%2Fq",
        "AdditionalAttributes.member.1.Key=elb.http.desyncmitigationmode",
        "AdditionalAttributes.member.1.Value=monitor",
    ]);
    assert_eq!(all("ConnectionSettings/IdleTimeout"), "4000");
    assert_eq!(all("CrossZoneLoadBalancing/Enabled"), "true");
    assert_eq!(all("AccessLog/S3BucketPrefix"), "p/q");
    assert_eq!(all("AccessLog/EmitInterval"), "5");
    assert_eq!(all("AdditionalAttributes/member/Value"), "monitor");
    assert_eq!(all("ConnectionDraining/Enabled"), "true");
}

#[test]
fn listeners_come_and_go_and_the_address_stays() {
    let agent = Agent::start();
    let vip = agent.create("web");
    let http = [
        WEB,
        "Listeners.member.1.Protocol=HTTP",
        "Listeners.member.1.LoadBalancerPort=8000",
        "Listeners.member.1.InstancePort=8080",
    ];
    agent.ok("CreateLoadBalancerListeners", &http);
    // Once more, the same.
    agent.ok("CreateLoadBalancerListeners", &http);
    let ports = || {
        let web = ["LoadBalancerNames.member.1=web"];
        let described = agent.ok("DescribeLoadBalancers", &web);
        assert_eq!(described.text(&format!("{LB}/DNSName")), vip);
        described.texts(&format!(
            "{LB}/ListenerDescriptions/member/Listener/LoadBalancerPort"
        ))
    };
    assert_eq!(ports(), ["80", "8000"]);
    let all = [
        WEB,
        "LoadBalancerPorts.member.1=80",
        "LoadBalancerPorts.member.2=8000",
        "LoadBalancerPorts.member.3=9000",
    ];
    agent.ok("DeleteLoadBalancerListeners", &all);
    assert!(ports().is_empty());
    assert_ne!(agent.create("other"), vip);
    agent.ok("CreateLoadBalancerListeners", &http);
    assert_eq!(ports(), ["8000"]);
}

#[test]
fn an_instance_is_an_address_or_a_name_for_one() {
    let agent = Agent::start();
    agent.create("web");
    let register = |id: &str| {
        let id = format!("Instances.member.1.InstanceId={id}");
        agent.call("RegisterInstancesWithLoadBalancer", &[WEB, &id])
    };
    assert_eq!(register("10.0.1.13").status, 200);
    // By the configuration.
    assert_eq!(register("web-1").status, 200);
    // By a tag.
    let refusal = register("i-0abc");
    assert!(
        refusal
            .text("Error/Message")
            .contains("ebb:instance:i-0abc"),
        "{refusal:?}"
    );
    let tag = [
        "LoadBalancerNames.member.1=web",
        "Tags.member.1.Key=ebb%3Ainstance%3Ai-0abc",
    ];
    let bad = [&tag[..], &["Tags.member.1.Value=somewhere"]].concat();
    assert_eq!(agent.refused("AddTags", &bad), "ValidationError");
    agent.ok(
        "AddTags",
        &[&tag[..], &["Tags.member.1.Value=10.0.1.14"]].concat(),
    );
    let answer = register("i-0abc");
    assert_eq!(
        answer.texts("RegisterInstancesWithLoadBalancerResult/Instances/member/InstanceId"),
        ["10.0.1.13", "i-0abc", "web-1"]
    );
    // An address that has another name here.
    let refusal = register("10.0.1.11");
    assert!(
        refusal.text("Error/Message").contains("\"web-1\""),
        "{refusal:?}"
    );
    let refusal = agent.call(
        "DeregisterInstancesFromLoadBalancer",
        &[WEB, "Instances.member.1.InstanceId=10.0.1.11"],
    );
    assert!(
        refusal
            .text("Error/Message")
            .contains("its id here is \"web-1\""),
        "{refusal:?}"
    );
    // All of them or none.
    let some = [
        WEB,
        "Instances.member.1.InstanceId=10.0.1.15",
        "Instances.member.2.InstanceId=nobody",
    ];
    assert_eq!(
        agent.refused("RegisterInstancesWithLoadBalancer", &some),
        "InvalidInstance"
    );
    assert_eq!(agent.health("web", "10.0.1.15"), "InvalidInstance");
}

#[test]
fn tags_labels_and_policies_are_remembered() {
    let agent = Agent::start();
    agent.create("web");
    let lbs = "LoadBalancerNames.member.1=web";
    agent.ok(
        "AddTags",
        &[
            lbs,
            "Tags.member.1.Key=a",
            "Tags.member.1.Value=1",
            "Tags.member.2.Key=b",
        ],
    );
    agent.ok(
        "AddTags",
        &[lbs, "Tags.member.1.Key=a", "Tags.member.1.Value=2"],
    );
    let tags = agent.ok("DescribeTags", &[lbs]);
    let member = "DescribeTagsResult/TagDescriptions/member";
    assert_eq!(tags.texts(&format!("{member}/Tags/member/Key")), ["a", "b"]);
    assert_eq!(
        tags.texts(&format!("{member}/Tags/member/Value")),
        ["2", ""]
    );
    agent.ok(
        "RemoveTags",
        &[lbs, "Tags.member.1.Key=a", "Tags.member.2.Key=nobody"],
    );
    let tags = agent.ok("DescribeTags", &[lbs]);
    assert_eq!(tags.texts(&format!("{member}/Tags/member/Key")), ["b"]);

    let zones = |action: &str, zone: &str| {
        let zone = format!("AvailabilityZones.member.1={zone}");
        let answer = agent.ok(action, &[WEB, &zone]);
        answer.texts(&format!("{action}Result/AvailabilityZones/member"))
    };
    assert_eq!(
        zones("EnableAvailabilityZonesForLoadBalancer", "b"),
        ["b", "local-1a"]
    );
    assert_eq!(
        zones("DisableAvailabilityZonesForLoadBalancer", "b"),
        ["local-1a"]
    );
    let groups = agent.ok(
        "ApplySecurityGroupsToLoadBalancer",
        &[WEB, "SecurityGroups.member.1=sg-1"],
    );
    let group = "ApplySecurityGroupsToLoadBalancerResult/SecurityGroups/member";
    assert_eq!(groups.text(group), "sg-1");

    agent.ok(
        "CreateAppCookieStickinessPolicy",
        &[WEB, "PolicyName=app", "CookieName=c"],
    );
    agent.ok(
        "CreateLBCookieStickinessPolicy",
        &[WEB, "PolicyName=lb", "CookieExpirationPeriod=60"],
    );
    agent.ok(
        "CreateLoadBalancerPolicy",
        &[
            WEB,
            "PolicyName=proxy",
            "PolicyTypeName=ProxyProtocolPolicyType",
            "PolicyAttributes.member.1.AttributeName=ProxyProtocol",
            "PolicyAttributes.member.1.AttributeValue=true",
        ],
    );
    let policies = agent.ok("DescribeLoadBalancerPolicies", &[WEB]);
    let member = "DescribeLoadBalancerPoliciesResult/PolicyDescriptions/member";
    assert_eq!(
        policies.texts(&format!("{member}/PolicyName")),
        ["app", "lb", "proxy"]
    );
    let described = agent.ok("DescribeLoadBalancers", &[]);
    let policy = |path: &str| described.text(&format!("{LB}/Policies/{path}"));
    assert_eq!(policy("AppCookieStickinessPolicies/member/CookieName"), "c");
    assert_eq!(
        policy("LBCookieStickinessPolicies/member/CookieExpirationPeriod"),
        "60"
    );
    assert_eq!(policy("OtherPolicies/member"), "proxy");
    // That none be in effect is how it is; anything else cannot be.
    agent.ok(
        "SetLoadBalancerPoliciesOfListener",
        &[WEB, "LoadBalancerPort=80", "PolicyNames="],
    );
    agent.ok(
        "SetLoadBalancerPoliciesForBackendServer",
        &[WEB, "InstancePort=8080", "PolicyNames="],
    );
    let refusal = agent.call(
        "SetLoadBalancerPoliciesForBackendServer",
        &[WEB, "InstancePort=8080", "PolicyNames.member.1=proxy"],
    );
    assert_eq!(refusal.status, 409);
    agent.ok("DeleteLoadBalancerPolicy", &[WEB, "PolicyName=app"]);
    let policies = agent.ok("DescribeLoadBalancerPolicies", &[WEB]);
    assert_eq!(
        policies.texts(&format!("{member}/PolicyName")),
        ["lb", "proxy"]
    );
    let types = agent.ok("DescribeLoadBalancerPolicyTypes", &[]);
    let name = "DescribeLoadBalancerPolicyTypesResult/PolicyTypeDescriptions/member/PolicyTypeName";
    assert_eq!(types.texts(name).len(), 3);
}

#[test]
fn long_lists_come_in_pages() {
    let agent = Agent::start();
    for name in ["a", "b", "c"] {
        agent.create(name);
    }
    let page = agent.ok("DescribeLoadBalancers", &["PageSize=2"]);
    assert_eq!(page.texts(&format!("{LB}/LoadBalancerName")), ["a", "b"]);
    let marker = page.text("DescribeLoadBalancersResult/NextMarker");
    let page = agent.ok(
        "DescribeLoadBalancers",
        &["PageSize=2", &format!("Marker={marker}")],
    );
    assert_eq!(page.texts(&format!("{LB}/LoadBalancerName")), ["c"]);
    assert!(
        page.texts("DescribeLoadBalancersResult/NextMarker")
            .is_empty()
    );
    assert_eq!(
        agent.refused("DescribeLoadBalancers", &["PageSize=401"]),
        "ValidationError"
    );
}

/// The quotas are what `[tables]` has room for, and beyond them is the client's
/// error, in words that name the setting.
#[test]
fn the_quotas_are_the_tables() {
    use lb_userspace::model::TableSizes;

    let limits = |agent: &Agent| {
        let limits = agent.ok("DescribeAccountLimits", &[]);
        let texts =
            |name: &str| limits.texts(&format!("DescribeAccountLimitsResult/Limits/member/{name}"));
        texts("Name")
            .into_iter()
            .zip(texts("Max"))
            .collect::<Vec<_>>()
    };
    let of = |listeners: &str, load_balancers: &str, instances: &str| {
        [
            ("classic-listeners", listeners),
            ("classic-load-balancers", load_balancers),
            ("classic-registered-instances", instances),
        ]
        .map(|(name, max)| (name.to_owned(), max.to_owned()))
    };
    assert_eq!(limits(&Agent::start()), of("4096", "1024", "16384"));

    let sizes = TableSizes {
        load_balancers: 2,
        backends: 1,
        listeners: 3,
        ..TableSizes::default()
    };
    let agent = Agent::sized(crate::world::CONFIG, sizes);
    assert_eq!(limits(&agent), of("3", "2", "1"));
    let full = |answer: crate::world::Answer, code: &str, setting: &str| {
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(answer.text("Error/Code"), code);
        let message = answer.text("Error/Message");
        assert!(
            message.contains(&format!("[tables] {setting}")),
            "{message}"
        );
    };
    agent.create("a");
    agent.create("b");
    full(
        agent.call(
            "CreateLoadBalancer",
            &[
                "LoadBalancerName=c",
                "Listeners.member.1.Protocol=TCP",
                "Listeners.member.1.LoadBalancerPort=80",
                "Listeners.member.1.InstancePort=80",
                "AvailabilityZones.member.1=z",
            ],
        ),
        "TooManyLoadBalancers",
        "load_balancers",
    );
    let register = |id: &str| {
        let instance = format!("Instances.member.1.InstanceId={id}");
        agent.call(
            "RegisterInstancesWithLoadBalancer",
            &["LoadBalancerName=a", &instance],
        )
    };
    assert_eq!(register("web-1").status, 200);
    full(register("web-2"), "InvalidConfigurationRequest", "backends");
    let listen = |port: u16| {
        let port = format!("Listeners.member.1.LoadBalancerPort={port}");
        agent.call(
            "CreateLoadBalancerListeners",
            &[
                "LoadBalancerName=a",
                "Listeners.member.1.Protocol=TCP",
                "Listeners.member.1.InstancePort=80",
                &port,
            ],
        )
    };
    assert_eq!(listen(81).status, 200);
    full(listen(82), "InvalidConfigurationRequest", "listeners");
}

/// Load balancers that the API did not make are shown as what they are.
#[test]
fn what_came_by_another_way_in_is_shown_too() {
    use lb_userspace::{
        model::{Mode, Protocol},
        wire::{AttributesPatch, Listener, NewBackend, NewLoadBalancer},
    };

    let agent = Agent::start();
    let listener = |protocol, port| Listener {
        protocol,
        address: [10, 0, 0, 50].into(),
        port,
        backend_port: None,
    };
    let new = NewLoadBalancer {
        health_check: None,
        name: "dns".to_owned(),
        mode: Mode::Dsr,
        listeners: vec![listener(Protocol::Tcp, 53), listener(Protocol::Udp, 53)],
        backends: vec![NewBackend {
            id: Some("ns-1".to_owned()),
            address: [10, 0, 0, 11].into(),
            weight: 5,
        }],
        attributes: AttributesPatch::default(),
        elb: serde_json::Value::Null,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(agent.handle.create_load_balancer(new))
        .unwrap();
    let described = agent.ok("DescribeLoadBalancers", &[]);
    assert_eq!(described.text(&format!("{LB}/DNSName")), "10.0.0.50");
    let protocols = format!("{LB}/ListenerDescriptions/member/Listener/Protocol");
    assert_eq!(described.texts(&protocols), ["TCP", "UDP"]);
    assert_eq!(agent.health("dns", "ns-1"), "InService N/A N/A");
    // A name that the load balancer knows needs no other; and the weight stays.
    let id = "Instances.member.1.InstanceId=ns-1";
    let name = "LoadBalancerName=dns";
    agent.ok("DeregisterInstancesFromLoadBalancer", &[name, id]);
    agent.ok("RegisterInstancesWithLoadBalancer", &[name, id]);
    let tag = ["LoadBalancerNames.member.1=dns", "Tags.member.1.Key=k"];
    agent.ok("AddTags", &tag);
    let lb = runtime.block_on(agent.handle.load_balancer("dns")).unwrap();
    assert_eq!(lb.elb["tags"]["k"], "");
}
