//! Figures with their names, and the table of them.

/// The figures of one run, in order; what a program cannot tell is absent.
#[derive(Debug, Clone, Default)]
pub struct Row(Vec<(&'static str, Option<f64>)>);

impl Row {
    pub fn add(&mut self, column: &'static str, value: Option<f64>) {
        self.0.push((column, value));
    }

    pub fn get(&self, column: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| *name == column)?.1
    }
}

/// A table in Markdown; its head is printed with its first line.
#[derive(Debug, Default)]
pub struct Table {
    begun: bool,
}

impl Table {
    /// Prints a line: of each column the median over all runs.
    pub fn print(&mut self, of: &str, program: &str, rows: &[Row]) {
        let Some(first) = rows.first() else { return };
        if !std::mem::replace(&mut self.begun, true) {
            let columns: Vec<&str> = first.0.iter().map(|(name, _)| *name).collect();
            println!("| N, load | program | {} |", columns.join(" | "));
            println!("|---|---|{}", "---|".repeat(columns.len()));
        }
        let cells: Vec<String> = (0..first.0.len()).map(|at| cell(rows, at)).collect();
        println!("| {of} | {program} | {} |", cells.join(" | "));
    }
}

/// The median over all runs and, where they differ, the least and the most.
fn cell(rows: &[Row], at: usize) -> String {
    let values = rows.iter().filter_map(|row| row.0.get(at)?.1);
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let [Some(&least), Some(&most)] = [values.first(), values.last()] else {
        return "–".into();
    };
    let digits = usize::from(most < 10.0) + usize::from(most < 100.0);
    let show = |value: f64| format!("{value:.digits$}");
    let median = show(values[values.len() / 2]);
    if show(least) == show(most) {
        return median;
    }
    format!("{median} ({}–{})", show(least), show(most))
}
