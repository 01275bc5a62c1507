//! The line printer daemon (RFC 1179): a printer job, each step of which the server acknowledges with a zero.
//!
//! Read are the first two commands; the queue is told, the job is not kept.

use super::evidence::{Evidence, Role, weigh};
use super::line::Lines;
use super::{Described, Opening, Probe, Protocol};
use crate::model::{AppInfo, Transport};
use Evidence::{Hint, No, Short};

pub(super) struct Lpd;

const RECEIVE_JOB: u8 = 2;
/// Subcommands of a job: control file and data file (sections 6.2 and 6.3).
const CONTROL_FILE: u8 = 2;
const DATA_FILE: u8 = 3;
const NAME_BYTES_MAX: usize = 128;

impl Protocol for Lpd {
    fn name(&self) -> &'static str {
        "lpd"
    }

    fn runs_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn probe(&self, opening: &Opening<'_>) -> Probe {
        weigh(opening, |bytes| match bytes {
            [RECEIVE_JOB, rest @ ..] => job(rest),
            [0, rest @ ..] => Hint(Role::Server).only_if(rest.len() < 64 && rest.iter().all(|b| *b == 0)),
            _ => No,
        })
    }

    fn describe(&self, opening: &Opening<'_>, info: &mut AppInfo) -> Described {
        let Some(server) = info.server else { return Described::Whole };
        let queue = Lines::new(opening.side(server.other())).next().and_then(|l| l.get(1..));
        info.detail("queue", queue.unwrap_or_default());
        Described::Whole
    }
}

/// The queue's name and the end of the line, then `\x02 count cfA…` or `\x03 count dfA…`.
fn job(rest: &[u8]) -> Evidence {
    let mut lines = Lines::new(rest);
    let name = |text: &[u8]| text.len() <= NAME_BYTES_MAX && text.iter().all(u8::is_ascii_graphic);
    match lines.next() {
        Some(queue) if queue.is_empty() || !name(queue) => return No,
        Some(_) => {}
        None => return Short.only_if(name(rest)),
    }
    let [kind, file @ ..] = lines.rest() else { return Short };
    let prefix = match *kind {
        CONTROL_FILE => b"cf",
        DATA_FILE => b"df",
        _ => return No,
    };
    let digits = file.iter().take_while(|b| b.is_ascii_digit()).count();
    match file.get(digits..) {
        Some([]) => Short.only_if(digits <= 10),
        Some([b' ', file @ ..]) if (1..=10).contains(&digits) => Hint(Role::Client).if_begins(file, prefix),
        _ => No,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::examples::{Example, ask};
    use super::*;
    use crate::model::Side;

    const JOB: &[u8] = b"\x02lp0\n\x0242 cfA001web03\nHweb03\nPjoe\n\0";

    pub(crate) fn examples() -> Vec<Example> {
        vec![Example::tcp("lpd", JOB, b"\0\0\0", Some(Side::Resp))]
    }

    #[test]
    fn the_queue_is_told_and_not_the_user() {
        let info = examples()[0].described(&Lpd);
        assert_eq!(info.get("queue"), Some("lp0"));
        assert!(!format!("{info:?}").contains("joe"));
    }

    #[test]
    fn other_commands_and_a_job_without_its_acknowledgement_are_no_proof() {
        assert_eq!(ask(&Lpd, Transport::Tcp, JOB, b""), Probe::Unsure);
        assert_eq!(ask(&Lpd, Transport::Tcp, JOB, b"\x01"), Probe::NotForUs);
        assert_eq!(ask(&Lpd, Transport::Tcp, JOB, b"\0\0\0\x2c\x01"), Probe::NotForUs);
        assert_eq!(ask(&Lpd, Transport::Tcp, b"\x02lp0\n\x0242 xfA001web03\n", b"\0"), Probe::NotForUs);
        assert_eq!(ask(&Lpd, Transport::Tcp, b"\x02\x01\x02\x03", b""), Probe::NotForUs);
    }
}
