//! Aligned columns, and facts line by line, for people.

use anstyle::Style;

use super::ui::{FAINT, STRONG};

#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under a heading; every row has as many cells as the heading.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    align: [Align; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// A heading that begins with `>` is over numbers, which line up right.
    pub(super) fn new(headings: [&str; N]) -> Self {
        let align = headings.map(|heading| {
            if heading.starts_with('>') {
                Align::Right
            } else {
                Align::Left
            }
        });
        let headings =
            headings.map(|heading| Cell::styled(heading.trim_start_matches('>'), STRONG));
        Self {
            align,
            rows: vec![headings],
        }
    }

    pub(super) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut gap = 0;
            for (column, cell) in row.iter().enumerate() {
                let room = widths[column] - cell.width();
                let (before, after) = match self.align[column] {
                    Align::Left => (0, room),
                    Align::Right => (room, 0),
                };
                if cell.text.is_empty() {
                    gap += before + after;
                } else {
                    let Cell { text: word, style } = cell;
                    // No spaces at a line's end: the gap waits for a word.
                    text.push_str(&" ".repeat(gap + before));
                    text.push_str(&format!("{style}{word}{style:#}"));
                    gap = after;
                }
                gap += 2;
            }
            text.push('\n');
        }
        text
    }
}

/// Facts about one thing: a name and a value a line.
pub(super) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<_> = facts.into_iter().collect();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts
        .iter()
        .map(|(name, value)| format!("  {FAINT}{name:width$}{FAINT:#}  {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_at_their_last_word() {
        let mut table = Table::new(["NAME", ">FLOWS", "NOTE"]);
        table.row(["web".into(), "12".into(), "ok".into()]);
        table.row(["a-long-name".into(), "1".into(), "".into()]);
        table.row(["x".into(), "".into(), "last".into()]);
        assert_eq!(
            anstream::adapter::strip_str(&table.render()).to_string(),
            "NAME         FLOWS  NOTE\n\
             web             12  ok\n\
             a-long-name      1\n\
             x                   last\n"
        );
    }
}
