//! With access keys, who does not sign gets nothing.

use std::io::Write as _;

use crate::world::{Agent, Answer};

const KEYED: &str = "listen = \"127.0.0.1:0\"\naccess_keys = { AKIDEXAMPLE = \"secret\" }\n";
const FORM: &[u8] = b"Action=DescribeLoadBalancers&Version=2012-06-01";

#[test]
fn without_a_signature_there_is_no_answer_but_no() {
    let agent = Agent::with(KEYED);
    let refusal = agent.post(FORM);
    assert_eq!(refusal.status, 403);
    assert_eq!(refusal.text("Error/Code"), "MissingAuthenticationToken");
    // Not even about what is wrong with the request.
    let refusal = agent.post(b"%");
    assert_eq!(refusal.text("Error/Code"), "MissingAuthenticationToken");
}

#[test]
fn a_signature_by_nobody_known_is_refused() {
    let agent = Agent::with(KEYED);
    let signed = |key: &str, date: &str| {
        let headers = format!(
            "X-Amz-Date: {date}T120000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential={key}/20261122/us-east-1/elasticloadbalancing/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}\r\n",
            "0".repeat(64)
        );
        let answer = agent.send("POST", "/", &headers, FORM);
        (answer.status, answer.text("Error/Code"))
    };
    let code = |status, code: &str| (status, code.to_owned());
    assert_eq!(
        signed("AKIDNOBODY", "20261122"),
        code(403, "InvalidClientTokenId")
    );
    assert_eq!(
        signed("AKIDEXAMPLE", "20261122"),
        code(403, "SignatureDoesNotMatch")
    );
    assert_eq!(
        signed("AKIDEXAMPLE", "20261123"),
        code(403, "SignatureDoesNotMatch")
    );
    let answer = agent.send("POST", "/", "Authorization: Basic eDp5\r\n", FORM);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text("Error/Code"), "IncompleteSignature");
}

#[test]
fn a_request_signed_for_another_host_is_refused() {
    let named = format!("{KEYED}names = [\"elb.example.com\"]\n");
    let agent = Agent::with(&named);
    let port = agent.address.port();
    let asked = |host: &str| {
        let mut stream = agent.connect();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
             X-Amz-Date: 20261122T120000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20261122/us-east-1/elasticloadbalancing/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}\r\n\r\n",
            FORM.len(),
            "0".repeat(64)
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(FORM).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        assert_eq!(answer.text("Error/Code"), "SignatureDoesNotMatch");
        answer.text("Error/Message")
    };
    for other in [
        "elasticloadbalancing.us-east-1.amazonaws.com",
        "192.0.2.1:8089",
        "elb.example.com.evil.example",
        "elb.example.com\r\nHost: 127.0.0.1",
    ] {
        let message = asked(other);
        assert!(
            message.contains("not a name of this endpoint"),
            "{other}: {message}"
        );
    }
    // Only the signature is wrong with these.
    for ours in [
        &format!("127.0.0.1:{port}"),
        "localhost:9000",
        "elb.example.com:443",
    ] {
        let message = asked(ours);
        assert!(
            message.contains("check the secret access key"),
            "{ours}: {message}"
        );
    }
}

#[test]
fn without_keys_a_web_page_is_refused() {
    let agent = Agent::start();
    for headers in [
        "Origin: https://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        let refusal = agent.send("POST", "/", headers, FORM);
        assert_eq!(refusal.status, 403);
        assert_eq!(refusal.text("Error/Code"), "AccessDenied");
    }
    // Any signature or none will do otherwise.
    let answer = agent.send("POST", "/", "Authorization: whatever\r\n", FORM);
    assert_eq!(answer.status, 200);
}
