//! Applications that the user defines: what the server's first bytes are, and the client's, as a text, as hex or as a
//! regular expression, from the start of the stream or datagram.
//!
//! At most [`DEFINITIONS_MAX`], looked for in the first [`LOOK_BYTES_MAX`] bytes; each is compiled once, to an automaton
//! of at most [`AUTOMATON_BYTES_MAX`] that tells of every byte whether a match is still possible. A definition that
//! does not fit is an error of the user's, told before anything starts.

use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Look;
use serde::{Deserialize, Serialize};

use crate::model::{APP_NAMES, AppInfo, AppProto, Side, Transport, stable_hash};

pub const DEFINITIONS_MAX: usize = 64;
pub(super) const LOOK_BYTES_MAX: usize = 256;
const AUTOMATON_BYTES_MAX: usize = 1 << 20;
const PATTERN_BYTES_MAX: usize = 1024;
const PORTS_MAX: usize = 256;
/// One byte is what any protocol may begin with.
const PROOF_BYTES_MIN: usize = 2;
const NAME_CHARS_MAX: usize = 32;

/// Words of documents and configurations that a user's application must not be taken for, besides the names of
/// [`APP_NAMES`].
const TAKEN: &[&str] = &["any", "https", "none", "unknown"];

/// One `[[app]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    pub transport: Over,
    /// The server's first bytes. What proves it.
    pub server: Option<Pattern>,
    /// The client's, where they must fit too.
    pub client: Option<Pattern>,
    /// Only on these ports of the server; none given: on all. No proof by itself.
    pub ports: Vec<u16>,
    pub product: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    #[default]
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text in quotes, { hex = \"0a 1b\" } or { regex = 'ACME/\\d' }")]
pub enum Pattern {
    /// These bytes.
    Text(String),
    Hex(Hex),
    Regex(Expression),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hex {
    pub hex: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    pub regex: String,
}

/// What is wrong with one definition: which, at which key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError {
    pub at: usize,
    pub key: &'static str,
    pub message: String,
}

/// All that the user defined, compiled.
#[derive(Debug, Default)]
pub struct Definitions {
    all: Vec<Compiled>,
}

#[derive(Debug)]
pub(super) struct Compiled {
    name: String,
    transport: Transport,
    pub server: Automat,
    pub client: Option<Automat>,
    ports: Vec<u16>,
    product: Option<String>,
    /// Where it has groups `product` or `version`.
    groups: Option<regex::bytes::Regex>,
    digest: String,
}

/// A pattern from the start of some bytes.
pub(super) struct Automat {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl std::fmt::Debug for Automat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Automat({} bytes)", self.dfa.memory_usage())
    }
}

/// How far some bytes have come in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    At(StateID),
    Matched,
    Failed,
}

impl Definitions {
    /// # Errors
    /// All that is wrong with them.
    pub fn compile(definitions: &[Definition]) -> Result<Arc<Self>, Vec<DefinitionError>> {
        let mut errors = Vec::new();
        let mut all: Vec<Compiled> = Vec::new();
        for (at, definition) in definitions.iter().enumerate() {
            let twin = definitions.iter().take(at).any(|other| other.name == definition.name);
            let name = match twin {
                true => Err("two apps have this name: one app has one definition".to_owned()),
                false => name(&definition.name),
            };
            if let Err(message) = name {
                errors.push(DefinitionError { at, key: "name", message });
            }
            match Compiled::new(definition) {
                Ok(compiled) => all.push(compiled),
                Err((key, message)) => errors.push(DefinitionError { at, key, message }),
            }
        }
        if errors.is_empty() { Ok(Arc::new(Definitions { all })) } else { Err(errors) }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One for each definition; another one where anything about it changed.
    pub fn digests(&self) -> Vec<String> {
        self.all.iter().map(|compiled| compiled.digest.clone()).collect()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Compiled> {
        self.all.get(at)
    }

    /// The places of those that may be on this port.
    pub(super) fn on(&self, transport: Transport, port: u16) -> impl Iterator<Item = usize> {
        let may = move |c: &Compiled| c.transport == transport && (c.ports.is_empty() || c.ports.contains(&port));
        self.all.iter().enumerate().filter(move |(_, c)| may(c)).map(|(at, _)| at)
    }
}

/// Lower case, as all names of ours are, and none of them.
fn name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return Err("an app needs a `name`".to_owned());
    }
    if name.len() > NAME_CHARS_MAX || !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!(
            "`{}` is not a name of at most {NAME_CHARS_MAX} of a-z, 0-9, - _ and ., a letter first",
            AppInfo::clean(name.as_bytes())
        ));
    }
    if TAKEN.contains(&name) || APP_NAMES.iter().any(|known| known.name == name || known.aliases.contains(&name)) {
        return Err(format!("`{name}` is the name of a protocol that eastwatch knows: give your own another"));
    }
    Ok(())
}

impl Compiled {
    fn new(definition: &Definition) -> Result<Self, (&'static str, String)> {
        let transport = match definition.transport {
            Over::Tcp => Transport::Tcp,
            Over::Udp => Transport::Udp,
        };
        let Some(server) = &definition.server else {
            return Err((
                "server",
                "an app needs `server`, how the server's first bytes begin: a port or a client's \
                                   word proves nothing"
                    .to_owned(),
            ));
        };
        if definition.ports.len() > PORTS_MAX || definition.ports.contains(&0) {
            return Err(("ports", format!("expected at most {PORTS_MAX} ports from 1 to 65535")));
        }
        let (automat, expression) = compile(server, transport).map_err(|e| ("server", e))?;
        let client = definition.client.as_ref().map(|client| compile(client, transport));
        let client = client.transpose().map_err(|e| ("client", e))?;
        let text = serde_json::to_string(definition).unwrap_or_default();
        let groups = (expression.contains("(?P<") || expression.contains("(?<")).then(|| {
            let mut builder = regex::bytes::RegexBuilder::new(&expression);
            builder.unicode(false).size_limit(AUTOMATON_BYTES_MAX).build()
        });
        Ok(Compiled {
            name: definition.name.clone(),
            transport,
            server: automat,
            client: client.map(|(automat, _)| automat),
            ports: definition.ports.clone(),
            product: definition.product.clone(),
            groups: groups.transpose().map_err(|e| ("server", e.to_string()))?,
            digest: format!("{:016x}", stable_hash(&[text.as_bytes()])),
        })
    }

    /// What a flow is whose server's first bytes these are.
    pub(super) fn describe(&self, head: &[u8]) -> AppInfo {
        let mut info = AppInfo::new("", Some(Side::Resp));
        info.proto = AppProto(self.name.clone().into());
        let groups = self.groups.as_ref().and_then(|groups| groups.captures(head));
        let group = |name: &str| groups.as_ref().and_then(|g| g.name(name)).map(|m| m.as_bytes());
        if let Some(product) = group("product").or(self.product.as_deref().map(str::as_bytes)) {
            info.product(product, group("version"));
        } else if let Some(version) = group("version") {
            info.version = Some(AppInfo::clean(version)).filter(|text| !text.is_empty());
        }
        info.detail(AppInfo::DEFINITION, &self.digest);
        info
    }
}

/// A pattern's automaton, and the expression it was made of.
fn compile(pattern: &Pattern, transport: Transport) -> Result<(Automat, String), String> {
    let bytes = |bytes: &[u8]| bytes.iter().map(|b| format!("\\x{b:02X}")).collect::<String>();
    let expression = match pattern {
        Pattern::Text(text) => bytes(text.as_bytes()),
        Pattern::Hex(Hex { hex }) => bytes(&unhex(hex).ok_or("expected pairs of hexadecimal digits, as in \"0a 1b\"")?),
        Pattern::Regex(Expression { regex }) => regex.clone(),
    };
    if expression.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "longer than {} bytes",
            match pattern {
                Pattern::Regex(_) => PATTERN_BYTES_MAX,
                _ => PATTERN_BYTES_MAX / 4,
            }
        ));
    }
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).nest_limit(64).build();
    let parsed = parser.parse(&expression).map_err(|e| {
        let text = e.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
    })?;
    let properties = parsed.properties();
    if properties.minimum_len().is_none_or(|least| least < PROOF_BYTES_MIN) {
        return Err(format!("proves nothing: at least {PROOF_BYTES_MIN} bytes are needed"));
    }
    if properties.minimum_len() > Some(LOOK_BYTES_MAX) {
        return Err(format!("needs more than the first {LOOK_BYTES_MAX} bytes, which are all that is looked at"));
    }
    let looks = properties.look_set().iter();
    let end = |look: Look| look == Look::End && transport == Transport::Udp;
    if let Some(look) = looks.into_iter().find(|look| *look != Look::Start && !end(*look)) {
        return Err(format!(
            "`{}` has no meaning here: the start is meant anyway, and a stream has no end",
            match look {
                Look::End | Look::EndLF | Look::EndCRLF => "$",
                Look::StartLF | Look::StartCRLF => "(?m)^",
                _ => "\\b",
            }
        ));
    }
    let expression = format!("\\A(?:{expression})");
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .accelerate(false)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BYTES_MAX));
    let large = || "too large when compiled: fewer or smaller repetitions".to_owned();
    let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(64);
    let thompson = regex_automata::nfa::thompson::Config::new().utf8(false).nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
    let mut builder = dense::Builder::new();
    let dfa = builder.configure(config).syntax(syntax).thompson(thompson).build(&expression).map_err(|_| large())?;
    let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).map_err(|_| large())?;
    Ok((Automat { dfa, start }, expression))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b' ' | b':')).collect();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

impl Automat {
    pub fn begin(&self) -> Walk {
        Walk::At(self.start)
    }

    /// Goes on with these bytes. `end`: nothing follows them (a datagram's last).
    pub fn walk(&self, from: Walk, bytes: &[u8], after: Option<u8>) -> Walk {
        let Walk::At(mut state) = from else { return from };
        for byte in bytes {
            state = self.dfa.next_state(state, *byte);
            if self.dfa.is_special_state(state) {
                if self.dfa.is_match_state(state) {
                    return Walk::Matched;
                }
                if self.dfa.is_dead_state(state) || self.dfa.is_quit_state(state) {
                    return Walk::Failed;
                }
            }
        }
        // A match is told one byte later than it is made.
        let seen = match after {
            Some(byte) => self.dfa.next_state(state, byte),
            None => self.dfa.next_eoi_state(state),
        };
        if self.dfa.is_match_state(seen) { Walk::Matched } else { Walk::At(state) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn definition(name: &str, server: Pattern) -> Definition {
        Definition { name: name.to_owned(), server: Some(server), ..Definition::default() }
    }

    pub(crate) fn regex(text: &str) -> Pattern {
        Pattern::Regex(Expression { regex: text.to_owned() })
    }

    fn refused(definition: Definition) -> String {
        let errors = Definitions::compile(&[definition]).unwrap_err();
        format!("{}: {}", errors[0].key, errors[0].message)
    }

    #[test]
    fn a_name_that_is_ours_or_no_name_is_refused() {
        for ours in ["rtp", "ssl", "ftp-data", "http", "Acme", "", "9p", "a b", "unknown"] {
            assert!(refused(definition(ours, Pattern::Text("ACME".to_owned()))).starts_with("name: "), "{ours}");
        }
        let twice = [definition("acme", regex("AB")), definition("acme", regex("AC"))];
        assert_eq!(Definitions::compile(&twice).unwrap_err()[0].at, 1);
    }

    #[test]
    fn what_proves_nothing_or_means_nothing_is_refused() {
        let server = |pattern| refused(definition("acme", pattern));
        assert!(
            refused(Definition { name: "acme".to_owned(), ports: vec![7001], ..Definition::default() })
                .contains("proves nothing")
        );
        for weak in [regex(".*"), regex("A?B"), Pattern::Text("A".to_owned())] {
            assert!(server(weak).contains("proves nothing"));
        }
        assert!(server(regex("AB$")).contains("has no meaning") && server(regex("\\bAB")).contains("has no meaning"));
        assert!(server(regex("(AB")).contains("unclosed group"));
        assert!(server(regex("(?=A)AB")).contains("not a regular expression"));
        assert!(server(regex("[a-z]{300}")).contains("256"));
        assert!(server(regex(".*(a|b)[^x]{90}(c|d)[^y]{90}")).contains("too large"));
        assert!(server(Pattern::Hex(Hex { hex: "0a1".to_owned() })).contains("hexadecimal"));
        let mut zero = definition("acme", regex("AB"));
        zero.ports = vec![0];
        assert!(refused(zero).starts_with("ports"));
    }

    #[test]
    fn a_walk_tells_match_from_failure_at_the_first_byte_that_decides() {
        let all = Definitions::compile(&[definition("acme", regex("ACME/[0-9]+;"))]).unwrap();
        let automat = &all.get(0).unwrap().server;
        let walked = automat.walk(automat.begin(), b"ACME/", None);
        assert!(matches!(walked, Walk::At(_)));
        assert_eq!(automat.walk(walked, b"12;", None), Walk::Matched);
        assert_eq!(automat.walk(walked, b"12;", Some(b'x')), Walk::Matched);
        assert_eq!(automat.walk(walked, b"x", None), Walk::Failed);
        assert_eq!(automat.walk(automat.begin(), b"xACME/1;", None), Walk::Failed);
    }

    #[test]
    fn the_digest_changes_with_the_definition() {
        let digest = |pattern: &str| Definitions::compile(&[definition("acme", regex(pattern))]).unwrap().digests();
        assert_eq!(digest("AB"), digest("AB"));
        assert_ne!(digest("AB"), digest("AC"));
    }
}
