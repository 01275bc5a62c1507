//! A small folder's worth of fingerprints, made here, and what becomes of services that fit them.

use super::*;

const SERVERS: &str = r#"<fingerprints matches="http_header.server">
<fingerprint pattern="^Gadget$"><param pos="0" name="service.product" value="Gadget"/></fingerprint>
<fingerprint pattern="^Gadget/([\d.]+) \(([^)]+)\)$">
 <param pos="0" name="service.product" value="Gadget HTTP"/><param pos="1" name="service.version"/>
 <param pos="2" name="os.product"/><param pos="0" name="service.vendor" value="Gadgeteers"/>
 <param pos="0" name="service.cpe23" value="cpe:/a:gadgeteers:gadget:{service.version}"/>
</fingerprint>
<fingerprint pattern="(unclosed"/>
<fingerprint pattern="^(?!Widget/9)Widget/(\d+)"><param pos="0" name="service.product" value="Widget"/>
 <param pos="1" name="service.version"/></fingerprint>
</fingerprints>"#;

fn recog() -> Recog {
    let mut recog = Recog::default();
    recog.add(Path::new("servers.xml"), SERVERS);
    recog
}

fn served(product: Option<&str>, server: &str) -> AppInfo {
    let mut app = AppInfo::new("http", None);
    if let Some(product) = product {
        app.product(product, None);
    }
    app.detail("server", server);
    app
}

#[test]
fn what_our_parser_left_open_is_filled_in_and_its_source_named() {
    let mut app = served(None, "Gadget/1.2 (Linux)");
    recog().fill(&mut app, Timestamp::ZERO);
    assert_eq!((app.product.as_deref(), app.version.as_deref()), (Some("Gadget HTTP"), Some("1.2")));
    let told = ["product_by", "vendor", "os", "cpe"].map(|name| app.get(name).unwrap_or_default());
    assert_eq!(told, ["servers.xml", "Gadgeteers", "Linux", "cpe:/a:gadgeteers:gadget:1.2"]);
}

#[test]
fn our_own_product_stays_and_takes_a_version_that_is_its() {
    let mut app = served(Some("gadget"), "Gadget/1.2 (Linux)");
    recog().fill(&mut app, Timestamp::ZERO);
    assert_eq!((app.product.as_deref(), app.version.as_deref()), (Some("gadget"), Some("1.2")));
    assert_eq!((app.get("product_by"), app.get("version_by")), (None, Some("servers.xml")));
    let mut other = served(Some("Elastic"), "Gadget/1.2 (Linux)");
    recog().fill(&mut other, Timestamp::ZERO);
    assert_eq!((other.product.as_deref(), &other.version, other.get("cpe")), (Some("Elastic"), &None, None));
}

#[test]
fn what_fits_nothing_stays_as_it_was() {
    for server in ["gadget", "Widget/9", "Gadget/1.2"] {
        let mut app = served(None, server);
        let before = app.clone();
        recog().fill(&mut app, Timestamp::ZERO);
        assert_eq!(app, before);
    }
    let mut ssh = AppInfo::new("ssh", None);
    ssh.detail("server", "Gadget");
    recog().fill(&mut ssh, Timestamp::ZERO);
    assert_eq!(ssh.product, None);
}

#[test]
fn a_fingerprint_that_cannot_be_read_is_set_aside_with_its_line_and_the_rest_serve() {
    let recog = recog();
    let faults: Vec<String> = recog.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("servers.xml:8: unclosed group"), "{faults:?}");
    assert_eq!(recog.told(), "3 fingerprints of 1 files, 1 set aside");
    let mut app = served(None, "Widget/3");
    let mut recog = recog;
    recog.fill(&mut app, Timestamp::ZERO);
    assert_eq!(app.product.as_deref(), Some("Widget"));
}

#[test]
fn a_text_is_read_once_and_a_flood_of_texts_is_bounded() {
    let mut recog = recog();
    for _ in 0..1000 {
        recog.fill(&mut served(None, "Gadget"), Timestamp::ZERO);
    }
    assert_eq!((recog.counters.read, recog.counters.unread), (1, 0));
    for i in 0..2 * READINGS_PER_S {
        recog.fill(&mut served(None, &format!("Gadget/{i} (Linux)")), Timestamp::ZERO);
    }
    assert_eq!(recog.counters.read, u64::from(READINGS_PER_S));
    assert_eq!(recog.counters.unread, u64::from(READINGS_PER_S) + 1);
    for second in 1..20 {
        for i in 0..READINGS_PER_S {
            let text = format!("Gadget/{second}.{i} (Linux)");
            recog.fill(&mut served(None, &text), Timestamp::from_parts(second, 0));
        }
    }
    assert!(recog.counters.forgotten >= 1);
}

#[test]
fn two_hundred_patterns_in_sets_keep_their_order() {
    let print = |i: usize| {
        let pattern = if i % 50 == 7 { format!("^(?!z)a{i}b?$") } else { format!("^a{i}b?$") };
        format!(
            "<fingerprint pattern=\"{pattern}\"><param pos=\"0\" name=\"service.product\" value=\"P{i}\"/></fingerprint>"
        )
    };
    let many: String = (0..200).map(print).collect();
    let mut recog = Recog::default();
    let text =
        format!("<fingerprints matches=\"http_header.server\">{many}<fingerprint pattern=\"a\"/></fingerprints>");
    recog.add(Path::new("many.xml"), &text);
    for i in [0, 7, 63, 64, 107, 199] {
        let mut app = served(None, &format!("a{i}"));
        recog.fill(&mut app, Timestamp::ZERO);
        assert_eq!(app.product, Some(format!("P{i}")));
    }
}
