//! Whatever is sent: a refusal that clients do not repeat, or a closed
//! connection; and the next one is answered.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::select};

use crate::world::{Agent, Answer};

#[test]
fn what_is_no_request_of_the_api_is_refused() {
    let agent = Agent::start();
    for (body, status, code) in [
        ("", 400, "MissingAction"),
        ("Version=2012-06-01", 400, "MissingAction"),
        ("Action=DescribeLoadBalancers", 400, "MissingParameter"),
        (
            "Action=DescribeLoadBalancers&Version=2015-12-01",
            400,
            "InvalidAction",
        ),
        (
            "Action=DescribeLoadBalancers&Version=x",
            400,
            "InvalidAction",
        ),
        ("Action=DropTables&Version=2012-06-01", 400, "InvalidAction"),
        ("Action=&Version=2012-06-01", 400, "InvalidAction"),
        (
            "Action=a&Action=b&Version=2012-06-01",
            404,
            "MalformedQueryString",
        ),
        ("Action=%zz&Version=2012-06-01", 404, "MalformedQueryString"),
        ("\0\u{1}", 404, "MalformedQueryString"),
        (
            "Action=a%00&Version=2012-06-01",
            404,
            "MalformedQueryString",
        ),
    ] {
        let refusal = agent.post(body.as_bytes());
        assert_eq!(
            (refusal.status, refusal.text("Error/Code").as_str()),
            (status, code),
            "{body}"
        );
    }
    let refusal = agent.send("PUT", "/", "", b"");
    assert_eq!(refusal.text("Error/Code"), "InvalidAction");
    let refusal = agent.send("POST", "/?Action=x", "", b"");
    assert_eq!(refusal.text("Error/Code"), "MalformedQueryString");
}

#[test]
fn any_path_and_get_will_do() {
    let agent = Agent::start();
    let form = "Action=DescribeLoadBalancers&Version=2012-06-01";
    assert_eq!(
        agent.send("POST", "/some/path", "", form.as_bytes()).status,
        200
    );
    assert_eq!(agent.send("GET", &format!("/?{form}"), "", b"").status, 200);
}

#[test]
fn megabytes_and_thousands_of_parameters_are_refused() {
    let agent = Agent::start();
    let head = "Action=DescribeLoadBalancers&Version=2012-06-01";
    let large = format!("{head}&X={}", "x".repeat(4 << 20));
    let mut stream = agent.connect();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        agent.address,
        large.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    // The server may close before all of it is written.
    let _ = stream.write_all(large.as_bytes());
    if let Some(refusal) = Answer::read(&mut stream) {
        assert_eq!(refusal.status, 400);
    }
    let mut many = head.to_owned();
    for n in 0..6000 {
        many.push_str(&format!("&P{n}=1"));
    }
    let refusal = agent.post(many.as_bytes());
    assert_eq!(refusal.text("Error/Code"), "ValidationError");
    let names: Vec<String> = (1..=4000)
        .map(|n| format!("LoadBalancerNames.member.{n}=x"))
        .collect();
    let refusal = agent.post(format!("{head}&{}", names.join("&")).as_bytes());
    assert_eq!(refusal.text("Error/Code"), "LoadBalancerNotFound");
}

#[test]
fn slow_senders_are_cut_and_stop_nobody_else() {
    let agent = Agent::start();
    let begin = Instant::now();
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\n", agent.address);
    let mut slow: Vec<_> = [
        format!("{head}Content-Length: 100\r\n\r\nAction="),
        "POST / HT".to_owned(),
    ]
    .iter()
    .map(|said| {
        let mut stream = agent.connect();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    })
    .collect();
    agent.ok("DescribeLoadBalancers", &[]);
    for stream in &mut slow {
        let mut rest = Vec::new();
        // To the end: the server closes.
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains(" 500 "));
    }
    assert!(begin.elapsed() < Duration::from_secs(50));
}

const ACTIONS: &[&str] = &[
    "AddTags",
    "ApplySecurityGroupsToLoadBalancer",
    "AttachLoadBalancerToSubnets",
    "ConfigureHealthCheck",
    "CreateAppCookieStickinessPolicy",
    "CreateLBCookieStickinessPolicy",
    "CreateLoadBalancer",
    "CreateLoadBalancerListeners",
    "CreateLoadBalancerPolicy",
    "DeleteLoadBalancer",
    "DeleteLoadBalancerListeners",
    "DeleteLoadBalancerPolicy",
    "DeregisterInstancesFromLoadBalancer",
    "DescribeAccountLimits",
    "DescribeInstanceHealth",
    "DescribeLoadBalancerAttributes",
    "DescribeLoadBalancerPolicies",
    "DescribeLoadBalancerPolicyTypes",
    "DescribeLoadBalancers",
    "DescribeTags",
    "DetachLoadBalancerFromSubnets",
    "DisableAvailabilityZonesForLoadBalancer",
    "EnableAvailabilityZonesForLoadBalancer",
    "ModifyLoadBalancerAttributes",
    "RegisterInstancesWithLoadBalancer",
    "RemoveTags",
    "SetLoadBalancerListenerSSLCertificate",
    "SetLoadBalancerPoliciesForBackendServer",
    "SetLoadBalancerPoliciesOfListener",
];

const NAMES: &[&str] = &[
    "LoadBalancerName",
    "LoadBalancerNames.member.1",
    "LoadBalancerNames",
    "Listeners.member.1.Protocol",
    "Listeners.member.1.LoadBalancerPort",
    "Listeners.member.1.InstancePort",
    "Listeners.member.1.InstanceProtocol",
    "Listeners.member.2.SSLCertificateId",
    "AvailabilityZones.member.1",
    "Subnets.member.1",
    "SecurityGroups.member.1",
    "Scheme",
    "Tags.member.1.Key",
    "Tags.member.1.Value",
    "Instances.member.1.InstanceId",
    "Instances.member.2.InstanceId",
    "Instances",
    "LoadBalancerPorts.member.1",
    "LoadBalancerPort",
    "InstancePort",
    "PolicyName",
    "PolicyNames.member.1",
    "PolicyNames",
    "PolicyTypeName",
    "CookieName",
    "CookieExpirationPeriod",
    "SSLCertificateId",
    "Marker",
    "PageSize",
    "HealthCheck.Target",
    "HealthCheck.Interval",
    "HealthCheck.Timeout",
    "HealthCheck.UnhealthyThreshold",
    "HealthCheck.HealthyThreshold",
    "LoadBalancerAttributes.ConnectionDraining.Enabled",
    "LoadBalancerAttributes.ConnectionDraining.Timeout",
    "LoadBalancerAttributes.ConnectionSettings.IdleTimeout",
    "LoadBalancerAttributes.AccessLog.Enabled",
    "LoadBalancerAttributes.AccessLog.EmitInterval",
    "LoadBalancerAttributes.AdditionalAttributes.member.1.Key",
    "LoadBalancerAttributes.AdditionalAttributes.member.1.Value",
    "LoadBalancerAttributes",
];

const VALUES: &[&str] = &[
    "",
    "web",
    "other",
    "-",
    "0",
    "1",
    "80",
    "8080",
    "65535",
    "65536",
    "-1",
    "300",
    "3601",
    "99999999999999999999",
    "true",
    "false",
    "TCP",
    "http",
    "HTTPS",
    "UDP",
    "10.0.1.11",
    "10.0.0.100",
    "127.0.0.1",
    "fd00%3A%3A1",
    "0.0.0.0",
    "web-1",
    "%00",
    "%F0%9F%A6%80",
    "%zz",
    "TCP%3A80",
    "HTTP%3A80%2Fx",
    "internal",
    "subnet-1",
    "sg-1",
    "ebb%3Ainstance%3Ax",
    "ProxyProtocolPolicyType",
    "elb.http.desyncmitigationmode",
    "defensive",
    "5",
    "60",
    "2",
    "10",
];

/// A parameter that is nearly one of the API's, or bytes.
fn parameter() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        4 => select(VALUES).prop_map(str::to_owned),
        1 => "[ -~]{0,40}",
    ];
    prop_oneof![
        12 => (select(NAMES), value).prop_map(|(name, value)| format!("{name}={value}").into_bytes()),
        1 => vec(any::<u8>(), 0..40),
    ]
}

#[test]
fn whatever_is_sent_is_answered_and_never_with_a_5xx() {
    let agent = Agent::start();
    agent.create("web");
    let config = ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(action in select(ACTIONS), parameters in vec(parameter(), 0..8))| {
        let mut form = format!("Action={action}&Version=2012-06-01").into_bytes();
        // One of the API's needs its load balancer, mostly.
        form.extend_from_slice(b"&LoadBalancerName=web");
        for parameter in parameters {
            form.push(b'&');
            form.extend(parameter);
        }
        let answer = agent.post(&form);
        prop_assert!(answer.status < 500, "{}: {answer:?}", String::from_utf8_lossy(&form));
        // Well-formed in any case.
        answer.texts("x");
    });
    proptest!(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() },
    |(form in vec(any::<u8>(), 0..200))| {
        let answer = agent.post(&form);
        prop_assert!(answer.status < 500, "{form:?}: {answer:?}");
    });
    agent.ok("DescribeLoadBalancers", &[]);
}
