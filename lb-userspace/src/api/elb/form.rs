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

use super::{
    errors::{Code, Refusal, shortened},
    xml::can_be_said,
};

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

    /// What is left, each with its whole name.
    pub(super) fn flat(self) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        let mut nodes = vec![(self.path, self.node)];
        while let Some((path, node)) = nodes.pop() {
            parameters.extend(node.text.map(|text| (path.clone(), text)));
            for (name, node) in node.children {
                let dot = if path.is_empty() || path.ends_with('.') {
                    ""
                } else {
                    "."
                };
                nodes.push((format!("{path}{dot}{name}"), node));
            }
        }
        parameters.sort();
        parameters
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
    let text = percent_decode(&spaced)
        .decode_utf8()
        .map_err(|_| refused("is not UTF-8"))?;
    // What is remembered is told again, and no answer could say it.
    if !text.chars().all(can_be_said) {
        return Err(refused("has a character that XML does not have"));
    }
    Ok(text.into_owned())
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
mod tests;
