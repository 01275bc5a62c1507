//! The configuration: TOML, every key optional, each section read by the room that owns it.
//!
//! A file has at most 1 MiB and tells at most 100 errors, all at once; what is beyond either is said, not read.
//! This is also the only place that looks at environment variables.

mod apps;
mod error;
mod section;
mod sections;
mod show;

pub use apps::AppsConfig;
pub use error::{ConfigError, Place};
pub use sections::LimitsConfig;
pub use show::Origin;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::api::HealthConfig;
use crate::baseline::BaselineConfig;
use crate::brain::BrainConfig;
use crate::capture::LiveConfig;
use crate::decode::{DecodeConfig, MIRRORS_MAX, MirrorConfig};
use crate::detect::DetectConfig;
use crate::flow::Timeouts;
use crate::incident::{AlertsConfig, IncidentConfig};
use crate::inventory::InventoryConfig;

use section::Reader;

use crate::store::StoreConfig;

/// One line a section: its field, its type, its name in the file; then the lists, of which there may be up to so many
/// tables. The type derives `Serialize` and `Deserialize` with `#[serde(default, deny_unknown_fields)]`, and
/// `Default`; nothing else names its keys.
macro_rules! roster {
    (
        $($field:ident: $section:ty => $name:literal,)*
        $([$list:ident]: $table:ty => $tables:literal, $max:expr;)*
    ) => {
        /// Everything that can be configured, section by section.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Config { $(pub $field: $section,)* $(pub $list: Vec<$table>,)* }

        /// The sections this version acts on.
        pub const SECTIONS: &[&str] = &[$($name),*];
        /// Those that are lists of tables, as `[[mirror]]` is.
        pub const LISTS: &[&str] = &[$($tables),*];

        impl Config {
            fn read(reader: &mut Reader<'_>) -> Self {
                Config { $($field: reader.section($name),)* $($list: reader.tables($tables, $max),)* }
            }

            /// Sections as JSON, in the order of the roster.
            fn sections(&self) -> Vec<(&'static str, serde_json::Value)> {
                vec![
                    $(($name, serde_json::to_value(&self.$field).unwrap_or_default()),)*
                    $(($tables, serde_json::to_value(&self.$list).unwrap_or_default()),)*
                ]
            }
        }
    };
}

roster! {
    networks: InventoryConfig => "networks",
    capture: LiveConfig => "capture",
    decode: DecodeConfig => "decode",
    limits: LimitsConfig => "limits",
    flow: Timeouts => "flow",
    store: StoreConfig => "store",
    baseline: BaselineConfig => "baseline",
    detect: DetectConfig => "detect",
    alerts: AlertsConfig => "alerts",
    incidents: IncidentConfig => "incidents",
    health: HealthConfig => "health",
    apps: AppsConfig => "apps",
    [mirror]: MirrorConfig => "mirror", MIRRORS_MAX;
}

/// Sections that the contract names and a later version acts on: told, so that nobody relies on them.
const LATER: &[&str] = &["channel", "policy", "rules", "subscription"];

/// Ten times the largest configuration anyone writes by hand.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ERRORS_MAX: usize = 100;
/// Names the state directory where neither file nor command line does.
const STATE_VARIABLE: &str = "EASTWATCH_STATE";

/// A configuration, where each value came from, and what the operator should know about it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<ConfigError>,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Reads the file, or the defaults where none is given, then the environment.
    ///
    /// # Errors
    /// All that is wrong with it, in order of line.
    pub fn load(file: Option<&Path>) -> Result<Self, Vec<ConfigError>> {
        let mut loaded = match file {
            None => Loaded::default(),
            Some(path) => {
                let name = path.display().to_string();
                let text = read_file(path).map_err(|text| vec![ConfigError::of_file(&name, text)])?;
                Loaded::parse(&name, &text)?
            }
        };
        if let Some(dir) = environment(STATE_VARIABLE) {
            loaded.config.store.dir = Some(dir.into());
            loaded.origins.insert("store.dir".to_owned(), Origin::Environment(STATE_VARIABLE));
        }
        Ok(loaded)
    }

    /// Reads `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(name, text, ERRORS_MAX);
        let config = Config::read(&mut reader);
        reader.leftover(&[SECTIONS, LISTS].concat(), LATER);
        let (origins, warnings) = reader.finish()?;
        let at_odds = config.baseline.at_odds().map(|text| {
            let line = |key: &str| match origins.get(key) {
                Some(Origin::File(_, line)) => format!(" (line {line})"),
                _ => String::new(),
            };
            ConfigError::of_file(name, format!("{text}{}", line("baseline.follow")))
        });
        match at_odds {
            Some(fault) => Err(vec![fault]),
            None => Ok(Loaded { config, warnings, origins }),
        }
    }

    /// Notes that the caller has set `config`'s value at `key` ("networks.home") from this option ("--home").
    pub fn from_command_line(&mut self, key: &str, option: &'static str) {
        self.origins.insert(key.to_owned(), Origin::CommandLine(option));
    }

    /// The effective configuration as TOML, each line with its origin as a comment.
    pub fn show(&self) -> String {
        show::show(&self.config.sections(), &self.origins)
    }

    /// `key`, value and origin of everything that can be set, for `--format json`.
    pub fn rows(&self) -> Vec<(String, serde_json::Value, Origin)> {
        show::rows(&self.config.sections(), &self.origins)
    }
}

impl Config {
    /// What the packet side's decoding needs of it.
    pub fn decode(&self) -> DecodeConfig {
        DecodeConfig { mirrors: self.mirror.clone(), ..self.decode.clone() }
    }

    /// What the fact side needs of it.
    pub fn brain(&self) -> BrainConfig {
        BrainConfig {
            inventory: self.networks.clone(),
            baseline: self.baseline.clone(),
            detect: self.detect.clone(),
            incidents: self.incidents.clone(),
            alerts: self.alerts.clone(),
            flows: false,
        }
    }
}

/// Does the user not want colours (no-color.org)?
pub fn no_color() -> bool {
    environment("NO_COLOR").is_some()
}

/// The user's name, for timelines and approvals.
pub fn user_name() -> String {
    environment("SUDO_USER").or_else(|| environment("USER")).unwrap_or_else(|| "someone".to_owned())
}

/// An environment variable, where it is set and not empty. The only door to the environment.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may ask")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be opened: {e}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1 MiB: is it a configuration?".to_owned());
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
        let line = before.filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8 text (line {line})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Mode;

    fn errors(text: &str) -> Vec<ConfigError> {
        Loaded::parse("e.toml", text).map(|_| ()).expect_err("it is wrong")
    }

    fn only(text: &str) -> ConfigError {
        let mut all = errors(text);
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    fn at(error: &ConfigError) -> (usize, usize) {
        error.place.as_ref().map(|p| (p.line, p.column)).expect("a place")
    }

    #[test]
    fn the_contracts_example_is_read() {
        let text = "[networks]\nhome = [\"10.0.0.0/8\"]\ninventory = \"inventory.toml\"\n[store]\ndir = \"/var/lib/eastwatch\"\n\
                    [baseline]\nmode = \"enforce\"\n[alerts]\nper_1000_vms_per_day = 3\n";
        let loaded = Loaded::parse("e.toml", text).unwrap();
        assert_eq!(loaded.config.networks.home.to_string(), "10.0.0.0/8");
        assert_eq!(loaded.config.store.dir.as_deref(), Some(Path::new("/var/lib/eastwatch")));
        assert_eq!(loaded.config.baseline.mode, Mode::Enforce);
        assert_eq!(loaded.config.alerts.per_1000_vms_per_day, 3.0);
        assert!(loaded.warnings.is_empty());
        let error = only("[alerts]\nper_1000_vms_per_day = -1\n");
        assert!(error.message.contains("from 0 to 1000000"), "{}", error.message);
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let loaded = Loaded::parse("e.toml", "# nothing\n").unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.rows().iter().all(|(_, _, origin)| *origin == Origin::Default));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_the_nearest_word() {
        let error = only("[networks]\nhoem = \"auto\"\n");
        assert_eq!(at(&error), (2, 1));
        assert_eq!(error.message, "unknown key `hoem` in [networks]");
        assert_eq!(error.hint.as_deref(), Some("did you mean `home`?"));
        let error = only("[store]\nzzz = 1\n");
        assert_eq!(error.hint.as_deref(), Some("the keys here are `dir`"));
    }

    #[test]
    fn an_unknown_section_and_a_key_without_a_section_are_errors() {
        let error = only("[network]\nhome = \"auto\"\n");
        assert_eq!((at(&error), error.hint.as_deref()), ((1, 2), Some("did you mean `networks`?")));
        assert_eq!(at(&only("\nhome = \"auto\"\n")), (2, 1));
        assert_eq!(only("store = \"x\"\n").message, "`store` is a section: write [store] on a line of its own");
    }

    #[test]
    fn a_bad_cidr_is_shown_where_it_stands() {
        let error = only("[networks]\nhome = [\"10.0.0.0/8\", \"10.0.0/33\"]\n");
        assert_eq!(at(&error), (2, 23));
        assert!(error.message.contains("`10.0.0/33` is not a network like 10.0.0.0/8"), "{}", error.message);
        let error = only("[networks]\nhome = \"atuo\"\n");
        assert_eq!(at(&error), (2, 8));
        assert!(error.message.contains("`auto`"), "{}", error.message);
    }

    #[test]
    fn a_wrong_type_and_a_wrong_value_say_what_was_expected() {
        let error = only("[baseline]\nflows_min = \"two\"\n");
        assert_eq!(at(&error), (2, 13));
        assert!(error.message.starts_with("`flows_min`: expected "), "{}", error.message);
        assert!(error.message.contains("found string \"two\""), "{}", error.message);
        let error = only("[baseline]\nmode = \"enforced\"\n");
        assert_eq!(error.message, "`mode`: unknown value `enforced`");
        assert_eq!(error.hint.as_deref(), Some("did you mean `enforce`?"));
    }

    #[test]
    fn all_errors_are_told_at_once_in_order_of_line() {
        let all = errors("[baseline]\nmode = 3\nmoed = \"auto\"\n[networks]\nhome = [\"x\"]\nhoem = 1\n[stor]\n");
        let lines: Vec<usize> = all.iter().map(|e| at(e).0).collect();
        assert_eq!(lines, vec![2, 3, 5, 6, 7], "{all:#?}");
    }

    #[test]
    fn broken_toml_says_where() {
        let error = only("[store]\ndir = \"x\n");
        assert_eq!(at(&error).0, 2);
        assert_eq!(at(&only("[store]\ndir = \"a\"\ndir = \"b\"\n")).0, 3);
    }

    #[test]
    fn the_number_of_errors_is_bounded_and_the_bound_is_told() {
        let text: String = (0..500).map(|n| format!("key{n} = 1\n")).collect();
        let all = errors(&format!("[store]\n{text}"));
        assert_eq!(all.len(), ERRORS_MAX + 1);
        assert!(all.last().is_some_and(|e| e.message.contains("further errors")));
    }

    #[test]
    fn a_section_of_a_later_version_is_a_warning_with_its_place() {
        let loaded =
            Loaded::parse("e.toml", "[store]\n[[channel]]\nname = \"x\"\n[[channel]]\nname = \"y\"\n").unwrap();
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(loaded.warnings[0].message, "[channel] is not acted on by this version");
        assert_eq!(at(&loaded.warnings[0]).0, 2);
    }

    #[test]
    fn show_says_where_each_value_came_from_and_is_read_back() {
        let mut loaded = Loaded::parse("e.toml", "[networks]\n\nhome = [\"10.0.0.0/8\"]\n").unwrap();
        loaded.config.baseline.mode = Mode::Learn;
        loaded.from_command_line("baseline.mode", "--mode");
        let shown = loaded.show();
        assert!(shown.contains("home = [\"10.0.0.0/8\"]") && shown.contains("# e.toml:3"), "{shown}");
        let line = |word: &str| shown.lines().find(|l| l.contains(word)).unwrap_or_default().to_owned();
        assert!(line("mode = \"learn\"").contains("# command line: --mode"), "{shown}");
        assert!(line("flows_max").contains("# default"), "{shown}");
        assert!(line("inventory is not set").starts_with("# "), "{shown}");
        assert_eq!(Loaded::parse("shown", &shown).unwrap().config, loaded.config);
    }

    #[test]
    fn every_section_refuses_a_key_it_does_not_know() {
        for section in SECTIONS {
            let error = only(&format!("[{section}]\nno_such_key = 1\n"));
            assert!(error.message.contains("unknown key `no_such_key`"), "[{section}]: {error}");
        }
    }

    #[test]
    fn lists_of_tables_are_read_shown_and_read_back() {
        let text = "[[mirror]]\nsource = \"esx-*\"\nvni = \"path\"\n\n[[mirror]]\nouter_dst = \"10.9.9.9\"\ngre_key = [3, 4]\n\
                    same_vlan = [[0, 10]]\ndomain = \"dc1\"\n";
        let loaded = Loaded::parse("e.toml", text).unwrap();
        assert_eq!(loaded.config.mirror.len(), 2);
        let shown = loaded.show();
        let line = |word: &str| shown.lines().find(|l| l.starts_with(word)).unwrap_or_default().to_owned();
        assert!(line("vni = \"path\"").ends_with("# e.toml:3"), "{shown}");
        assert!(line("domain = \"dc1\"").ends_with("# e.toml:9"), "{shown}");
        assert_eq!(Loaded::parse("shown", &shown).unwrap().config, loaded.config);
        assert!(loaded.rows().iter().any(|(key, ..)| key == "mirror.1.domain"));
    }

    #[test]
    fn errors_in_a_list_name_the_table_and_its_line() {
        let texts = |text: &str| errors(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(
                "[[mirror]]\nvni = \"path\"\n[[mirror]]\nvin = \"path\"\ngre_key = \"pats\"\nouter_src = \"10.0.0/8\"\n"
            ),
            [
                "e.toml:4:1: unknown key `vin` in [[mirror]] (did you mean `vni`?)",
                "e.toml:5:11: `gre_key`: unknown value `pats` (did you mean `path`?)",
                "e.toml:6:13: `outer_src`: `10.0.0/8` is not a network like 10.0.0.0/8 or fd00::/8",
            ]
        );
        let domain = texts("[[mirror]]\ndomain = \"datacentre\"\nsame_vlan = [[0, 10], [10, 20]]\nvlan = 900\n");
        assert_eq!(
            domain,
            [
                "e.toml:2:10: `domain`: `datacentre` is not a name of at most 6 of a-z, 0-9 and -",
                "e.toml:3:13: `same_vlan`: 10 stands twice: put all ids of one segment into one group",
                "e.toml:4:8: `vlan`: expected \"path\", \"segment\", or the list of ids that are path, found integer `900`",
            ]
        );
        let flows = texts("[[mirror]]\ngre_key = \"vsid\"\nvni = \"vsid\"\n");
        assert_eq!(flows, ["e.toml:3:7: `vni`: unknown value `vsid` (it is one of `path`, `segment`)"]);
        assert_eq!(texts("[mirror]\n"), ["e.toml:1:2: `mirror` is a list: write [[mirror]], once for each"]);
        assert_eq!(texts("[[store]]\n"), ["e.toml:1:3: `store` is a section: write [store] on a line of its own"]);
    }

    #[test]
    fn a_list_is_bounded_and_the_bound_is_told() {
        let text = "[[mirror]]\nvni = \"path\"\n".repeat(MIRRORS_MAX + 1);
        assert!(only(&text).message.contains("64 at most"), "{}", only(&text));
    }

    #[test]
    fn what_is_only_taken_signed_is_not_taken_from_a_folder() {
        let text = "[baseline]\nsigners = \"keys\"\nfollow = \"/srv/baselines\"\n";
        let told = errors(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(told[0].starts_with("e.toml: [baseline] follow") && told[0].ends_with("(line 3)"), "{told:?}");
        assert!(Loaded::parse("e.toml", "[baseline]\nfollow = \"/srv/baselines\"\n").is_ok());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Loaded::load(Some(Path::new("/nowhere/e.toml"))).map(|_| ()).expect_err("missing");
        assert!(error[0].to_string().starts_with("/nowhere/e.toml: cannot be opened"), "{}", error[0]);
    }
}
