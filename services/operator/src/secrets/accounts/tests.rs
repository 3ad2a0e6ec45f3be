use super::*;

const KEY: &str = "UKEY";

fn published(role: &str) -> Vec<String> {
    permissions(role, KEY, &Shape::default()).publish
}

#[test]
fn each_may_write_what_is_its_own_and_nothing_else() {
    for role in USERS {
        let publish = published(role);
        let may = |begins: &str| publish.iter().any(|subject| subject.starts_with(begins));
        let asks = |verb: &str| publish.iter().any(|subject| subject.contains(verb));
        assert_eq!(
            may("cc.ev"),
            ["issuer", "revocation", "restore"].contains(&role),
            "{role}"
        );
        assert_eq!(may("cc.assertion"), ["issuer", "revocation"].contains(&role), "{role}");
        assert_eq!(may("$KV"), role == "vault-issuer", "{role}");
        assert_eq!(may("$O."), role == "revocation", "{role}");
        assert_eq!(may("cc.reg"), role == "scans-verifier", "{role}");
        let makes = role.ends_with("provision") || ["restore", "scans-keeper"].contains(&role);
        assert_eq!(asks("STREAM.CREATE"), makes, "{role}");
        assert_eq!(asks("STREAM.UPDATE"), role == "upgrade", "{role}");
        assert_eq!(asks("STREAM.SNAPSHOT"), role == "vault-backup", "{role}");
        assert_eq!(asks("STREAM.DELETE"), role == "scans-keeper", "{role}");
        assert_eq!(may("$SYS"), role == "sys", "{role}");
        assert!(!asks("CONSUMER"), "{role}");
        let wild = publish
            .iter()
            .any(|subject| subject.starts_with(OWN_API) && subject.ends_with('*'));
        assert_eq!(wild, ["scans-verifier", "scans-keeper"].contains(&role), "{role}");
    }
}

#[test]
fn a_nonce_is_published_by_one_role_and_one_instance_alone() {
    for role in ["verifier", "audit", "archive", "revocation"] {
        let nonces: Vec<String> = published(role)
            .into_iter()
            .filter(|subject| subject.starts_with("cc.echo.v2"))
            .collect();
        assert_eq!(nonces, [format!("cc.echo.v2.{role}.{KEY}")]);
    }
    for role in [
        "issuer",
        "restore",
        "provision",
        "upgrade",
        "vault-issuer",
        "scans-keeper",
        "sys",
    ] {
        assert!(
            !published(role).iter().any(|subject| subject.starts_with("cc.echo.")),
            "{role}"
        );
    }
}

#[test]
fn readers_share_no_account_with_a_stream_and_none_with_each_other() {
    let readers = ["verifier", "audit", "archive", "vault-revocation", "vault-verifier"];
    for reader in readers {
        let sharing = USERS.iter().filter(|role| account(role) == account(reader));
        assert_eq!(sharing.count(), 1, "{reader}");
        let publish = published(reader);
        assert!(!publish.iter().any(|subject| subject.starts_with('$')), "{publish:?}");
    }
}

#[test]
fn an_account_has_room_for_the_streams_that_are_provisioned() {
    let shape = Shape {
        partitions: 4,
        instances: 2,
        scan_retention_days: 7,
    };
    let keyed = users(&shape).into_iter().map(|user| (user, KEY.to_owned()));
    let conf = conf(&keyed.collect::<Vec<_>>(), &shape);
    let limits: Vec<&str> = conf
        .lines()
        .filter(|line| line.contains("max_streams:"))
        .map(str::trim)
        .collect();
    assert_eq!(
        limits,
        [
            "jetstream: { max_streams: 7 }",
            "jetstream: { max_streams: 1 }",
            "jetstream: { max_streams: 19 }"
        ]
    );
    assert!(conf.contains("# verifier-2\n"), "{conf}");
    assert_eq!(Shape::remembered(&conf), shape);
}

#[test]
fn what_is_not_remembered_is_as_at_first() {
    assert_eq!(
        Shape::remembered("# Made by an earlier release\naccounts {\n"),
        Shape::default()
    );
    assert_eq!(
        Shape::remembered("# Of this city: partitions x, later 3"),
        Shape::default()
    );
    assert!(Shape::default().complaint().is_none());
    for partitions in [0, 257] {
        let shape = Shape {
            partitions,
            ..Shape::default()
        };
        assert!(shape.complaint().is_some());
    }
}
