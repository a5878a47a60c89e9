//! What was sent: `A=1&B.member.1.C=2`, decoded, bounded, and read by name.
//!
//! A form is a tree, its names cut at the dots. Reading takes parameters out of
//! it, each as what it must be; what is left at the end is a name that the
//! action does not have, and refused, for a misspelt parameter is not one to
//! pass over.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::{Bound, RangeBounds},
    str::FromStr,
};

use percent_encoding::percent_decode;

use super::errors::{Code, Refusal, shortened};

/// A thousand instances fit in several times over.
const PARAMETERS: usize = 5000;
/// The longest name that the API has is 90 bytes.
const NAME_BYTES: usize = 200;
/// `Listeners.member.1.Protocol` has four; nothing has more than six.
const LEVELS: usize = 8;
/// Nothing in the API is longer, by far.
const VALUE_BYTES: usize = 4096;

/// What the older signature versions and proxies of clients add; never a
/// parameter of an action.
const NOT_OURS: [&str; 7] = [
    "AWSAccessKeyId",
    "Expires",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
];

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

/// Parameters that are being read: all of a request, or of a structure in it.
#[derive(Debug, Default)]
pub(super) struct Params {
    node: Node,
    /// Where in the request it stands, for messages; ends with a dot, or empty.
    path: String,
}

impl Params {
    /// # Errors
    /// `MalformedQueryString` for what is no form, `ValidationError` for what
    /// is too much of one.
    pub(super) fn parse(form: &[u8]) -> Result<Self, Refusal> {
        let mut node = Node::default();
        let pairs = form.split(|byte| *byte == b'&').filter(|p| !p.is_empty());
        for (nth, pair) in pairs.enumerate() {
            if nth == PARAMETERS {
                return Err(Refusal::validation(format!(
                    "the request has more than {PARAMETERS} parameters"
                )));
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let (name, value) = (decoded(name)?, decoded(value)?);
            if name.len() > NAME_BYTES {
                return Err(malformed(&name, "is too long a name"));
            }
            if value.len() > VALUE_BYTES {
                return Err(Refusal::constraint(
                    shortened(&value),
                    &name,
                    &format!("have length less than or equal to {VALUE_BYTES}"),
                ));
            }
            node.insert(&name, value)?;
        }
        for name in NOT_OURS {
            node.children.remove(name);
        }
        Ok(Self {
            node,
            path: String::new(),
        })
    }

    /// The parameter as it was sent.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.node.children.remove(name) {
            None => Ok(None),
            Some(Node { text, children }) if children.is_empty() => Ok(text),
            Some(_) => Err(malformed(&self.at(name), "has parts, and is plain")),
        }
    }

    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Text whose length, in characters, is in bounds.
    pub(super) fn bounded_text(
        &mut self,
        name: &str,
        length: impl RangeBounds<usize>,
    ) -> Result<String, Refusal> {
        let text = self.required_text(name)?;
        let chars = text.chars().count();
        match broken_bound(chars, &length) {
            None => Ok(text),
            Some((relation, bound)) => Err(Refusal::constraint(
                shortened(&text),
                &self.at(name),
                &format!("have length {relation} {bound}"),
            )),
        }
    }

    /// A whole number within bounds.
    pub(super) fn number<N>(
        &mut self,
        name: &str,
        range: impl RangeBounds<N>,
    ) -> Result<Option<N>, Refusal>
    where
        N: FromStr + Copy + PartialOrd + Display,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        // Beyond 64 bits it is out of any range; only its sign matters then.
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::constraint(
                shortened(&text),
                &self.at(name),
                "be a whole number",
            ));
        }
        let broken = match text.parse() {
            Ok(number) => match broken_bound(number, &range) {
                None => return Ok(Some(number)),
                broken => broken,
            },
            Err(_) if text.starts_with('-') => lower(&range),
            Err(_) => upper(&range),
        };
        let constraint = match broken {
            Some((relation, bound)) => format!("have value {relation} {bound}"),
            None => "be a whole number".to_owned(),
        };
        Err(Refusal::constraint(
            shortened(&text),
            &self.at(name),
            &constraint,
        ))
    }

    pub(super) fn required_number<N>(
        &mut self,
        name: &str,
        range: impl RangeBounds<N>,
    ) -> Result<N, Refusal>
    where
        N: FromStr + Copy + PartialOrd + Display,
    {
        self.number(name, range)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn required_truth(&mut self, name: &str) -> Result<bool, Refusal> {
        let text = self.required_text(name)?;
        match text.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Refusal::constraint(
                shortened(&text),
                &self.at(name),
                "be true or false",
            )),
        }
    }

    /// `Name.member.1`, `Name.member.2`, …; sent as `Name=` it is empty.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        self.members(name, |node, path| match node {
            Node {
                text: Some(text),
                children,
            } if children.is_empty() => Ok(text),
            _ => Err(malformed(path, "has parts, and is plain")),
        })
    }

    pub(super) fn required_texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        self.texts(name)?.ok_or_else(|| self.missing(name))
    }

    /// `Name.member.1.Field` and so on; each member read by `read`.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Params) -> Result<T, Refusal>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        self.members(name, |node, path| structure(node, path, &mut read))
    }

    pub(super) fn required_list<T>(
        &mut self,
        name: &str,
        read: impl FnMut(&mut Params) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        self.list(name, read)?.ok_or_else(|| self.missing(name))
    }

    /// `Name.Field`, …, read by `read`.
    pub(super) fn structure<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Params) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        match self.node.children.remove(name) {
            None => Ok(None),
            Some(node) => structure(node, &self.at(name), read).map(Some),
        }
    }

    pub(super) fn required_structure<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Params) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.structure(name, read)?
            .ok_or_else(|| self.missing(name))
    }

    /// Every parameter that nobody asked for is one that the action has not.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.node.children.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::validation(format!(
                "there is no parameter '{}' here",
                shortened(&self.at(name))
            ))),
        }
    }

    /// Where in the request the parameter stands.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn missing(&self, name: &str) -> Refusal {
        Refusal::constraint("null", &self.at(name), "not be null")
    }

    fn members<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(Node, &str) -> Result<T, Refusal>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let Some(mut list) = self.node.children.remove(name) else {
            return Ok(None);
        };
        let path = self.at(name);
        let members = list.children.remove("member").unwrap_or_default();
        let only_members = list.children.is_empty() && members.text.is_none();
        if !only_members || list.text.is_some_and(|text| !text.is_empty()) {
            return Err(malformed(
                &path,
                "is a list: its items are .member.1 and on",
            ));
        }
        let mut numbered = BTreeMap::new();
        for (number, node) in members.children {
            let number: u32 = Some(number.as_str())
                .filter(|text| !text.starts_with(['0', '+']))
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| malformed(&path, "is a list: its items are .member.1 and on"))?;
            numbered.insert(number, node);
        }
        numbered
            .into_iter()
            .map(|(number, node)| read(node, &format!("{path}.member.{number}")))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

fn structure<T>(
    node: Node,
    path: &str,
    read: impl FnOnce(&mut Params) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    // An empty structure is sent like an empty list.
    if node.text.as_ref().is_some_and(|text| !text.is_empty()) {
        return Err(malformed(path, "is plain, and has parts"));
    }
    let mut params = Params {
        node,
        path: format!("{path}."),
    };
    let value = read(&mut params)?;
    params.finish()?;
    Ok(value)
}

impl Node {
    fn insert(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        let mut node = self;
        for (level, part) in name.split('.').enumerate() {
            if part.is_empty() {
                return Err(malformed(name, "is no name"));
            }
            if level == LEVELS {
                return Err(malformed(name, "has too many parts"));
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        match node.text.replace(value) {
            None => Ok(()),
            Some(_) => Err(malformed(name, "is there twice")),
        }
    }
}

fn malformed(name: &str, what: &str) -> Refusal {
    let name = shortened(name);
    Refusal::new(
        Code::MalformedQueryString,
        format!("the parameter '{name}' {what}"),
    )
}

fn decoded(bytes: &[u8]) -> Result<String, Refusal> {
    let refused = |what: &str| {
        let sent = shortened(&String::from_utf8_lossy(bytes));
        Refusal::new(Code::MalformedQueryString, format!("'{sent}' {what}"))
    };
    let mut escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let whole = |(at, _)| {
        let hex = bytes.get(at + 1..at + 3);
        hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(whole) {
        return Err(refused("has a % without two hexadecimal digits"));
    }
    let spaced: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    percent_decode(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| refused("is not UTF-8"))
}

/// The bound that `value` breaks, in words, if it breaks one.
fn broken_bound<N: PartialOrd + Copy>(
    value: N,
    range: &impl RangeBounds<N>,
) -> Option<(&'static str, N)> {
    lower(range)
        .filter(|(_, least)| value < *least)
        .or_else(|| upper(range).filter(|(_, most)| value > *most))
}

fn lower<N: Copy>(range: &impl RangeBounds<N>) -> Option<(&'static str, N)> {
    match range.start_bound() {
        Bound::Included(least) => Some(("greater than or equal to", *least)),
        Bound::Excluded(_) | Bound::Unbounded => None,
    }
}

fn upper<N: Copy>(range: &impl RangeBounds<N>) -> Option<(&'static str, N)> {
    match range.end_bound() {
        Bound::Included(most) => Some(("less than or equal to", *most)),
        Bound::Excluded(_) | Bound::Unbounded => None,
    }
}

#[cfg(test)]
mod tests {
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
        fn what_is_encoded_is_read_back(pairs in proptest::collection::btree_map("[A-Za-z]{1,8}", any::<String>(), 0..8)) {
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
}
