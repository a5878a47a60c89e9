//! Every door calls the attributes what the table in [`crate::model`] does, and
//! takes what it says.

use serde_json::json;

use super::{assignment::Assignment, patch, shown};
use crate::{
    config::{Document, Purpose},
    model::{Attribute, Attributes, AttributesSpec, LbSpec, Takes, Value},
    wire,
};

/// The values at the edges of what an attribute takes, and those just beyond.
fn edges(attribute: Attribute) -> (Vec<String>, Vec<String>) {
    match attribute.takes() {
        Takes::Flag => (
            vec!["true".to_owned(), "false".to_owned()],
            vec!["1".to_owned(), "\"yes\"".to_owned()],
        ),
        Takes::OneOf(words) => (
            words.iter().map(|word| (*word).to_owned()).collect(),
            vec!["nobody".to_owned()],
        ),
        Takes::Number(range, _) => (
            [range.start(), range.end()].map(u32::to_string).to_vec(),
            [i64::from(*range.start()) - 1, i64::from(*range.end()) + 1]
                .map(|beyond| beyond.to_string())
                .to_vec(),
        ),
    }
}

#[test]
fn the_command_line_takes_what_the_table_says_and_nothing_beyond() {
    for attribute in Attribute::ALL {
        let (within, beyond) = edges(attribute);
        for value in within {
            for key in [attribute.command_line(), attribute.file()] {
                let assignment: Assignment = format!("{key}={value}").parse().unwrap();
                let spec = AttributesSpec::try_from(patch(&[assignment])).unwrap();
                let set = attribute.of(&Attributes::default().with(spec));
                assert_eq!(set.to_string(), value, "{key}");
            }
        }
        for value in beyond {
            let typed = format!("{}={value}", attribute.command_line());
            typed.parse::<Assignment>().expect_err(&typed);
        }
    }
}

fn document(attribute: Attribute, value: &str) -> Result<LbSpec, String> {
    let value = match attribute.takes() {
        Takes::OneOf(_) => format!("\"{value}\""),
        Takes::Flag | Takes::Number(..) => value.to_owned(),
    };
    let text = format!(
        "interfaces = [\"eth0\"]\n[[load_balancer]]\nname = \"web\"\nmode = \"nat\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"192.0.2.10\", port = 80 }}]\n\
         [load_balancer.attributes]\n{} = {value}\n",
        attribute.file()
    );
    let document = Document::parse("ebb.toml", &text, Purpose::Agent, None)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<String>())?;
    Ok(document.declaration.into_values().next().unwrap())
}

#[test]
fn the_file_takes_what_the_table_says_and_nothing_beyond() {
    for attribute in Attribute::ALL {
        let (within, beyond) = edges(attribute);
        for value in within {
            let lb = document(attribute, &value).unwrap();
            let set = attribute.of(&Attributes::default().with(lb.attributes));
            assert_eq!(set.to_string(), value, "{}", attribute.file());
        }
        for value in beyond {
            let refused = document(attribute, &value).expect_err(&value);
            if let Takes::Number(range, _) = attribute.takes() {
                for bound in [range.start(), range.end()] {
                    assert!(refused.contains(&bound.to_string()), "{refused}");
                }
            }
        }
    }
}

#[test]
fn the_admin_api_has_these_attributes_and_no_other() {
    let mut expected = json!({});
    for attribute in Attribute::ALL {
        let value = match attribute.default() {
            Value::Flag(flag) => json!(flag),
            Value::Number(number) => json!(number),
            Value::Word(word) => json!(word),
        };
        let mut at = &mut expected;
        for key in attribute.file().split('.') {
            at = &mut at[key];
        }
        *at = value;
    }
    let attributes = wire::Attributes::from(Attributes::default());
    assert_eq!(serde_json::to_value(attributes).unwrap(), expected);
}

#[test]
fn the_document_has_the_table() {
    let mut table = "\
| command line | file, admin API | Query API | takes | default | what it does |
|---|---|---|---|---|---|
"
    .to_owned();
    for attribute in Attribute::ALL {
        let query_api = attribute
            .query_api()
            .map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
        table.push_str(&format!(
            "| `{}` | `{}` | {query_api} | {} | {} | {} |\n",
            attribute.command_line(),
            attribute.file(),
            attribute.takes(),
            attribute.default(),
            attribute.help()
        ));
    }
    let document = include_str!("../../../../docs/attributes.md");
    assert!(
        document.contains(&table),
        "docs/attributes.md is to have this table:\n{table}"
    );
}

#[test]
fn the_help_has_every_attribute() {
    for attribute in Attribute::ALL {
        assert!(shown::keys().contains(attribute.command_line()));
        assert!(shown::keys().contains(attribute.help()));
    }
}
