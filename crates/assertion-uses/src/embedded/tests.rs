use zeroize::Zeroizing;

use super::*;

const NOW: i64 = 1_800_000_000;

fn key() -> UsesKey {
    UsesKey::new(Zeroizing::new([7; 32]))
}

fn used(assertion: u8, request: u8) -> AssertionUse {
    AssertionUse {
        assertion: [assertion; 32],
        request: [request; 32],
        made_at: NOW,
        expires_at: NOW + 100,
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> EmbeddedAssertionUses {
        self.open_with(None, MAX_USES)
    }

    fn open_with(&self, takes_from: Option<i64>, most: u64) -> EmbeddedAssertionUses {
        EmbeddedAssertionUses::with_capacity(&self.0.path().join("uses.redb"), key(), takes_from, most).unwrap()
    }
}

#[tokio::test]
async fn an_assertion_is_used_for_one_request_also_after_a_restart() {
    let folder = Folder::new();
    let uses = folder.open();
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::Now);
    assert_eq!(uses.register(used(2, 1), NOW).await.unwrap(), Used::Now);
    drop(uses);
    let uses = folder.open_with(Some(NOW + 50), MAX_USES);
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::Before);
    assert_eq!(uses.register(used(1, 2), NOW + 99).await.unwrap(), Used::ForAnother);
    assert_eq!(
        uses.register(used(3, 1), NOW).await.unwrap(),
        Used::Now,
        "the file existed before"
    );
}

#[tokio::test]
async fn of_concurrent_uses_one_is_the_first() {
    let uses = Arc::new(Folder::new().open());
    let registering = (0..8).map(|request| {
        let uses = Arc::clone(&uses);
        tokio::spawn(async move { uses.register(used(1, request), NOW).await.unwrap() })
    });
    let mut registered = Vec::new();
    for one in registering.collect::<Vec<_>>() {
        registered.push(one.await.unwrap());
    }
    registered.retain(|used| *used == Used::Now);
    assert_eq!(registered.len(), 1);
}

#[tokio::test]
async fn a_clock_set_back_does_not_revive_removed_uses_and_a_clock_jump_ahead_is_tolerated() {
    let uses = Folder::new().open();
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::Now);
    let mut later = used(2, 2);
    later.expires_at = NOW + 1_000_100;
    // The first use is removed.
    assert_eq!(uses.register(later, NOW + 1_000_000).await.unwrap(), Used::Now);
    assert_eq!(uses.register(used(1, 2), NOW).await.unwrap(), Used::TooOld);
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::TooOld);
    let mut fresh = used(3, 1);
    fresh.expires_at = NOW + 101;
    assert_eq!(uses.register(fresh, NOW + 1).await.unwrap(), Used::Now);
}

#[tokio::test]
async fn a_register_created_next_to_an_older_log_accepts_nothing_from_before() {
    let uses = Folder::new().open_with(Some(NOW + 1), MAX_USES);
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::TooOld);
    let mut fresh = used(1, 1);
    fresh.made_at = NOW + 1;
    assert_eq!(uses.register(fresh, NOW + 1).await.unwrap(), Used::Now);
}

#[tokio::test]
async fn a_full_register_refuses_new_uses_and_keeps_valid_ones() {
    let uses = Folder::new().open_with(None, 2);
    for assertion in [1, 2] {
        assert_eq!(uses.register(used(assertion, 1), NOW).await.unwrap(), Used::Now);
    }
    assert!(uses.register(used(3, 1), NOW).await.is_err());
    assert_eq!(uses.register(used(1, 2), NOW).await.unwrap(), Used::ForAnother);
    let mut fresh = used(3, 1);
    fresh.expires_at = NOW + 200;
    assert_eq!(
        uses.register(fresh, NOW + 100).await.unwrap(),
        Used::Now,
        "the others expired"
    );
}

#[tokio::test]
async fn a_register_under_another_key_is_reset_and_accepts_nothing_from_before() {
    let folder = Folder::new();
    drop(folder.open());
    let other = UsesKey::new(Zeroizing::new([8; 32]));
    let uses = EmbeddedAssertionUses::open(&folder.0.path().join("uses.redb"), other, Some(NOW + 1)).unwrap();
    assert_eq!(uses.register(used(1, 1), NOW).await.unwrap(), Used::TooOld);
}
