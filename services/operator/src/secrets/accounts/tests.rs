use super::*;

const KEY: &str = "UKEY";

fn published(role: &str) -> Vec<String> {
    permissions(role, KEY, &Shape::default()).publish
}

#[test]
fn each_user_may_write_only_its_own_subjects() {
    for role in USERS {
        let publish = published(role);
        let may = |begins: &str| publish.iter().any(|subject| subject.starts_with(begins));
        let requests = |verb: &str| publish.iter().any(|subject| subject.contains(verb));
        assert_eq!(
            may("cc.ev"),
            ["issuer", "revocation", "restore"].contains(&role),
            "{role}"
        );
        assert_eq!(may("cc.assertion"), ["issuer", "revocation"].contains(&role), "{role}");
        assert_eq!(may("$KV"), role == "vault-issuer", "{role}");
        assert_eq!(may("$O."), role == "revocation", "{role}");
        assert_eq!(may("cc.reg"), role == "scans-verifier", "{role}");
        let creates = role.ends_with("provision") || ["restore", "scans-keeper"].contains(&role);
        assert_eq!(requests("STREAM.CREATE"), creates, "{role}");
        let appends_queries = ["queries-audit", "queries-issuer"].contains(&role);
        assert_eq!(may("cc.query"), appends_queries, "{role}");
        assert_eq!(may("cc.access"), role == "pages-portal", "{role}");
        assert_eq!(requests("CC_ACCESS_"), role.starts_with("pages-"), "{role}");
        assert!(!requests("STREAM.MSG.DELETE.CC_QUERIES"), "{role}");
        assert_eq!(requests("STREAM.UPDATE"), role == "upgrade", "{role}");
        assert_eq!(requests("STREAM.SNAPSHOT"), role == "vault-backup", "{role}");
        assert_eq!(requests("STREAM.DELETE"), role == "scans-keeper", "{role}");
        assert_eq!(may("$SYS"), role == "sys", "{role}");
        assert!(!requests("CONSUMER"), "{role}");
        let wildcard = publish
            .iter()
            .any(|subject| subject.starts_with(OWN_API) && subject.ends_with('*'));
        assert_eq!(wildcard, ["scans-verifier", "scans-keeper"].contains(&role), "{role}");
    }
}

#[test]
fn nonces_are_published_only_under_the_own_role_and_key() {
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
fn each_reader_has_its_own_account_without_streams() {
    let readers = [
        "verifier",
        "audit",
        "archive",
        "vault-revocation",
        "vault-verifier",
        "scans-revocation",
    ];
    for reader in readers {
        let sharing = USERS.iter().filter(|role| account(role) == account(reader));
        assert_eq!(sharing.count(), 1, "{reader}");
        let publish = published(reader);
        assert!(!publish.iter().any(|subject| subject.starts_with('$')), "{publish:?}");
    }
}

#[test]
fn revocation_services_read_sealed_records_and_not_the_keys_of_days() {
    let of = permissions("scans-revocation", KEY, &Shape::default());
    assert_eq!(
        of.refused,
        [
            "cc.scans.STREAM.MSG.GET.CC_SCAN_KEYS",
            "cc.scans.DIRECT.GET.CC_SCAN_KEYS"
        ]
    );
    for role in USERS.iter().filter(|role| **role != "scans-revocation") {
        let refused = permissions(role, KEY, &Shape::default()).refused;
        assert!(refused.is_empty(), "{role} may publish only what is named: {refused:?}");
    }
}

#[test]
fn accounts_are_limited_to_the_provisioned_streams() {
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
            "jetstream: { max_streams: 8 }",
            "jetstream: { max_streams: 1 }",
            "jetstream: { max_streams: 19 }",
            "jetstream: { max_streams: 2 }",
            "jetstream: { max_streams: 7 }"
        ]
    );
    assert!(conf.contains("# verifier-2\n"), "{conf}");
    assert_eq!(Shape::recorded(&conf), shape);
}

#[test]
fn unrecorded_properties_have_their_defaults() {
    assert_eq!(
        Shape::recorded("# Made by an earlier release\naccounts {\n"),
        Shape::default()
    );
    assert_eq!(
        Shape::recorded("# Of this city: partitions x, later 3"),
        Shape::default()
    );
    assert!(Shape::default().problem().is_none());
    for partitions in [0, 257] {
        let shape = Shape {
            partitions,
            ..Shape::default()
        };
        assert!(shape.problem().is_some());
    }
}
