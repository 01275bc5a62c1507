//! The command list of docs/reference.md, `--help` and the man pages say the same.

use std::collections::{BTreeMap, BTreeSet};

use eastwatch::model::APP_NAMES;

use super::harness::{Folder, eastwatch};

#[test]
fn the_reference_lists_exactly_the_commands_there_are() {
    let documented = documented();
    let offered = offered("eastwatch", &[]);
    assert!(documented.len() > 20, "the table was not found: {documented:?}");
    assert_eq!(documented, offered);
}

#[test]
fn every_command_has_a_man_page_and_no_page_lacks_its_command() {
    let folder = Folder::new("man");
    let ran = eastwatch(["man".as_ref(), folder.path().as_os_str()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let pages: BTreeSet<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().trim_end_matches(".1").replace('-', " "))
        .collect();
    for command in documented() {
        assert!(pages.contains(&command), "no page for `{command}`: {pages:?}");
    }
    let groups = ["eastwatch", "eastwatch inventory", "eastwatch baseline", "eastwatch sanction", "eastwatch config"];
    for page in pages {
        assert!(documented().contains(&page) || groups.contains(&page.as_str()), "a page too many: {page}");
    }
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = eastwatch(["completions", shell]);
        assert_eq!(ran.status, 0, "{shell}: {}", ran.stderr);
        assert!(ran.stdout.contains("incidents"), "{shell} does not know the commands");
    }
}

#[test]
fn the_table_of_protocols_has_every_name_its_synonyms_and_what_was_not_measured() {
    let text = include_str!("../../docs/protocols.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
        let (name, rest) = row.split_once('`').unwrap();
        let also: BTreeSet<&str> = rest.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        (name, (also, !rest.contains("unmeasured")))
    });
    let documented: BTreeMap<&str, (BTreeSet<&str>, bool)> = rows.collect();
    // Of `ftp-data` the text speaks: it has no recogniser.
    let known = APP_NAMES.iter().filter(|known| known.name != "ftp-data");
    let known = known.map(|k| (k.name, (k.aliases.iter().copied().collect(), k.measured))).collect();
    assert_eq!(documented, known);
}

#[test]
fn an_application_may_be_named_by_a_synonym_in_the_configuration_and_by_no_other_word() {
    let folder = Folder::new("synonyms");
    let show = |list: &str| {
        let config = format!("[detect.new-service]\nday0 = [{list}]\n");
        std::fs::write(folder.file("eastwatch.toml"), config).unwrap();
        eastwatch(["config", "show", "--config", &folder.file("eastwatch.toml").display().to_string()])
    };
    let shown = show("\"telnet\", \"VNC\", \"postgresql\"");
    assert_eq!(shown.status, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains(r#"["telnet", "rfb", "pgsql"]"#), "{}", shown.stdout);
    let wrong = show("\"telnet\", \"telnte\"");
    assert_ne!(wrong.status, 0);
    assert!(wrong.stderr.contains("unknown application `telnte`: did you mean `telnet`?"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("eastwatch.toml:2:"), "{}", wrong.stderr);
}

#[test]
fn the_example_of_mirrors_is_a_configuration() {
    let folder = Folder::new("mirrors");
    let text = include_str!("../../docs/mirrors.md");
    let example: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(example.iter().filter(|line| **line == "[[mirror]]").count(), 4);
    std::fs::write(folder.file("eastwatch.toml"), example.join("\n")).unwrap();
    let ran = eastwatch(["config", "check", "--config", &folder.file("eastwatch.toml").display().to_string()]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
}

/// Commands in the table of docs/reference.md, without their arguments.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../docs/reference.md");
    text.lines()
        .filter_map(|line| line.strip_prefix("| `eastwatch "))
        .filter_map(|line| line.split('`').next())
        .map(|command| {
            let words = command.split_whitespace().take_while(|w| w.chars().all(|c| c.is_ascii_lowercase()));
            format!("eastwatch {}", words.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

/// Commands that `--help` shows, groups left out unless they do something themselves (`incidents` lists).
fn offered(shown: &str, path: &[String]) -> BTreeSet<String> {
    let ran = eastwatch(path.iter().map(String::as_str).chain(["--help"]));
    assert_eq!(ran.status, 0, "{shown}: {}", ran.stderr);
    let inner: Vec<String> = ran
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    if inner.is_empty() || shown == "eastwatch incidents" {
        found.insert(shown.to_owned());
    }
    for word in inner {
        let deeper: Vec<String> = path.iter().cloned().chain([word.clone()]).collect();
        found.extend(offered(&format!("{shown} {word}"), &deeper));
    }
    found
}
