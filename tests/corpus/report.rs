//! The measure as aligned tables, the same on every run.

use std::fmt::Write;

use super::services::{Difference, Services};
use super::{Measured, Tallies, Without, apps, ndpi};

impl Measured {
    pub fn print(&self) -> String {
        let mut out = String::new();
        let text = &mut out;
        let _ =
            writeln!(text, "{} captures of the corpus, {} recorded from real servers", self.captures, self.recorded);
        if self.recorded == 0 {
            let _ = writeln!(
                text,
                "As root, `make recorded` records them: the protocols the corpus lacks are judged there"
            );
        }
        let _ = writeln!(text);
        self.services_text(text);
        self.apps_text(text);
        self.ndpi_text(text);
        out
    }

    fn services_text(&self, text: &mut String) {
        let services = &self.services;
        let _ = writeln!(text, "Services: (server address, transport, port)\n");
        let mut rows = vec![row(&["averaged over", "count", "leaving out", "recall", "precision"])];
        for (name, tallies) in [("captures", &services.captures), ("protocols", &services.protocols)] {
            for (without, left_out) in
                [(Without::Nothing, "nothing"), (Without::TruthErrors, "errors of the truth (judged)")]
            {
                let (recall, precision) = Services::means(tallies, without);
                let mut cells = row(&[name, &tallies.len().to_string(), left_out]);
                cells.extend([figure(recall), figure(precision)]);
                rows.push(cells);
            }
        }
        align(text, &rows);
        let _ = writeln!(text);
        by_protocol(text, &services.protocols);
        let _ = writeln!(
            text,
            "Not counted: {} found in the middle of a TCP connection, {} proved by what they sent to a group, {} that the truth has on \
             weaker evidence\n",
            services.midstream, services.to_groups, services.weaker
        );
        differences(text, &services.differences);
    }

    fn apps_text(&self, text: &mut String) {
        let _ = writeln!(text, "Application protocols\n");
        let mut rows = vec![row(&[
            "protocol",
            "rows",
            "recorded",
            "right",
            "wrong",
            "null",
            "explained",
            "share",
            "captures",
            "by",
            "judged",
        ])];
        for (name, app) in &self.apps.protocols {
            let judged = match (app.judged(name), apps::LISTED.contains(&name.as_str())) {
                (true, _) => "yes",
                (false, true) => "too few rows",
                (false, false) => "not listed",
            };
            let mut cells = row(&[name]);
            let counts = [app.rows, app.recorded, app.right, app.wrong, app.null, app.explained];
            cells.extend(counts.map(|c| c.to_string()));
            cells.push(figure(app.share(app.right)));
            cells.extend([app.captures.len(), app.implementations.len()].map(|c| c.to_string()));
            cells.push(judged.to_owned());
            rows.push(cells);
        }
        align(text, &rows);
        let absent: Vec<&str> =
            apps::LISTED.iter().copied().filter(|name| !self.apps.protocols.contains_key(*name)).collect();
        if !absent.is_empty() {
            let _ = writeln!(text, "No capture stands behind: {}", absent.join(", "));
        }
        let _ = writeln!(text);
        differences(text, &self.apps.differences);
    }

    fn ndpi_text(&self, text: &mut String) {
        let ndpi = &self.ndpi;
        let (certain, agreed, judged) = ndpi.total();
        let _ = writeln!(text, "Flows against nDPI: {} captures, where nDPI is certain\n", ndpi.captures);
        let mut rows = vec![row(&[
            "nDPI",
            "ours",
            "certain",
            "agreed",
            "nDPI wrong",
            "naming",
            "ours",
            "unexplained",
            "agreement",
        ])];
        for (name, a) in &ndpi.protocols {
            let mut cells = row(&[name, ndpi::ours(name)]);
            let [wrong, naming, ours] = a.explained;
            cells.extend([a.certain, a.agreed, wrong, naming, ours, a.unexplained()].map(|c| c.to_string()));
            cells.push(figure((a.certain > 0).then(|| a.agreed as f64 / a.certain as f64)));
            rows.push(cells);
        }
        align(text, &rows);
        let share = |of: usize| figure((of > 0).then(|| agreed as f64 / of as f64));
        let _ = writeln!(text, "Agreed on {agreed} of {certain} flows: {}", share(certain));
        let _ = writeln!(text, "Without those that are explained, of {judged}: {}", share(judged));
        let (guessed, named) = ndpi.guessed;
        let _ = writeln!(
            text,
            "Not compared: {guessed} flows that nDPI guessed by port, of which {named} are named here\n"
        );
        for d in &ndpi.differences {
            let what = format!("{} {}: {} in {} flows", d.path, d.protocol, d.told, d.ends.len());
            match &d.explained {
                Some((whose, why)) => {
                    let _ = writeln!(text, "{whose}: {what}: {why}");
                }
                None => {
                    let _ = writeln!(text, "unexplained: {what}");
                    for (transport, one, other) in &d.ends {
                        let _ = writeln!(text, "    {transport} {one} {other}");
                    }
                }
            }
        }
    }
}

fn by_protocol(text: &mut String, tallies: &Tallies) {
    let mut rows = vec![row(&["protocol", "right", "missing", "extra", "unexplained", "recall", "precision"])];
    for (name, tally) in tallies {
        let mut cells = row(&[name]);
        let (all, open) = (Without::Nothing, Without::Explained);
        let unexplained = tally.missing.counted(open) + tally.extra.counted(open);
        cells.extend(
            [tally.right, tally.missing.counted(all), tally.extra.counted(all), unexplained].map(|c| c.to_string()),
        );
        cells.extend([figure(tally.recall(all)), figure(tally.precision(all))]);
        rows.push(cells);
    }
    align(text, &rows);
    let _ = writeln!(text);
}

/// Those not explained first; equal explanations of one capture on one line.
fn differences(text: &mut String, differences: &[Difference]) {
    let mut rows = vec![row(&["difference", "capture", "service", "note"])];
    let mut explained: Vec<(String, usize)> = Vec::new();
    for difference in differences {
        let (ip, proto, port) = &difference.key;
        match &difference.explained {
            None => rows.push(vec![
                difference.what.to_owned(),
                difference.path.clone(),
                format!("{ip} {proto}/{port}"),
                difference.note.clone(),
            ]),
            Some(why) => {
                let whose = if why.of_truth { "truth" } else { "ours" };
                let line =
                    format!("{whose} {}: {} {ip} {proto}/{port}: {}", difference.what, difference.path, why.text);
                match explained.last_mut().filter(|(last, _)| *last == line) {
                    Some((_, count)) => *count += 1,
                    None => explained.push((line, 1)),
                }
            }
        }
    }
    if rows.len() > 1 {
        align(text, &rows);
    }
    for (line, count) in explained {
        let _ = writeln!(text, "{line}{}", if count > 1 { format!(" ({count} rows)") } else { String::new() });
    }
    let _ = writeln!(text);
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn figure(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.4}"))
}

fn align(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().filter_map(|r| r.get(c)).map(String::len).max().unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}
