//! What `read` says at its end: what was seen, what is new, what to look at.

use serde_json::Value;

use crate::brain::Brain;
use crate::deliver::incident_row;
use crate::runtime::Intake;

use super::args::Color;
use super::handle::INCIDENT_COLUMNS;
use super::output::table;

pub fn told(brain: &Brain, intake: &Intake, span_s: Option<f64>, color: Color) -> String {
    let totals = brain.totals();
    let discarded: u64 = discards(brain).iter().map(|(_, n)| n).sum();
    let vms = brain.inventory.vms().count();
    let services = brain.inventory.services().count();
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:<12}{text}\n"));
    let span = span_s.map_or(String::new(), |s| format!(" over {}", duration(s)));
    line("packets", format!("{} ({}){span}", grouped(intake.packets), size(intake.bytes)));
    if discarded > 0 {
        let mut worst = discards(brain);
        worst.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
        let named: Vec<String> =
            worst.iter().take(3).map(|(name, n)| format!("{} {}", grouped(*n), last(name))).collect();
        line("discarded", format!("{} ({})", grouped(discarded), named.join(", ")));
    }
    if intake.late > 0 {
        line(
            "late",
            format!("{} packets older than what was read before; analysed at that time", grouped(intake.late)),
        );
    }
    line("VMs", format!("{} ({} new)", grouped(vms as u64), grouped(brain.new_vms() as u64)));
    let announced = match brain.inventory.transfers().count() {
        0 => String::new(),
        1 => ", and 1 announced transfer".to_owned(),
        n => format!(", and {} announced transfers", grouped(n as u64)),
    };
    line("services", format!("{} ({} new){announced}", grouped(services as u64), grouped(brain.new_services() as u64)));
    let outside = brain.inventory.outside();
    if !outside.is_empty() {
        let list: Vec<String> =
            outside.iter().take(3).map(|o| format!("{} ({} flows)", o.ip, grouped(o.flows))).collect();
        line("outside home", format!("{}; --home says what is home", list.join(", ")));
    }
    for tunnel in &totals.one_way_tunnels {
        line("one way", format!("{tunnel}: a mirror's own tunnel? {} decides", tunnel.mend()));
    }
    line(
        "incidents",
        match totals.opened.count {
            0 => "none opened".to_owned(),
            n => format!("{n} opened"),
        },
    );
    let rows: Vec<Value> = totals.opened.shown.iter().map(incident_row).collect();
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&rows, INCIDENT_COLUMNS, color));
        out.push_str("\neastwatch incidents show ID tells more\n");
    }
    out
}

/// Frames and records that were left out, by reason. Bytes passed over are told by the record that was broken.
fn discards(brain: &Brain) -> Vec<(&'static str, u64)> {
    let told = |name: &str| {
        name.starts_with("decode.discard")
            || (name.starts_with("capture.discard") && name != "capture.discard.resync_bytes")
    };
    let counters = brain.totals().counters().iter();
    counters.filter(|(name, _)| told(name)).map(|(name, n)| (*name, *n)).collect()
}

fn last(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).replace('_', " ")
}

/// 1234567 as 1,234,567.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: u64) -> String {
    super::output::bytes(&serde_json::json!({ "n": bytes }), "n")
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
    }
}
