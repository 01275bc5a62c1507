//! Sections that no room has claimed yet: a few keys each. When a room declares its own `Config`, the one here goes.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::NetSet;

/// The `[networks]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworksConfig {
    /// Where VMs live.
    pub home: Home,
    /// VM inventory to load (TOML or CSV).
    pub inventory: Option<PathBuf>,
}

/// The `[baseline]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaselineConfig {
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each VM learns until its baseline is ripe, then is enforced.
    #[default]
    Auto,
    Learn,
    Enforce,
}

/// The `[alerts]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// The alert budget: incidents a day for each 1,000 VMs.
    #[serde(deserialize_with = "not_negative")]
    pub per_1000_vms_per_day: f64,
}

impl Default for AlertsConfig {
    /// What one analyst of a 1,000-VM site can follow up.
    fn default() -> Self {
        AlertsConfig { per_1000_vms_per_day: 2.0 }
    }
}

fn not_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(d)?;
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err(D::Error::custom(format!("expected a number, 0 or more, found {value}"))),
    }
}

/// `"auto"`: RFC 1918, 6598, 4193, link-local, and every address tied to a MAC that is not a router's. Else a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Home {
    #[default]
    Auto,
    Networks(NetSet),
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Home::Auto => f.write_str("auto"),
            Home::Networks(set) => f.write_str(&set.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl Serialize for Home {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Home::Auto => s.serialize_str("auto"),
            Home::Networks(set) => set.serialize(s),
        }
    }
}

/// By hand, not `untagged`: an untagged enum forgets where in the file the bad network stands.
impl<'de> Deserialize<'de> for Home {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct HomeVisitor;
        impl<'de> Visitor<'de> for HomeVisitor {
            type Value = Home;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a list of networks like [\"10.0.0.0/8\"]")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Home, E> {
                match text {
                    "auto" => Ok(Home::Auto),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Home, A::Error> {
                let mut set = NetSet::default();
                while let Some(net) = list.next_element()? {
                    set.0.push(net);
                }
                Ok(Home::Networks(set))
            }
        }
        d.deserialize_any(HomeVisitor)
    }
}
