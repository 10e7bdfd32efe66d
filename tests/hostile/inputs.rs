//! Inputs: documents as they should be, with some damage; and whatever else bytes can be.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

/// Texts that mean something to one of the readers, or to a shell, a terminal or a template.
const WORDS: [&str; 48] = [
    "",
    " ",
    "*",
    "?",
    "**?*",
    "a-b_c.d",
    "Ref",
    "Fn::Sub",
    "Fn::GetAtt",
    "Fn::Join",
    "Role1",
    "Role1.Arn",
    "AWS::IAM::Role",
    "AWS::IAM::Policy",
    "AWS::Partition",
    "${AWS::Partition}",
    "${AWS::StackName}-Policy1",
    "${aws:username}",
    "arn:aws:iam::111122223333:role/x",
    "arn:aws:iam::aws:policy/ReadOnlyAccess",
    "arn:::::",
    "system:serviceaccount:default:web",
    "system:serviceaccount:*:*",
    "https://oidc.example.com/id/A",
    "sts.amazonaws.com",
    "Allow",
    "Deny",
    "StringLike",
    "ForAllValues:StringNotLikeIfExists",
    "2012-10-17",
    "heritage=external-dns,external-dns/owner=me",
    "external-dns/resource=ingress/a/b",
    "\\052.example.com",
    "\\777.\\05",
    "%{record_type}-",
    "a-cname-.example.com.",
    "1e2147483647",
    "-1e999Ei",
    "$(id)`id`'\"",
    "EOF\n",
    "\u{1b}[2J\u{7}",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "İß",
    "null",
    "~1~0/",
    "9223372036854775807",
];

/// Any text, often one that means something.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&WORDS[..]).prop_map(str::to_owned),
        2 => vec(select(&WORDS[..]), 2..4).prop_map(|words| words.concat()),
        2 => "[a-zA-Z0-9:/*?.,=%@_ -]{0,24}",
        2 => any::<String>(),
        1 => (select(&WORDS[..]), 100..5_000_usize).prop_map(|(word, times)| word.repeat(times.min(20_000 / (word.len() + 1)))),
    ]
}

/// A key, which YAML takes up to 1024 characters of, as they are written.
fn key() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.chars().take(100).collect())
}

/// Any JSON.
pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Of a few digits: serde_json rounds the last of seventeen.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((key(), inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// One change to a document.
#[derive(Clone, Debug)]
struct Edit {
    at: Index,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Replace(Value),
    Take(Index),
    Remove,
    Rename(String),
    Add(String, Value),
    Wrap,
    Unwrap,
    Stringify,
    Double,
}

fn edit() -> impl Strategy<Value = Edit> {
    let kind = prop_oneof![
        3 => json().prop_map(Kind::Replace),
        2 => text().prop_map(|text| Kind::Replace(Value::String(text))),
        2 => any::<Index>().prop_map(Kind::Take),
        2 => Just(Kind::Remove),
        2 => key().prop_map(Kind::Rename),
        2 => (key(), json()).prop_map(|(key, value)| Kind::Add(key, value)),
        1 => Just(Kind::Wrap),
        1 => Just(Kind::Unwrap),
        1 => Just(Kind::Stringify),
        1 => Just(Kind::Double),
    ];
    (any::<Index>(), kind).prop_map(|(at, kind)| Edit { at, kind })
}

/// One of the documents with up to five changes, often none.
pub fn mutated(seeds: Vec<Value>) -> impl Strategy<Value = Value> {
    (select(seeds), vec(edit(), 0..6)).prop_map(|(mut document, edits)| {
        for edit in &edits {
            apply(&mut document, edit);
        }
        document
    })
}

fn apply(document: &mut Value, edit: &Edit) {
    let mut places = Vec::new();
    collect(document, &mut String::new(), &mut places);
    let place = edit.at.get(places.as_slice()).clone();
    let other = match &edit.kind {
        Kind::Take(from) => {
            let from: &String = from.get(&places);
            document.pointer(from).cloned()
        }
        _ => None,
    };
    let (parent, key) = place.rsplit_once('/').unwrap_or_default();
    let key = key.replace("~1", "/").replace("~0", "~");
    match (&edit.kind, document.pointer_mut(parent)) {
        (Kind::Remove, Some(Value::Object(object))) => drop(object.shift_remove(&key)),
        (Kind::Remove, Some(Value::Array(items))) => drop(key.parse().map(|at: usize| items.remove(at))),
        (Kind::Rename(name), Some(Value::Object(object))) => {
            if let Some(value) = object.shift_remove(&key) {
                object.insert(name.clone(), value);
            }
        }
        (kind, _) => {
            if let Some(value) = document.pointer_mut(&place) {
                change(value, kind, other);
            }
        }
    }
}

fn change(value: &mut Value, kind: &Kind, other: Option<Value>) {
    match (kind, &mut *value) {
        (Kind::Replace(new), _) => value.clone_from(new),
        (Kind::Take(_), _) => *value = other.unwrap_or_default(),
        (Kind::Add(key, new), Value::Object(object)) => drop(object.insert(key.clone(), new.clone())),
        (Kind::Add(_, new), Value::Array(items)) => items.push(new.clone()),
        (Kind::Wrap, _) => *value = Value::Array(vec![value.take()]),
        (Kind::Unwrap, Value::Array(items)) if !items.is_empty() => *value = items.swap_remove(0),
        (Kind::Stringify, _) => *value = Value::String(value.to_string()),
        (Kind::Double, Value::Array(items)) => items.extend(items.clone()),
        _ => {}
    }
}

/// JSON Pointers of everything in a document.
fn collect(value: &Value, path: &mut String, places: &mut Vec<String>) {
    places.push(path.clone());
    let length = path.len();
    let mut visit = |key: &str, item: &Value| {
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        collect(item, path, places);
        path.truncate(length);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, item)| visit(key, item)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| visit(&at.to_string(), item)),
        _ => {}
    }
}

/// How a document is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Json,
    Pretty,
    Yaml,
}

impl Form {
    pub fn any() -> impl Strategy<Value = Self> {
        select(&[Self::Json, Self::Pretty, Self::Yaml][..])
    }

    pub fn write(self, value: &Value) -> String {
        match self {
            Self::Json => value.to_string(),
            Self::Pretty => format!("{value:#}"),
            Self::Yaml => serde_saphyr::to_string(value).unwrap(),
        }
    }
}

/// Bytes: written documents with some damage, or anything.
pub fn bytes(seeds: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..6),
        select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        select(
            &["&a ", "*a", "<<: *a", "!Sub ", "!!binary ", "---\n", "...\n", "? ", "| \n", "\t", "\r", "{", "[", "- "]
                [..]
        )
        .prop_map(|mark| mark.as_bytes().to_vec()),
    ];
    let damage = vec((any::<Index>(), 0..12_usize, piece), 0..5);
    let damaged = (mutated(seeds), Form::any(), damage).prop_map(|(document, form, damage)| {
        let mut bytes = form.write(&document).into_bytes();
        for (at, length, piece) in damage {
            let start = at.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, piece);
        }
        bytes
    });
    prop_oneof![
        6 => damaged,
        1 => vec(any::<u8>(), 0..400),
        1 => any::<String>().prop_map(String::into_bytes),
        1 => (select(&["[", "{\"a\":", "- ", "? ", "a: {", "(", "'"][..]), 1..3_000_usize).prop_map(|(open, times)| open.repeat(times).into_bytes()),
    ]
}

/// A map, which may lack anything.
pub fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
