//! Writing XML: elements and text, nothing else. Whatever text is put in, what
//! comes out is well-formed.

use std::fmt::{self, Display, Write as _};

/// The elements written so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Xml(String);

impl Xml {
    /// An element with text in it.
    pub(super) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.open(name);
        // Writing to a string does not fail, and a `Display` that does has
        // written what it could.
        let _ = write!(Escaped(&mut self.0), "{value}");
        self.close(name)
    }

    /// An element with elements in it.
    pub(super) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        write(self);
        self.close(name)
    }

    /// An element with what was written elsewhere in it.
    pub(super) fn put(&mut self, name: &str, inner: &Self) -> &mut Self {
        self.within(name, |xml| xml.0.push_str(&inner.0))
    }

    /// A list of structures.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.within("member", |xml| write(xml, item));
            }
        })
    }

    /// A list of plain values.
    pub(super) fn texts(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = impl Display>,
    ) -> &mut Self {
        self.within(name, |xml| {
            for item in items {
                xml.text("member", item);
            }
        })
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) -> &mut Self {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }

    /// A document: these elements in one that has the API's namespace.
    pub(super) fn document(&self, root: &str) -> String {
        const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/";
        format!("<{root} xmlns=\"{NAMESPACE}\">{}</{root}>", self.0)
    }
}

/// Whether XML 1.0 has the character: its production `Char`.
pub(super) fn can_be_said(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Passes text on with what XML has no room for replaced.
struct Escaped<'x>(&'x mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                // A reader would make a line feed of it.
                '\r' => self.0.push_str("&#13;"),
                c if can_be_said(c) => self.0.push(c),
                _ => self.0.push(char::REPLACEMENT_CHARACTER),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_and_lists_are_written_as_clients_read_them() {
        let mut xml = Xml::default();
        xml.text("Name", "a<b>&c")
            .texts("Zones", ["x", "y"])
            .list("Instances", [1, 2], |xml, id| {
                xml.text("InstanceId", id);
            })
            .texts("None", [0; 0]);
        assert_eq!(
            xml.document("R"),
            "<R xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2012-06-01/\">\
             <Name>a&lt;b&gt;&amp;c</Name>\
             <Zones><member>x</member><member>y</member></Zones>\
             <Instances><member><InstanceId>1</InstanceId></member>\
             <member><InstanceId>2</InstanceId></member></Instances>\
             <None></None></R>"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_comes_out_as_it_went_in_or_replaced(text in any::<String>()) {
            let mut xml = Xml::default();
            xml.text("T", &text);
            let written = xml.document("R");
            let read = roxmltree::Document::parse(&written).unwrap();
            let found = read.root_element().first_element_child().unwrap();
            let sayable = |c: char| c >= ' ' && !"\u{fffe}\u{ffff}".contains(c) || "\t\n\r".contains(c);
            let expected: String = text
                .chars()
                .map(|c| if sayable(c) { c } else { '\u{fffd}' })
                .collect();
            prop_assert_eq!(found.text().unwrap_or(""), expected);
        }
    }
}
