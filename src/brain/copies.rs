//! What `why` says of connections whose copies differed: someone shows a reader other bytes than the receiver, or
//! answers in its stead.
//!
//! At most [`SHOWN_MAX`] lines of a VM; of more the number is told.

use crate::baseline::Port;
use crate::detect::Line;
use crate::inventory::{Contradiction, Inventory};
use crate::model::{Side, VmId};

const SHOWN_MAX: usize = 8;
const LABEL: &str = "copies differ";

/// Of one service, or of all of a VM's and of what it was told as a client.
pub fn lines(inventory: &Inventory, vm: VmId, port: Option<Port>) -> Vec<Line> {
    let told: Vec<_> = match port {
        Some(_) => inventory.contradiction(vm, port).map(|row| line(String::new(), row)).into_iter().collect(),
        None => inventory.contradictions(vm).map(|(port, row)| line(subject(port), row)).collect(),
    };
    let more = told.len().saturating_sub(SHOWN_MAX);
    let more = (more > 0).then(|| Line { label: LABEL, value: format!("and so of {more} more services") });
    told.into_iter().take(SHOWN_MAX).chain(more).collect()
}

fn subject(port: Option<Port>) -> String {
    port.map_or("as a client: ".to_owned(), |(transport, port)| format!("{transport}/{port}: "))
}

fn line(subject: String, row: &Contradiction) -> Line {
    let flows = if row.flows == 1 { "1 flow".to_owned() } else { format!("{} flows", row.flows) };
    let whose = if row.side == Side::Orig { "the client" } else { "the server" };
    let frame = if row.frame > 0 { format!(", frame {}", row.frame) } else { String::new() };
    let value = format!(
        "{subject}copies with different bytes were seen in {flows}, last {}{frame}: bytes of {whose}",
        row.last.short()
    );
    Line { label: LABEL, value }
}
