//! Tables in kubectl's manner: no lines, columns three blanks apart.

use comfy_table::{Table, presets};

use super::clean;

/// The lines of a table, each ending in a line end, without trailing blanks.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell).replace(['\n', '\t'], " ")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["default".to_owned(), "a".to_owned()], vec!["ns".to_owned(), "b\u{7}".to_owned()]];
        assert_eq!(render(&["NAMESPACE", "NAME"], &rows), "NAMESPACE   NAME\ndefault     a\nns          b\\u{7}\n");
    }
}
