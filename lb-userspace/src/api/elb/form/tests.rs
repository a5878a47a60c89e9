use proptest::prelude::*;

use super::*;

fn parse(form: &str) -> Params {
    Params::parse(form.as_bytes()).unwrap()
}

#[test]
fn structures_and_lists_are_read_as_clients_send_them() {
    let mut form = parse(
        "Name=lb-1&Listeners.member.1.Protocol=TCP&Listeners.member.1.Port=80\
         &Zones.member.10=c&Zones.member.2=b&Check.Target=TCP%3A80&None=&Off=false",
    );
    let listeners = form
        .required_list("Listeners", |member| {
            Ok((
                member.required_text("Protocol")?,
                member.required_number("Port", 1..=65535)?,
            ))
        })
        .unwrap();
    assert_eq!(listeners, [("TCP".to_owned(), 80)]);
    assert_eq!(form.required_texts("Zones").unwrap(), ["b", "c"]);
    assert_eq!(
        form.structure("Check", |check| check.required_text("Target")),
        Ok(Some("TCP:80".to_owned()))
    );
    assert_eq!(form.texts("None"), Ok(Some(vec![])));
    assert_eq!(form.texts("Absent"), Ok(None));
    assert_eq!(form.required_truth("Off"), Ok(false));
    assert_eq!(form.text("Name").unwrap().as_deref(), Some("lb-1"));
    form.finish().unwrap();
}

#[test]
fn plus_and_percent_and_utf8_are_decoded() {
    let mut form = parse("a=x+y%2Bz&%C3%BC=%E2%82%AC");
    assert_eq!(form.text("a").unwrap().as_deref(), Some("x y+z"));
    assert_eq!(form.text("ü").unwrap().as_deref(), Some("€"));
}

#[test]
fn what_is_no_form_is_refused() {
    let deep = ["a"; 9].join(".");
    for bad in [
        "a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a=2", "a..b=1", ".=1", &deep,
    ] {
        let refusal = Params::parse(bad.as_bytes()).expect_err(bad);
        assert_eq!(refusal.code, Code::MalformedQueryString, "{bad}");
    }
    for bad in [
        "L.member.0=x",
        "L.member.01=x",
        "L.member.+1=x",
        "L.x=1",
        "L=x",
    ] {
        let refusal = parse(bad).texts("L").expect_err(bad);
        assert_eq!(refusal.code, Code::MalformedQueryString, "{bad}");
    }
    assert!(parse("a.b=1").text("a").is_err());
    assert!(parse("a=1").structure("a", |_| Ok(())).is_err());
}

#[test]
fn what_xml_cannot_say_is_refused_wherever_it_is() {
    for bad in [
        "a=%00",
        "a=x%01y",
        "a=%1b",
        "%08=x",
        "a.%1f=x",
        "a=%ef%bf%be",
        "a=%ef%bf%bf",
    ] {
        let refusal = Params::parse(bad.as_bytes()).expect_err(bad);
        assert_eq!(refusal.code, Code::MalformedQueryString, "{bad}");
    }
    let mut form = parse("a=%09%0a%0d+%7f");
    assert_eq!(form.text("a").unwrap().as_deref(), Some("\t\n\r \u{7f}"));
}

#[test]
fn what_is_too_much_is_refused() {
    let many: Vec<String> = (0..=PARAMETERS).map(|n| format!("p{n}=1")).collect();
    assert!(Params::parse(many.join("&").as_bytes()).is_err());
    assert!(Params::parse(many[1..].join("&").as_bytes()).is_ok());
    let long = format!("a={}", "x".repeat(VALUE_BYTES + 1));
    assert!(Params::parse(long.as_bytes()).is_err());
}

#[test]
fn a_parameter_that_nobody_knows_is_named() {
    let mut form = parse("C.Enabled=true&C.Timeuot=5");
    let refusal = form
        .structure("C", |c| c.required_truth("Enabled"))
        .unwrap_err();
    assert!(refusal.message.contains("'C.Timeuot'"), "{refusal}");
    assert!(parse("X=1").finish().is_err());
    assert!(parse("AWSAccessKeyId=1").finish().is_ok());
}

#[test]
fn numbers_out_of_range_are_refused_in_the_originals_words() {
    let read = |value: &str| parse(&format!("T={value}")).required_number("T", 1_u32..=3600);
    assert_eq!(read("300"), Ok(300));
    for (value, said) in [
        ("0", "value greater than or equal to 1"),
        ("-1", "value greater than or equal to 1"),
        ("3601", "value less than or equal to 3600"),
        (
            "99999999999999999999999",
            "value less than or equal to 3600",
        ),
        (
            "-99999999999999999999999",
            "value greater than or equal to 1",
        ),
        ("%2B5", "be a whole number"),
        ("5s", "be a whole number"),
        ("", "be a whole number"),
        ("-", "be a whole number"),
    ] {
        let refusal = read(value).expect_err(value);
        assert_eq!(refusal.code, Code::ValidationError);
        assert!(refusal.message.contains(said), "{value}: {refusal}");
    }
    let missing = parse("").required_number("T", 1_u32..=3600).unwrap_err();
    assert_eq!(
        missing.message,
        "1 validation error detected: Value 'null' at 'T' failed to satisfy constraint: \
         Member must not be null"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_bring_the_parser_down(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Params::parse(&bytes);
    }

    #[test]
    fn what_is_encoded_is_read_back(pairs in proptest::collection::btree_map("[A-Za-z]{1,8}", "[\t\n\r -\u{d7ff}\u{10000}-\u{10ffff}]{0,40}", 0..8)) {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let form: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={}", encode(v))).collect();
        let mut read = Params::parse(form.join("&").as_bytes()).unwrap();
        for (name, value) in pairs {
            if !NOT_OURS.contains(&name.as_str()) {
                prop_assert_eq!(read.text(&name).unwrap(), Some(value));
            }
        }
    }
}
