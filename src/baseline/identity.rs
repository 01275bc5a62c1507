//! What tells one program on a port from another: its application, product family, SSH host key, SSH key
//! exchange offer, certificate issuer, and the family of the TCP/IP stack that answers. Versions are left out: an upgrade is the same program.
//! At most [`MARKS_MAX`] marks of a service; further ones are not kept, and a mark that has shown
//! [`VALUES_MAX`] values tells nothing (a farm behind one port) and is no longer compared.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{AppInfo, Stack};

const MARKS_MAX: usize = 16;
const VALUES_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    Application,
    ProductFamily,
    HostKey,
    KeyExchange,
    Issuer,
    Stack,
    /// Of an RPC service. One port has several and one interface goes from port to port: they are never compared, but
    /// tell whose port a new one is.
    Interface,
}

impl Aspect {
    pub const ALL: [Aspect; 7] = [
        Aspect::Application,
        Aspect::ProductFamily,
        Aspect::HostKey,
        Aspect::KeyExchange,
        Aspect::Issuer,
        Aspect::Stack,
        Aspect::Interface,
    ];

    /// As an exported baseline calls it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Aspect::Application => "app",
            Aspect::ProductFamily => "product",
            Aspect::HostKey => "host_key",
            Aspect::KeyExchange => "key_exchange",
            Aspect::Issuer => "issuer",
            Aspect::Stack => "stack",
            Aspect::Interface => "interface",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aspect::Application => "application",
            Aspect::ProductFamily => "product",
            Aspect::HostKey => "SSH host key",
            Aspect::KeyExchange => "SSH key exchange offer (HASSH)",
            Aspect::Issuer => "certificate issuer",
            Aspect::Stack => "TCP/IP stack",
            Aspect::Interface => "RPC interface",
        })
    }
}

/// One proved value. Values are compared where aspect and `of` are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Mark {
    aspect: Aspect,
    /// What the value belongs to: the application of a product, the name asked for of an issuer.
    of: String,
    value: String,
}

/// Every mark a service has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    marks: Vec<Mark>,
}

/// A mark that contradicts what was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub aspect: Aspect,
    pub before: Vec<String>,
    pub now: String,
}

impl Identity {
    /// What of `app` differs from what was learned; empty where it fits, or where nothing comparable was known.
    /// `in_force` are the digests of the user's definitions: what one of them named is no word of another reading,
    /// unless it still reads so.
    pub fn replaced_by(&self, app: &AppInfo, in_force: &[String]) -> Vec<Replaced> {
        let mut out: Vec<Replaced> = Vec::new();
        for mark in marks(app).into_iter().filter(|mark| mark.aspect != Aspect::Interface) {
            let known = |m: &&Mark| m.aspect == mark.aspect && m.of == mark.of;
            let defined = |m: &&Mark| m.aspect == Aspect::Application && in_force.contains(&m.of);
            let values = |which: &dyn Fn(&&Mark) -> bool| -> Vec<String> {
                self.marks.iter().filter(which).map(|m| m.value.clone()).collect()
            };
            let mut before = values(&known);
            if before.is_empty() && mark.aspect == Aspect::Application && mark.of.is_empty() {
                before = values(&defined);
            }
            if !before.is_empty() && before.len() < VALUES_MAX && !before.contains(&mark.value) {
                out.push(Replaced { aspect: mark.aspect, before, now: mark.value });
            }
        }
        out
    }

    /// Adds what `app` proves; true where that changed anything.
    pub fn learn(&mut self, app: &AppInfo) -> bool {
        let before = self.marks.len();
        marks(app).into_iter().for_each(|mark| self.add(mark));
        self.marks.len() > before
    }

    /// Has no payload proved anything? A stack is known from the handshake.
    pub fn is_empty(&self) -> bool {
        self.marks.iter().all(|mark| mark.aspect == Aspect::Stack)
    }

    /// Another family of stacks than the one that always answered. Where several did from the start there is something
    /// in front (a balancer, a SYN proxy), and that tells nothing.
    pub fn stack_replaced_by(&self, stack: Stack) -> Option<Replaced> {
        let mut known = self.marks.iter().filter(|mark| mark.aspect == Aspect::Stack);
        let (before, None) = (known.next()?, known.next()) else { return None };
        let now = stack.to_string();
        let before = vec![before.value.clone()];
        (!before.contains(&now)).then_some(Replaced { aspect: Aspect::Stack, before, now })
    }

    /// True where that is new.
    pub fn learn_stack(&mut self, stack: Stack) -> bool {
        let before = self.marks.len();
        self.add(Mark { aspect: Aspect::Stack, of: String::new(), value: stack.to_string() });
        self.marks.len() > before
    }

    pub(crate) fn unite(&mut self, other: Identity) {
        for mark in other.marks {
            self.add(mark);
        }
    }

    /// Applications proved so far, `http` once for all of HTTP.
    pub fn applications(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().filter(|m| m.aspect == Aspect::Application).map(|m| m.value.as_str())
    }

    /// Was this application proved here? `None` where none was.
    pub fn speaks(&self, app: &AppInfo) -> Option<bool> {
        let family = application_family(app.proto.as_str());
        self.applications().next()?;
        Some(self.applications().any(|known| known == family))
    }

    /// Was this RPC interface offered here?
    pub fn offers(&self, interface: &str) -> bool {
        self.marks.iter().any(|m| m.aspect == Aspect::Interface && m.value == interface)
    }

    /// Every mark: its aspect, what it belongs to, its value.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Aspect, &str, &str)> {
        self.marks.iter().map(|m| (m.aspect, m.of.as_str(), m.value.as_str()))
    }

    /// Of marks that were written down; what is beyond [`MARKS_MAX`] is left out.
    pub(crate) fn of_rows(rows: impl IntoIterator<Item = (Aspect, String, String)>) -> Self {
        let mut identity = Identity::default();
        rows.into_iter().for_each(|(aspect, of, value)| identity.add(Mark { aspect, of, value }));
        identity
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.marks.iter().map(|m| format!("{} {}", m.aspect, m.value))
    }

    fn add(&mut self, mark: Mark) {
        if self.marks.len() < MARKS_MAX
            && let Err(at) = self.marks.binary_search(&mark)
        {
            self.marks.insert(at, mark);
        }
    }
}

fn marks(app: &AppInfo) -> Vec<Mark> {
    let family = application_family(app.proto.as_str());
    let mark = |aspect, of: &str, value: &str| Mark { aspect, of: of.to_owned(), value: value.to_owned() };
    let mut out = vec![mark(Aspect::Application, app.get(AppInfo::DEFINITION).unwrap_or(""), family)];
    // What others' files call it changes with them.
    if let Some(product) = app.product.as_ref().filter(|_| app.get(AppInfo::PRODUCT_BY).is_none()) {
        let product_family = product_family(product);
        if !product_family.is_empty() {
            out.push(mark(Aspect::ProductFamily, family, &product_family));
        }
        // An upgrade may change the offer; the same banner with another offer is another program under its name.
        let own_version = app.version.as_ref().filter(|_| app.get(AppInfo::VERSION_BY).is_none());
        if let (Some(offer), Some(version)) = (app.get("hassh_server"), own_version) {
            out.push(mark(Aspect::KeyExchange, &format!("{product} {version}"), offer));
        }
    }
    if let Some(key) = app.get("host_key") {
        out.push(mark(Aspect::HostKey, "", key));
    }
    if let Some(issuer) = app.get("issuer") {
        // One server may hold a certificate for each name it is asked for.
        out.push(mark(Aspect::Issuer, app.get("sni").unwrap_or(""), issuer));
    }
    out.extend(interfaces(app).map(|interface| mark(Aspect::Interface, "", interface)));
    out
}

/// The RPC interfaces that a mapper or a bind named, as UUIDs.
pub fn interfaces(app: &AppInfo) -> impl Iterator<Item = &str> {
    let named = app.get("interfaces").filter(|_| app.proto.as_str() == "dcerpc");
    named.unwrap_or_default().split(' ').filter(|interface| !interface.is_empty())
}

/// A server that speaks HTTP/2 or upgrades to WebSocket is still the web server.
fn application_family(proto: &str) -> &str {
    match proto {
        "http2" | "websocket" => "http",
        other => other,
    }
}

/// `OpenSSH_for_Windows` and `OpenSSH` are one family; words that look like versions are left out.
fn product_family(product: &str) -> String {
    let head = product.split(['/', '_', '(']).next().unwrap_or(product);
    let words = head.split_whitespace().filter(|w| !w.starts_with(|c: char| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(product: &str, version: &str, hassh: &str) -> AppInfo {
        let mut app = AppInfo::new("ssh", None);
        app.product(product, Some(version.as_bytes()));
        app.detail("hassh_server", hassh);
        app
    }

    #[test]
    fn another_product_on_the_port_is_a_replacement() {
        let mut identity = Identity::default();
        assert!(identity.learn(&ssh("OpenSSH", "9.2", "aa")));
        let other = identity.replaced_by(&ssh("dropbear", "2022.83", "bb"), &[]);
        assert_eq!(other.len(), 1);
        assert_eq!((other[0].aspect, other[0].now.as_str()), (Aspect::ProductFamily, "dropbear"));
    }

    #[test]
    fn an_upgrade_is_not() {
        let mut identity = Identity::default();
        identity.learn(&ssh("OpenSSH", "9.2", "aa"));
        assert!(identity.replaced_by(&ssh("OpenSSH", "9.6", "bb"), &[]).is_empty());
        assert!(identity.replaced_by(&ssh("OpenSSH_for_Windows", "9.6", "bb"), &[]).is_empty());
    }

    #[test]
    fn the_same_banner_with_another_key_exchange_is() {
        let mut identity = Identity::default();
        identity.learn(&ssh("OpenSSH", "9.2", "aa"));
        assert_eq!(identity.replaced_by(&ssh("OpenSSH", "9.2", "bb"), &[])[0].aspect, Aspect::KeyExchange);
    }

    #[test]
    fn another_issuer_for_the_same_name_is_a_replacement_and_another_name_is_not() {
        let tls = |sni: &str, issuer: &str| {
            let mut app = AppInfo::new("tls", None);
            app.detail("sni", sni);
            app.detail("issuer", issuer);
            app
        };
        let mut identity = Identity::default();
        identity.learn(&tls("a.example", "CN=Corp CA"));
        assert_eq!(identity.replaced_by(&tls("a.example", "CN=Mallory"), &[]).len(), 1);
        assert!(identity.replaced_by(&tls("b.example", "CN=Mallory"), &[]).is_empty());
    }

    #[test]
    fn a_mark_that_varies_is_not_compared_and_marks_are_bounded() {
        let mut identity = Identity::default();
        for i in 0..100 {
            let mut app = AppInfo::new("http", None);
            app.product(format!("backend{}", char::from(b'a' + (i % 26) as u8)), None);
            identity.learn(&app);
        }
        assert!(identity.marks.len() <= MARKS_MAX);
        let mut app = AppInfo::new("http", None);
        app.product("zzz", None);
        assert!(identity.replaced_by(&app, &[]).is_empty());
    }

    #[test]
    fn the_same_banner_read_by_other_files_is_no_replacement() {
        let lent = |product: &str, by: &str| {
            let mut app = AppInfo::new("ssh", None);
            app.product(product, Some(b"9"));
            app.detail("hassh_server", "aa");
            app.detail(AppInfo::PRODUCT_BY, by);
            app
        };
        let mut identity = Identity::default();
        identity.learn(&lent("OpenBSD", "old.xml"));
        assert!(identity.replaced_by(&lent("Portable", "new.xml"), &[]).is_empty());
        assert!(identity.replaced_by(&ssh("OpenSSH", "9.2", "aa"), &[]).is_empty());
        // Our own word is still compared, whatever was lent between.
        identity.learn(&ssh("OpenSSH", "9.2", "aa"));
        assert_eq!(identity.replaced_by(&ssh("dropbear", "2022", "bb"), &[]).len(), 1);
    }

    #[test]
    fn a_definition_that_comes_or_goes_replaces_nothing_and_another_program_behind_it_does() {
        let acme = |digest: &str| {
            let mut app = AppInfo::new("acme", None);
            app.detail(AppInfo::DEFINITION, digest);
            app
        };
        let mut identity = Identity::default();
        identity.learn(&AppInfo::new("http", None));
        let in_force = ["d1".to_owned()];
        assert!(identity.replaced_by(&acme("d1"), &in_force).is_empty());
        assert_eq!(identity.replaced_by(&AppInfo::new("ssh", None), &in_force).len(), 1);
        let mut defined = Identity::default();
        defined.learn(&acme("d1"));
        assert_eq!(defined.replaced_by(&AppInfo::new("ssh", None), &in_force).len(), 1);
        // Changed or withdrawn: what it read is no longer comparable.
        assert!(defined.replaced_by(&AppInfo::new("ssh", None), &[]).is_empty());
        assert!(defined.replaced_by(&acme("d2"), &["d2".to_owned()]).is_empty());
    }

    #[test]
    fn http2_on_a_web_port_is_still_the_web_server() {
        let mut identity = Identity::default();
        identity.learn(&AppInfo::new("http", None));
        assert!(identity.replaced_by(&AppInfo::new("http2", None), &[]).is_empty());
        assert_eq!(identity.replaced_by(&AppInfo::new("ssh", None), &[]).len(), 1);
    }
}
