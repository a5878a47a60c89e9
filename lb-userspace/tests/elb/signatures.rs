//! With access keys, who does not sign gets nothing.

use crate::world::Agent;

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
