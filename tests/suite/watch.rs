//! `watch` on real traffic: VMs, services and incidents from a mirror port, signals, queries while it runs and after.
//! Each lab has three namespaces and at most three processes; the whole suite stays below a minute.

mod bridge;
mod clock;
mod disk;
mod edge;
mod health;
mod interfaces;
mod lab;
mod listeners;
mod mirror;

use lab::{Lab, events, read, until};

const LEARN: &str = "[baseline]\nmode = \"learn\"\n";
const ENFORCE: &str = "[baseline]\nmode = \"enforce\"\n";

#[test]
fn a_probe_learns_is_reloaded_and_tells_a_new_service_within_seconds() {
    let Some(lab) = Lab::new("watch") else { return };
    let (mut a, mut b) = (lab.agent("a"), lab.agent("b"));
    let sent = [lab.sent("span0"), lab.sent("span1")];
    let config = lab.write("config.toml", LEARN);
    let eve = lab.path("eve.json");
    let args = ["-i", "span0", "-i", "span1", "--config", &config, "--eve", &eve];
    let mut probe = lab.watch(&args);

    for command in ["http 8000", "udp 9999", "tcp 7000"] {
        b.does(command);
    }
    for command in ["get 10.77.0.2 8000", "ask 10.77.0.2 9999", "talk 10.77.1.2 7000"] {
        a.does(command);
    }
    assert!(until(8, || [8000, 9999, 7000].iter().all(|port| lab.has_service(*port))), "{:?}", lab.rows(&["services"]));
    let services = lab.rows(&["services"]);
    let of = |port: u16| services.iter().find(|row| row["port"] == port).unwrap();
    assert_eq!((of(8000)["app_proto"].as_str(), of(8000)["ip"].as_str()), (Some("http"), Some("10.77.0.2")));
    assert_eq!((of(9999)["proto"].as_str(), of(7000)["ip"].as_str()), (Some("udp"), Some("10.77.1.2")));
    assert_eq!(lab.rows(&["vms"]).len(), 4, "two VMs with two interfaces each, on separate networks");
    assert_eq!(lab.rows(&["incidents"]).len(), 0, "learning opens nothing");

    // A bad configuration changes nothing and says why; a rotated EVE file begins anew all the same.
    std::fs::rename(&eve, lab.folder.file("eve.1")).unwrap();
    lab.write("config.toml", "[baseline]\nmodus = \"enforce\"\n");
    probe.signal("HUP");
    assert!(until(5, || probe.log().contains("the configuration in force stays")), "{}", probe.log());
    assert!(probe.log().contains("modus"), "{}", probe.log());
    assert!(until(5, || lab.folder.file("eve.json").exists()), "EVE was not reopened");
    lab.write("config.toml", ENFORCE);
    probe.signal("HUP");
    assert!(until(5, || probe.log().contains("configuration read anew")), "{}", probe.log());

    // The quiet twin first: what was learned opens nothing.
    a.does("get 10.77.0.2 8000");
    b.does("tcp 4444");
    a.does("talk 10.77.0.2 4444");
    assert!(until(5, || !lab.rows(&["incidents"]).is_empty()), "no incident within five seconds");
    let incidents = lab.rows(&["incidents"]);
    let id = incidents[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((incidents.len(), incidents[0]["service"]["port"].as_u64()), (1, Some(4444)), "{incidents:?}");
    assert_eq!(incidents[0]["detector"], "new-service");

    let acked = lab.ask(&["incidents", "ack", &id, "-m", "looking", "--as", "ana"]);
    assert!(acked.stdout.contains("acknowledged"), "{acked:?}");
    let again = lab.ask(&["incidents", "ack", &id]);
    assert!(again.status == 1 && again.stderr.contains("ana"), "{again:?}");
    let approved = ["sanction", "add", "10.77.0.2", "tcp/4444", "--owner", "ana", "--reason", "a drill"];
    let said = lab.ask(&approved);
    assert!(said.status == 0 && said.stdout.contains("1 incident resolved"), "{said:?}");
    assert_eq!(lab.rows(&["services", "--only", "sanctioned"]).len(), 1);

    // Who comes second hears who is first.
    for second in [lab.run(&["watch", "-i", "span0", "--state", &lab.path("state")]), lab.ask(&["read", "/dev/null"])] {
        let holder = format!("process {}", probe.child.id());
        assert!(second.status == 1 && second.stderr.contains(&holder), "{second:?}");
    }
    let doctor = lab.ask(&["doctor", "--format", "json"]);
    for words in ["source span0", "source span1", "dropped by the kernel"] {
        assert!(doctor.stdout.contains(words), "`{words}` is missing: {doctor:?}");
    }
    // `stats` with what kernel and interface dropped, every ten seconds.
    let stats = || {
        let text = read(&lab.folder.file("eve.1")) + &read(&lab.folder.file("eve.json"));
        events(&text).into_iter().filter(|event| event["event_type"] == "stats").collect::<Vec<_>>()
    };
    assert!(until(25, || stats().len() >= 3), "{:?}", stats());
    let seconds: Vec<i64> =
        stats().iter().map(|event| event["timestamp"].as_str().unwrap()[17..19].parse::<i64>().unwrap()).collect();
    let steps: Vec<i64> = seconds.windows(2).map(|pair| (pair[1] - pair[0]).rem_euclid(60)).collect();
    assert!(steps.iter().skip(1).all(|step| (10..=12).contains(step)), "{seconds:?}");
    let last = stats().pop().unwrap();
    let sources = last["eastwatch"]["sources"].as_array().unwrap();
    assert_eq!(sources.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(), ["span0", "span1"]);
    assert!(
        sources.iter().all(|s| s["packets"].as_u64() > Some(5) && s["kernel_drops"] == 0 && s["interface_drops"] == 0)
    );

    let before =
        [lab.rows(&["vms"]), lab.rows(&["services"]), lab.rows(&["incidents"]), lab.rows(&["sanction", "list"])];
    assert_eq!(probe.ends_by("TERM").code(), Some(0), "{}", probe.log());
    assert!(!lab.state().join("control.sock").exists(), "the socket stays behind");
    let after =
        [lab.rows(&["vms"]), lab.rows(&["services"]), lab.rows(&["incidents"]), lab.rows(&["sanction", "list"])];
    let ids = |rows: &[Vec<serde_json::Value>; 4]| {
        rows.each_ref().map(|rows| {
            rows.iter().map(|r| (r["vm"].clone(), r["port"].clone(), r["state"].clone())).collect::<Vec<_>>()
        })
    };
    assert_eq!(ids(&before), ids(&after), "the store tells another story than the probe did");

    // A restart goes on with what was learned and approved: only what is new opens an incident.
    let mut probe = lab.watch(&args);
    a.does("get 10.77.0.2 8000");
    a.does("talk 10.77.0.2 4444");
    b.does("tcp 5555");
    a.does("talk 10.77.0.2 5555");
    assert!(until(5, || lab.rows(&["incidents", "--only", "open"]).len() == 1), "{:?}", lab.rows(&["incidents"]));
    assert_eq!(lab.rows(&["incidents", "--only", "open"])[0]["service"]["port"], 5555);
    assert_eq!(probe.ends_by("INT").code(), Some(0), "{}", probe.log());
    assert_eq!([lab.sent("span0"), lab.sent("span1")], sent, "the probe sent on the mirror");
}
