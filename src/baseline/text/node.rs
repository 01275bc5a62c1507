//! A document before it is understood: TOML or JSON as a tree, each part with its place in the text.
//! At most [`FAULTS_MAX`] faults are told; how many more there are is said.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

pub const FAULTS_MAX: usize = 20;
/// A text, name or value longer than this is no name of anything.
const TEXT_CHARS_MAX: usize = 4_096;

#[derive(Debug)]
pub struct Node {
    pub at: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Text(String),
    Whole(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, (Range<usize>, Node)>),
    /// What no key takes.
    Other(&'static str),
}

/// What is wrong with a text, and where.
#[derive(Debug)]
pub struct Faults<'t> {
    name: &'t str,
    /// Empty where places mean nothing (JSON).
    text: &'t str,
    told: Vec<(usize, String)>,
    untold: usize,
}

impl<'t> Faults<'t> {
    pub fn new(name: &'t str, text: &'t str) -> Self {
        Faults { name, text, told: Vec::new(), untold: 0 }
    }

    pub fn tell(&mut self, at: &Range<usize>, what: String) {
        if self.told.len() >= FAULTS_MAX {
            self.untold += 1;
            return;
        }
        let line = match self.text.is_empty() {
            true => format!("{}: {what}", self.name),
            false => {
                let before = self.text.get(..at.start).unwrap_or(self.text);
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{}:{}:{column}: {what}", self.name, self.line(at))
            }
        };
        self.told.push((at.start, line));
    }

    pub fn line(&self, at: &Range<usize>) -> usize {
        self.text.get(..at.start).unwrap_or(self.text).bytes().filter(|b| *b == b'\n').count() + 1
    }

    /// The lines in order of their place; empty where nothing is wrong.
    pub fn lines(mut self) -> Vec<String> {
        self.told.sort_by_key(|(at, _)| *at);
        let mut lines: Vec<String> = self.told.into_iter().map(|(_, line)| line).collect();
        if self.untold > 0 {
            lines.push(format!("{}: and {} more", self.name, self.untold));
        }
        lines
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

/// Reads TOML as far as it goes; what is none is told.
pub fn of_toml(text: &str, faults: &mut Faults<'_>) -> Node {
    let (root, broken) = DeTable::parse_recoverable(text);
    for error in broken {
        faults.tell(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
    }
    let at = root.span();
    Node { at, kind: table(root.into_inner()) }
}

fn table(table: DeTable<'_>) -> Kind {
    let entry = |(key, value): (toml::Spanned<_>, toml::Spanned<DeValue<'_>>)| {
        let at = key.span();
        let name: std::borrow::Cow<'_, str> = key.into_inner();
        (name.into_owned(), (at, of_value(value)))
    };
    Kind::Table(table.into_iter().map(entry).collect())
}

fn of_value(value: toml::Spanned<DeValue<'_>>) -> Node {
    let at = value.span();
    let kind = match value.into_inner() {
        DeValue::String(text) => Kind::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(whole) => Kind::Whole(whole),
            Err(_) => Kind::Other("a number too large"),
        },
        DeValue::Boolean(flag) => Kind::Flag(flag),
        DeValue::Array(list) => Kind::List(list.into_iter().map(of_value).collect()),
        DeValue::Table(inner) => table(inner),
        DeValue::Float(_) => Kind::Other("a fraction"),
        DeValue::Datetime(_) => Kind::Other("a bare date (put it in quotes)"),
    };
    Node { at, kind }
}

pub fn of_json(value: serde_json::Value) -> Node {
    use serde_json::Value;
    let kind = match value {
        Value::String(text) => Kind::Text(text),
        Value::Number(number) => number.as_i64().map_or(Kind::Other("a fraction or too large"), Kind::Whole),
        Value::Bool(flag) => Kind::Flag(flag),
        Value::Array(list) => Kind::List(list.into_iter().map(of_json).collect()),
        Value::Object(map) => Kind::Table(map.into_iter().map(|(key, value)| (key, (0..0, of_json(value)))).collect()),
        Value::Null => Kind::Other("null"),
    };
    Node { at: 0..0, kind }
}

/// The keys of one table, taken one by one; what is left at the end is unknown.
pub struct Fields<'f, 't> {
    what: String,
    whole: Range<usize>,
    map: BTreeMap<String, (Range<usize>, Node)>,
    asked: Vec<&'static str>,
    had: Vec<&'static str>,
    pub faults: &'f mut Faults<'t>,
}

impl<'f, 't> Fields<'f, 't> {
    /// `what` names the table in faults.
    pub fn of(node: Node, what: &str, faults: &'f mut Faults<'t>) -> Self {
        let Node { at, kind } = node;
        let map = match kind {
            Kind::Table(map) => map,
            other => {
                faults.tell(&at, format!("{what}: expected a table, found {}", said(&other)));
                BTreeMap::new()
            }
        };
        Fields { what: what.to_owned(), whole: at, map, asked: Vec::new(), had: Vec::new(), faults }
    }

    /// What the table is called in faults from now on.
    pub fn named(&mut self, what: String) {
        self.what = what;
    }

    pub fn place(&self) -> Range<usize> {
        self.whole.clone()
    }

    /// Where the key of this name stands, else the table.
    pub fn place_of(&self, key: &str) -> Range<usize> {
        self.map.get(key).map_or_else(|| self.place(), |(_, value)| value.at.clone())
    }

    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        let (_, value) = self.map.remove(key)?;
        self.had.push(key);
        Some(value)
    }

    pub fn text(&mut self, key: &'static str) -> Option<(Range<usize>, String)> {
        let node = self.take(key)?;
        match node.kind {
            Kind::Text(text) if text.chars().count() > TEXT_CHARS_MAX => {
                let why = format!("longer than {TEXT_CHARS_MAX} characters");
                self.faults.tell(&node.at, format!("{}: `{key}` is {why}", self.what));
                None
            }
            Kind::Text(text) => Some((node.at, text)),
            other => {
                self.faults.tell(&node.at, format!("{}: `{key}`: expected a text, found {}", self.what, said(&other)));
                None
            }
        }
    }

    /// A text that reads as a `T`.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(Range<usize>, T)> {
        let (at, text) = self.text(key)?;
        match read(&text) {
            Ok(value) => Some((at, value)),
            Err(why) => {
                self.faults.tell(&at, format!("{}: `{key}`: {why}", self.what));
                None
            }
        }
    }

    pub fn whole(&mut self, key: &'static str) -> Option<(Range<usize>, i64)> {
        let node = self.take(key)?;
        match node.kind {
            Kind::Whole(number) => Some((node.at, number)),
            other => {
                let found = said(&other);
                self.faults.tell(&node.at, format!("{}: `{key}`: expected a whole number, found {found}", self.what));
                None
            }
        }
    }

    pub fn flag(&mut self, key: &'static str) -> bool {
        match self.take(key) {
            None => false,
            Some(Node { kind: Kind::Flag(flag), .. }) => flag,
            Some(Node { at, kind }) => {
                let found = said(&kind);
                self.faults.tell(&at, format!("{}: `{key}`: expected true or false, found {found}", self.what));
                false
            }
        }
    }

    pub fn list(&mut self, key: &'static str) -> Vec<Node> {
        match self.take(key) {
            None => Vec::new(),
            Some(Node { kind: Kind::List(list), .. }) => list,
            Some(Node { at, kind }) => {
                self.faults.tell(&at, format!("{}: `{key}`: expected a list, found {}", self.what, said(&kind)));
                Vec::new()
            }
        }
    }

    /// Tells that a key is needed.
    pub fn need<T>(&mut self, key: &'static str, found: Option<(Range<usize>, T)>) -> Option<T> {
        // One that is there and wrong was told already.
        if found.is_none() && !self.had.contains(&key) {
            self.faults.tell(&self.whole, format!("{}: `{key}` is missing", self.what));
        }
        found.map(|(_, value)| value)
    }

    pub fn wrong(&mut self, at: &Range<usize>, why: &str) {
        self.faults.tell(at, format!("{}: {why}", self.what));
    }

    /// What nobody asked for is told.
    pub fn end(self) {
        for (key, (at, _)) in &self.map {
            let near = self.asked.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
            let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(alike, _)| *alike > 0.8);
            let hint = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("the keys here are `{}`", self.asked.join("`, `")),
            };
            self.faults.tell(at, format!("{}: unknown key `{}` ({hint})", self.what, key.escape_debug()));
        }
    }
}

fn said(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "a text",
        Kind::Whole(_) => "a number",
        Kind::Flag(_) => "true or false",
        Kind::List(_) => "a list",
        Kind::Table(_) => "a table",
        Kind::Other(what) => what,
    }
}
