//! The record of a person and its encoding inside the seal.
//!
//! ```text
//! record  = version:u8(1) person | version:u8(2) person changes
//! person  = holder-key:32 id-tag:32 id-number:18 flags:u8 name:text group:text
//! changes = count:u8 change-id:16… count:u8 (change-id:16 name:text)…   applied, oldest first; then staged, in order
//! text    = length:u16 (big-endian) bytes   flags bit 0: disability certificate attested; bit 1: a group follows
//! ```
//! Version 2 is written if the name was ever corrected, which requires a log with minimum reader version 2.

use core::fmt;

use citycode_domain::id_number::IdNumber;
use citycode_domain::ids::NameChangeId;
use citycode_domain::name::PersonName;
use zeroize::Zeroizing;

use crate::names::Names;
use crate::seal::HolderKey;

/// The data of a person that a channel supplies at registration.
#[derive(Clone)]
pub struct Person {
    /// The name.
    pub name: PersonName,
    /// Whether an authorised channel attested the disability certificate.
    pub disability: bool,
    /// A special group of the policy that an authorised channel attested.
    pub group: Option<String>,
}

/// What the vault stores about a person.
pub struct PersonFile {
    /// The 18 characters of the ID number.
    pub id_number: Zeroizing<[u8; 18]>,
    /// The name.
    pub name: Zeroizing<String>,
    /// Whether the disability certificate was attested.
    pub disability: bool,
    /// The attested special group.
    pub group: Option<String>,
    /// The key under which this holder's tokens and reasons are sealed.
    pub key: HolderKey,
    pub(crate) id_tag: [u8; 32],
    pub(crate) names: Names,
}

impl PersonFile {
    /// The change that set the present name; `None` if it was never corrected.
    #[must_use]
    pub fn named_by(&self) -> Option<NameChangeId> {
        self.names.applied.last().copied()
    }

    /// Whether a name is staged whose change may or may not be in the log.
    #[must_use]
    pub fn has_staged_name(&self) -> bool {
        !self.names.staged.is_empty()
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(…)")
    }
}

impl fmt::Debug for PersonFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonFile(…)")
    }
}

const VERSION: u8 = 1;
/// The version of records with changes of the name.
const VERSION_WITH_CHANGES: u8 = 2;
const CHANGE: usize = NameChangeId::LEN;
/// Bytes of a record of version 1 without its texts: version, holder key, ID tag, ID number, flags, and two lengths of two bytes.
const RECORD_BYTES: usize = 1 + 32 + 32 + 18 + 1 + 4;
const HAS_DISABILITY: u8 = 1;
const HAS_GROUP: u8 = 2;

pub(crate) fn encode(id_number: &IdNumber, person: &Person, key: &HolderKey, id_tag: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let group = person.group.as_deref();
    record(
        id_number.as_bytes(),
        (person.name.as_str(), person.disability, group),
        key,
        id_tag,
    )
}

/// Encodes the record of an existing person, with the person's existing key, under this tag.
pub(crate) fn encode_again(person: &PersonFile, id_tag: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let fields = (person.name.as_str(), person.disability, person.group.as_deref());
    let plain = record(&person.id_number, fields, &person.key, id_tag);
    let Names { applied, staged } = &person.names;
    if applied.is_empty() && staged.is_empty() {
        return plain;
    }
    let texts: usize = staged.iter().map(|(_, name)| CHANGE + 2 + name.len()).sum();
    // Allocated in one piece, because a growing buffer leaves copies that are not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(plain.len() + 2 + applied.len() * CHANGE + texts));
    bytes.push(VERSION_WITH_CHANGES);
    bytes.extend_from_slice(&plain[1..]);
    bytes.push(u8::try_from(applied.len()).expect("the number of remembered changes is bounded"));
    for change in applied {
        bytes.extend_from_slice(&change.0);
    }
    bytes.push(u8::try_from(staged.len()).expect("the number of staged names is bounded"));
    for (change, name) in staged {
        bytes.extend_from_slice(&change.0);
        push_text(&mut bytes, name);
    }
    bytes
}

fn record(
    id_number: &[u8; 18],
    (name, disability, group): (&str, bool, Option<&str>),
    key: &HolderKey,
    id_tag: &[u8; 32],
) -> Zeroizing<Vec<u8>> {
    let mut flags = 0;
    if disability {
        flags |= HAS_DISABILITY;
    }
    if group.is_some() {
        flags |= HAS_GROUP;
    }
    let group = group.unwrap_or("");
    // Allocated in one piece, as in [`encode_again`].
    let mut bytes = Zeroizing::new(Vec::with_capacity(RECORD_BYTES + name.len() + group.len()));
    bytes.push(VERSION);
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(id_tag);
    bytes.extend_from_slice(id_number);
    bytes.push(flags);
    for text in [name, group] {
        push_text(&mut bytes, text);
    }
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names and groups are bounded at parsing");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

pub(crate) fn decode(bytes: &[u8]) -> Option<PersonFile> {
    let (&version, rest) = bytes.split_first()?;
    if ![VERSION, VERSION_WITH_CHANGES].contains(&version) {
        return None;
    }
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (id_tag, rest) = rest.split_first_chunk::<32>()?;
    let (id_number, rest) = rest.split_first_chunk::<18>()?;
    let (&flags, rest) = rest.split_first()?;
    let (name, rest) = text(rest)?;
    let (group, rest) = text(rest)?;
    let (names, rest) = if version == VERSION_WITH_CHANGES {
        changes(rest)?
    } else {
        (Names::default(), rest)
    };
    rest.is_empty().then(|| PersonFile {
        id_number: Zeroizing::new(*id_number),
        name: Zeroizing::new(name.to_owned()),
        disability: flags & HAS_DISABILITY != 0,
        group: (flags & HAS_GROUP != 0).then(|| group.to_owned()),
        key: HolderKey::new(*key),
        id_tag: *id_tag,
        names,
    })
}

fn changes(bytes: &[u8]) -> Option<(Names, &[u8])> {
    let mut names = Names::default();
    let (&count, mut rest) = bytes.split_first()?;
    for _ in 0..count {
        let (change, behind) = rest.split_first_chunk::<CHANGE>()?;
        names.applied.push(NameChangeId(*change));
        rest = behind;
    }
    let (&count, mut rest) = rest.split_first()?;
    for _ in 0..count {
        let (change, behind) = rest.split_first_chunk::<CHANGE>()?;
        let (name, behind) = text(behind)?;
        names
            .staged
            .push((NameChangeId(*change), Zeroizing::new(name.to_owned())));
        rest = behind;
    }
    Some((names, rest))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((core::str::from_utf8(text).ok()?, rest))
}
