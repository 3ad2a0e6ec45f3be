//! The vault's keys: the key of each service, and the keys derived from it (HKDF-SHA-256, RFC 5869).
//!
//! ```text
//! master                    vault-master.key: decrypts everything; only issuers have it
//!   ├ "…people v2"          people pages
//!   └ "…revocation v2"      vault-revocation.key: the two below; revocation services
//!       ├ "…reasons v2"     seals officers' reasons, together with the index entry of the person
//!       └ "…index v2"       vault-index.key: only index pages; verifiers
//! each table's
//!   ├ "wrap" ‖ vault id     wraps the keys of its table's pages
//!   └ "id" ‖ vault id       identifies that key in front of a page
//! ```
//! During a rotation of the master key a service has two keys, the old and the new one, and decrypts pages
//! under either.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::page_id::Table;

/// Length of the wrapping key's id in front of a page, in bytes.
pub(super) const KEY_ID_BYTES: usize = 8;

/// A key of the vault, as given to a service.
pub enum VaultKey {
    /// Decrypts everything.
    Master(Zeroizing<[u8; 32]>),
    /// Decrypts the index, and the key that seals officers' reasons.
    Revocation(Zeroizing<[u8; 32]>),
    /// Decrypts only the index, which maps ID numbers to holders.
    Index(Zeroizing<[u8; 32]>),
}

/// The keys with which a service opens the vault.
pub struct VaultKeys {
    /// The key under which everything is sealed, or was until the rotation.
    pub current: VaultKey,
    /// During a rotation of the master key: the new key, of the same kind.
    pub next: Option<VaultKey>,
}

impl VaultKeys {
    /// One key, for all times except during a rotation.
    #[must_use]
    pub fn only(current: VaultKey) -> Self {
        Self { current, next: None }
    }
}

/// Derives the key of revocation services from a master key.
#[must_use]
pub fn revocation_key(master: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    derived(master, &[b"citycode-vault revocation v2"])
}

/// Derives the key of verifiers, who only look up holders.
#[must_use]
pub fn index_key(master: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    index_of(&revocation_key(master))
}

fn index_of(revocation: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    derived(revocation, &[b"citycode-vault index v2"])
}

/// A key that wraps the keys of one table's pages.
pub(super) struct WrapKey {
    pub(super) id: [u8; KEY_ID_BYTES],
    pub(super) key: Zeroizing<[u8; 32]>,
}

/// All keys of a service.
pub(super) struct KeyRing {
    /// The last one is for pages that were never written; empty if the service does not have them.
    index: Vec<WrapKey>,
    people: Vec<WrapKey>,
    reasons: Vec<WrapKey>,
    /// The key of format 1 pages, whose tables shared a key.
    first_format: Option<Zeroizing<[u8; 32]>>,
    /// For vaults of format 1: the key of tags and of people's pages.
    pub(super) first_format_tags: Option<Zeroizing<[u8; 32]>>,
}

impl KeyRing {
    pub(super) fn new(keys: &VaultKeys, vault_id: &[u8; 16]) -> Self {
        let mut ring = Self {
            index: Vec::new(),
            people: Vec::new(),
            reasons: Vec::new(),
            first_format: None,
            first_format_tags: None,
        };
        for key in [Some(&keys.current), keys.next.as_ref()].into_iter().flatten() {
            match key {
                VaultKey::Index(key) => ring.index.push(wrap_key(key, vault_id)),
                VaultKey::Revocation(key) => ring.push_revocation(key, vault_id),
                VaultKey::Master(master) => {
                    ring.push_revocation(&revocation_key(master), vault_id);
                    let people = derived(master, &[b"citycode-vault people v2"]);
                    ring.people.push(wrap_key(&people, vault_id));
                }
            }
        }
        if let VaultKey::Master(master) = &keys.current {
            let wrapping = hmac::sign(&first_format(master, b"citycode-vault-wrap-v1"), vault_id);
            ring.first_format = Some(of_tag(&wrapping));
            let tags = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, &**master),
                b"citycode-vault-index-v1",
            );
            ring.first_format_tags = Some(of_tag(&tags));
        }
        ring
    }

    fn push_revocation(&mut self, key: &[u8; 32], vault_id: &[u8; 16]) {
        self.index.push(wrap_key(&index_of(key), vault_id));
        let reasons = derived(key, &[b"citycode-vault reasons v2"]);
        self.reasons.push(wrap_key(&reasons, vault_id));
    }

    fn of(&self, table: Table) -> &[WrapKey] {
        match table {
            Table::Index => &self.index,
            Table::People => &self.people,
            Table::Reasons => &self.reasons,
        }
    }

    /// Whether the service has a key of the table.
    pub(super) fn has(&self, table: Table) -> bool {
        !self.of(table).is_empty()
    }

    /// Whether this service may request more than single pages of the index.
    pub(super) fn is_master(&self) -> bool {
        self.has(Table::People)
    }

    pub(super) fn by_id(&self, table: Table, id: &[u8; KEY_ID_BYTES]) -> Option<&WrapKey> {
        self.of(table).iter().find(|key| key.id == *id)
    }

    /// The key for writing a page that is sealed under `id`: the same key, if the service has it. Otherwise it is
    /// the first one, which during a rotation is the old one, because other services may not have the new one yet.
    /// The rotation itself rewrites every page.
    pub(super) fn to_write(&self, table: Table, id: Option<&[u8; KEY_ID_BYTES]>) -> Option<&WrapKey> {
        let same = id.and_then(|id| self.by_id(table, id));
        same.or_else(|| self.of(table).first())
    }

    /// The key under which everything is sealed after a rotation of the master key.
    pub(super) fn newest(&self, table: Table) -> Option<&WrapKey> {
        self.of(table).last()
    }

    pub(super) fn first_format(&self) -> Option<&[u8; 32]> {
        self.first_format.as_deref()
    }
}

fn wrap_key(table_key: &[u8; 32], vault_id: &[u8; 16]) -> WrapKey {
    let id = derived(table_key, &[b"id", vault_id]);
    WrapKey {
        id: *id.first_chunk().expect("32 bytes are enough"),
        key: derived(table_key, &[b"wrap", vault_id]),
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

fn derived(secret: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let extracted: Prk = Salt::new(HKDF_SHA256, b"citycode-vault").extract(secret);
    let mut key = Zeroizing::new([0; 32]);
    let expanded = extracted.expand(info, Length).and_then(|okm| okm.fill(&mut *key));
    expanded.expect("HKDF-SHA-256 has up to 8,160 bytes");
    key
}

pub(super) fn first_format(master: &[u8; 32], purpose: &[u8]) -> hmac::Key {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, master), purpose);
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

fn of_tag(tag: &hmac::Tag) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_table_vault_and_master_and_an_index_key_decrypts_no_people() {
        let (vault, master) = ([1; 16], Zeroizing::new([7; 32]));
        let index = VaultKeys::only(VaultKey::Index(index_key(&master)));
        let all = VaultKeys::only(VaultKey::Master(master.clone()));
        let (index, all) = (KeyRing::new(&index, &vault), KeyRing::new(&all, &vault));
        assert!(!index.has(Table::People) && index.has(Table::Index) && index.first_format().is_none());
        let revocation = VaultKeys::only(VaultKey::Revocation(revocation_key(&master)));
        let revocation = KeyRing::new(&revocation, &vault);
        assert!(!index.has(Table::Reasons) && revocation.has(Table::Reasons) && !revocation.has(Table::People));
        assert_eq!(*revocation.index[0].key, *index.index[0].key);
        assert_eq!(
            *index.index[0].key, *all.index[0].key,
            "equal to that of the master key"
        );
        assert_ne!(*all.index[0].key, *all.people[0].key);
        let elsewhere = KeyRing::new(&VaultKeys::only(VaultKey::Master(master.clone())), &[2; 16]);
        assert_ne!(*all.people[0].key, *elsewhere.people[0].key);
        let replaced = VaultKeys {
            current: VaultKey::Master(master),
            next: Some(VaultKey::Master(Zeroizing::new([8; 32]))),
        };
        let ring = KeyRing::new(&replaced, &vault);
        let (old, new) = (&ring.people[0], &ring.people[1]);
        assert_ne!(old.id, new.id);
        assert_eq!(ring.to_write(Table::People, None).map(|key| key.id), Some(old.id));
        assert_eq!(
            ring.to_write(Table::People, Some(&new.id)).map(|key| key.id),
            Some(new.id)
        );
        assert_eq!(ring.newest(Table::People).map(|key| key.id), Some(new.id));
    }
}
