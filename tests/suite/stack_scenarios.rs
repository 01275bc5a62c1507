//! Which system answers at a learned port: another one, and what only looks so.

use eastwatch::model::{Side, Stack};
use eastwatch::scenario::{Scenario, Vm, payload};

use super::scenarios::{Parts, learned_with};

/// A page of web-01, or of what stands in front of it.
fn page(s: &mut Scenario, client: &Vm, server: &Vm, port: u16, by: Stack) {
    s.tcp(client, server, port)
        .answered_by(by)
        .handshake()
        .send(Side::Orig, payload::http_get("web-01", "/"))
        .send(Side::Resp, payload::http_ok("nginx/1.24.0", "hello"))
        .close();
    s.wait_s(2);
}

/// The port that Linux answered for thirty hours is answered by Windows; the pages are the same.
pub fn other_system() -> Parts {
    learned_with(
        |_, _, _| {},
        |s, o| {
            for _ in 0..3 {
                page(s, &o.app, &o.web, 80, Stack::Windows);
            }
        },
    )
}

/// A port that is forwarded to a guest of another system, and one behind which two systems take turns, from the start;
/// then each of them goes on, and Linux has a new kernel.
pub fn systems_as_ever() -> Parts {
    learned_with(
        |s, o, at| {
            s.at(at.plus_s(2_400));
            for by in [Stack::Linux, Stack::Windows, Stack::Linux, Stack::Windows] {
                page(s, &o.app, &o.web, 8_443, by);
            }
            page(s, &o.app, &o.web, 8_080, Stack::Bsd);
        },
        |s, o| {
            for by in [Stack::Windows, Stack::Windows, Stack::Bsd, Stack::Bsd, Stack::Linux] {
                page(s, &o.app, &o.web, 8_443, by);
            }
            for _ in 0..3 {
                page(s, &o.app, &o.web, 8_080, Stack::Bsd);
                page(s, &o.app, &o.web, 80, Stack::Linux);
            }
            // One odd answer is no other system.
            page(s, &o.app, &o.web, 80, Stack::Windows);
        },
    )
}
