//! The subjects that each credential may publish and subscribe to; everything else that is tried is refused.

use std::collections::BTreeSet;

/// Properties that are known only once a city runs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) today: i64,
    pub(super) server: String,
}

impl Place {
    /// Inserts the day, the server and the user's key into subjects.
    pub(super) fn fill(&self, subjects: &[&str], key: &str) -> Vec<String> {
        let today = self.today.to_string();
        let fill = |subject: &&str| {
            let server = subject.replace(".SERVER.SERVER.", &format!(".SERVER.{}.", self.server));
            server.replace("KEY", key).replace("TODAY", &today)
        };
        // The names of the streams of keys contain the placeholder KEY.
        let keeps = |subject: &&str| {
            ["CC_SCAN_KEYS", "CC_QUERY_KEYS"]
                .iter()
                .any(|keys| subject.contains(keys))
        };
        let filled = subjects.iter().map(|subject| {
            if keeps(subject) {
                (*subject).to_owned()
            } else {
                fill(subject)
            }
        });
        filled.collect()
    }

    /// Expands a row of the table: `{EV}` stands for each partition, `{ANY}` for each stream of the requests, and
    /// `{NOT KEYS}` for each except that of the days' keys.
    pub(super) fn expand(&self, line: &[&str], key: &str) -> BTreeSet<String> {
        let partitions = ["CC_EV_00", "CC_EV_01", "CC_EV_02", "CC_EV_03"]
            .map(str::to_owned)
            .to_vec();
        let mut any = partitions.clone();
        let others = [
            "CC_EV_04",
            "OBJ_CC_STATUS_SNAPSHOTS",
            "OBJ_CC_REGISTER_SNAPSHOTS",
            "OBJ_CC_LOG_SEGMENTS",
            "CC_ASSERTION_USES",
            "KV_CC_VAULT",
            "CC_SCAN_KEYS",
            "CC_QUERIES",
            "CC_QUERY_KEYS",
            "CC_ACCESS_ENDED_SESSIONS",
            "CC_ACCESS_DEVICES",
            "THIEF",
        ];
        any.extend(others.map(str::to_owned));
        any.extend(["CC_SCANS_", "CC_REGISTERED_"].map(|kind| format!("{kind}{}", self.today)));
        let mut all = BTreeSet::new();
        for subject in line {
            if let Some(before) = subject.strip_suffix("{NOT KEYS}") {
                let others = any.iter().filter(|stream| *stream != "CC_SCAN_KEYS");
                all.extend(others.map(|stream| format!("{before}{stream}")));
                continue;
            }
            match (subject.split_once("{EV}"), subject.split_once("{ANY}")) {
                (Some((before, _)), _) => all.extend(partitions.iter().map(|stream| format!("{before}{stream}"))),
                (_, Some((before, _))) => all.extend(any.iter().map(|stream| format!("{before}{stream}"))),
                _ => all.extend(self.fill(&[subject], key)),
            }
        }
        all
    }
}

pub(super) const PUBLISHES: &[(&str, &[&str])] = &[
    (
        "provision",
        &[
            "$JS.API.STREAM.CREATE.{EV}",
            "$JS.API.STREAM.INFO.{EV}",
            "$JS.API.STREAM.CREATE.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.CREATE.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.CREATE.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.CREATE.CC_ASSERTION_USES",
            "$JS.API.STREAM.INFO.CC_ASSERTION_USES",
        ],
    ),
    (
        "upgrade",
        &[
            "$JS.API.STREAM.INFO.{EV}",
            "$JS.API.STREAM.UPDATE.{EV}",
            "$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
        ],
    ),
    (
        "issuer",
        &[
            "$JS.API.STREAM.INFO.{EV}",
            "$JS.API.STREAM.MSG.GET.{EV}",
            "$JS.API.DIRECT.GET.{EV}",
            "$JS.API.STREAM.INFO.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.MSG.GET.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.DIRECT.GET.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.MSG.GET.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.DIRECT.GET.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.INFO.CC_ASSERTION_USES",
            "$JS.API.STREAM.MSG.GET.CC_ASSERTION_USES",
            "cc.assertion.v1.x.x",
            "cc.ev.v1.00.0001",
            "cc.ev.v1.03.ffff",
            "cc.echoed.v2",
        ],
    ),
    (
        "revocation",
        &[
            "$JS.API.STREAM.INFO.{EV}",
            "$JS.API.STREAM.MSG.GET.{EV}",
            "$JS.API.DIRECT.GET.{EV}",
            "$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.MSG.GET.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.DIRECT.GET.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS",
            "$JS.API.STREAM.INFO.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.MSG.GET.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.DIRECT.GET.OBJ_CC_REGISTER_SNAPSHOTS",
            "$JS.API.STREAM.PURGE.OBJ_CC_REGISTER_SNAPSHOTS",
            "$O.CC_STATUS_SNAPSHOTS.C.x",
            "$O.CC_STATUS_SNAPSHOTS.M.x",
            "$O.CC_REGISTER_SNAPSHOTS.C.x",
            "$JS.API.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.MSG.GET.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.DIRECT.GET.OBJ_CC_LOG_SEGMENTS",
            "$JS.API.STREAM.PURGE.OBJ_CC_LOG_SEGMENTS",
            "$O.CC_LOG_SEGMENTS.C.x",
            "$O.CC_LOG_SEGMENTS.M.x",
            "$JS.API.STREAM.INFO.CC_ASSERTION_USES",
            "$JS.API.STREAM.MSG.GET.CC_ASSERTION_USES",
            "cc.assertion.v1.x.x",
            "cc.ev.v1.00.0001",
            "cc.ev.v1.03.ffff",
            "cc.echo.v1",
            "cc.echo.v2.revocation.KEY",
            "cc.echoed.v2",
        ],
    ),
    (
        "restore",
        &[
            "$JS.API.STREAM.CREATE.{EV}",
            "$JS.API.STREAM.INFO.{EV}",
            "$JS.API.STREAM.MSG.GET.{EV}",
            "$JS.API.DIRECT.GET.{EV}",
            "cc.ev.v1.00.0001",
            "cc.ev.v1.03.ffff",
        ],
    ),
    (
        "verifier",
        &[
            "cc.log.STREAM.INFO.{EV}",
            "cc.log.STREAM.MSG.GET.{EV}",
            "cc.log.DIRECT.GET.{EV}",
            "cc.log.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS",
            "cc.log.STREAM.MSG.GET.OBJ_CC_STATUS_SNAPSHOTS",
            "cc.log.DIRECT.GET.OBJ_CC_STATUS_SNAPSHOTS",
            "cc.log.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
            "cc.log.STREAM.MSG.GET.OBJ_CC_LOG_SEGMENTS",
            "cc.log.DIRECT.GET.OBJ_CC_LOG_SEGMENTS",
            "cc.echo.v1",
            "cc.echo.v2.verifier.KEY",
        ],
    ),
    (
        "audit",
        &[
            "cc.log.STREAM.INFO.{EV}",
            "cc.log.STREAM.MSG.GET.{EV}",
            "cc.log.DIRECT.GET.{EV}",
            "cc.echo.v1",
            "cc.echo.v2.audit.KEY",
        ],
    ),
    (
        "archive",
        &[
            "cc.log.STREAM.INFO.{EV}",
            "cc.log.STREAM.MSG.GET.{EV}",
            "cc.log.DIRECT.GET.{EV}",
            "cc.log.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS",
            "cc.log.STREAM.INFO.OBJ_CC_REGISTER_SNAPSHOTS",
            "cc.log.STREAM.INFO.OBJ_CC_LOG_SEGMENTS",
            "cc.echo.v1",
            "cc.echo.v2.archive.KEY",
        ],
    ),
    (
        "vault-provision",
        &["$JS.API.STREAM.CREATE.KV_CC_VAULT", "$JS.API.STREAM.INFO.KV_CC_VAULT"],
    ),
    (
        "vault-issuer",
        &[
            "$JS.API.STREAM.INFO.KV_CC_VAULT",
            "$JS.API.STREAM.MSG.GET.KV_CC_VAULT",
            "$JS.API.STREAM.MSG.DELETE.KV_CC_VAULT",
            "$JS.API.DIRECT.GET.KV_CC_VAULT",
            "$KV.CC_VAULT.p.0000",
            "$KV.CC_VAULT.i.0000",
        ],
    ),
    (
        "vault-backup",
        &[
            "$JS.API.STREAM.INFO.KV_CC_VAULT",
            "$JS.API.STREAM.SNAPSHOT.KV_CC_VAULT",
            "$JS.API.STREAM.RESTORE.KV_CC_VAULT",
            "$JS.SNAPSHOT.ACK.KV_CC_VAULT.x",
            "$JS.SNAPSHOT.RESTORE.KV_CC_VAULT.x",
        ],
    ),
    (
        "vault-revocation",
        &[
            "cc.vault.STREAM.INFO.KV_CC_VAULT",
            "cc.vault.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.i.0000",
            "cc.vault.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.r.keys",
        ],
    ),
    (
        "vault-verifier",
        &[
            "cc.vault.STREAM.INFO.KV_CC_VAULT",
            "cc.vault.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.i.0000",
        ],
    ),
    (
        "scans-provision",
        &[
            "$JS.API.STREAM.CREATE.CC_SCAN_KEYS",
            "$JS.API.STREAM.INFO.CC_SCAN_KEYS",
            "$JS.API.STREAM.MSG.GET.CC_SCAN_KEYS",
            "$JS.API.DIRECT.GET.CC_SCAN_KEYS",
        ],
    ),
    (
        "scans-verifier",
        &[
            "$JS.API.STREAM.INFO.{ANY}",
            "$JS.API.STREAM.MSG.GET.{ANY}",
            "$JS.API.DIRECT.GET.{ANY}",
            "cc.scan.v1.TODAY.x",
            "cc.reg.v1.TODAY.0000",
        ],
    ),
    (
        "scans-keeper",
        &[
            "$JS.API.STREAM.CREATE.{ANY}",
            "$JS.API.STREAM.INFO.{ANY}",
            "$JS.API.STREAM.DELETE.{ANY}",
            "$JS.API.STREAM.MSG.GET.{ANY}",
            "$JS.API.DIRECT.GET.{ANY}",
            "$JS.API.STREAM.MSG.DELETE.CC_SCAN_KEYS",
            "$JS.API.STREAM.NAMES",
            "cc.scankey.v1.TODAY",
        ],
    ),
    (
        "scans-revocation",
        &[
            "cc.scans.STREAM.INFO.{ANY}",
            "cc.scans.STREAM.MSG.GET.{NOT KEYS}",
            "cc.scans.DIRECT.GET.{NOT KEYS}",
        ],
    ),
    (
        "queries-provision",
        &[
            "$JS.API.STREAM.CREATE.CC_QUERIES",
            "$JS.API.STREAM.INFO.CC_QUERIES",
            "$JS.API.STREAM.CREATE.CC_QUERY_KEYS",
            "$JS.API.STREAM.INFO.CC_QUERY_KEYS",
        ],
    ),
    (
        "queries-audit",
        &[
            "$JS.API.STREAM.INFO.CC_QUERIES",
            "$JS.API.STREAM.MSG.GET.CC_QUERIES",
            "$JS.API.DIRECT.GET.CC_QUERIES",
            "$JS.API.STREAM.INFO.CC_QUERY_KEYS",
            "$JS.API.STREAM.MSG.GET.CC_QUERY_KEYS",
            "$JS.API.DIRECT.GET.CC_QUERY_KEYS",
            "$JS.API.STREAM.MSG.DELETE.CC_QUERY_KEYS",
            "cc.query.v1",
            "cc.querykey.v1.x",
        ],
    ),
    (
        "queries-issuer",
        &[
            "$JS.API.STREAM.INFO.CC_QUERIES",
            "$JS.API.STREAM.MSG.GET.CC_QUERIES",
            "$JS.API.DIRECT.GET.CC_QUERIES",
            "$JS.API.STREAM.INFO.CC_QUERY_KEYS",
            "$JS.API.STREAM.MSG.GET.CC_QUERY_KEYS",
            "$JS.API.DIRECT.GET.CC_QUERY_KEYS",
            "$JS.API.STREAM.MSG.DELETE.CC_QUERY_KEYS",
            "cc.query.v1",
            "cc.querykey.v1.x",
        ],
    ),
    (
        "pages-provision",
        &[
            "$JS.API.STREAM.CREATE.CC_ACCESS_ENDED_SESSIONS",
            "$JS.API.STREAM.INFO.CC_ACCESS_ENDED_SESSIONS",
            "$JS.API.STREAM.CREATE.CC_ACCESS_DEVICES",
            "$JS.API.STREAM.INFO.CC_ACCESS_DEVICES",
        ],
    ),
    (
        "pages-portal",
        &[
            "$JS.API.STREAM.INFO.CC_ACCESS_ENDED_SESSIONS",
            "$JS.API.STREAM.MSG.GET.CC_ACCESS_ENDED_SESSIONS",
            "$JS.API.STREAM.INFO.CC_ACCESS_DEVICES",
            "$JS.API.STREAM.MSG.GET.CC_ACCESS_DEVICES",
            "cc.access.v1.x.devices.x",
            "cc.access.v1.x.ended_sessions.now",
        ],
    ),
    (
        "sys",
        &[
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.SERVER.PING.IDZ",
            "$SYS.REQ.SERVER.PING.STATSZ",
            "$SYS.REQ.SERVER.PING.VARZ",
            "$SYS.REQ.SERVER.PING.CONNZ",
            "$SYS.REQ.SERVER.PING.ROUTEZ",
            "$SYS.REQ.SERVER.PING.ACCOUNTZ",
            "$SYS.REQ.SERVER.PING.JSZ",
            "$SYS.REQ.SERVER.PING.HEALTHZ",
            "$SYS.REQ.SERVER.PING.RAFTZ",
            "$SYS.REQ.SERVER.SERVER.IDZ",
            "$SYS.REQ.SERVER.SERVER.STATSZ",
            "$SYS.REQ.SERVER.SERVER.VARZ",
            "$SYS.REQ.SERVER.SERVER.CONNZ",
            "$SYS.REQ.SERVER.SERVER.JSZ",
            "$SYS.REQ.SERVER.SERVER.HEALTHZ",
        ],
    ),
];

const ITS_ANSWERS: &str = "_INBOX_KEY.>";

pub(super) const LISTENS: &[(&str, &[&str])] = &[
    ("provision", &[ITS_ANSWERS]),
    ("upgrade", &[ITS_ANSWERS]),
    ("issuer", WRITERS),
    ("revocation", WRITERS),
    ("restore", &[ITS_ANSWERS, "cc.tail.v1.*", "cc.tail.v1.00"]),
    ("verifier", READERS),
    ("audit", READERS),
    ("archive", READERS),
    ("vault-provision", &[ITS_ANSWERS]),
    ("vault-issuer", &[ITS_ANSWERS]),
    ("vault-backup", &[ITS_ANSWERS]),
    ("vault-revocation", &[ITS_ANSWERS]),
    ("vault-verifier", &[ITS_ANSWERS]),
    ("scans-provision", &[ITS_ANSWERS]),
    ("scans-verifier", &[ITS_ANSWERS]),
    ("scans-keeper", &[ITS_ANSWERS]),
    ("scans-revocation", &[ITS_ANSWERS]),
    ("queries-provision", &[ITS_ANSWERS]),
    ("queries-audit", &[ITS_ANSWERS]),
    ("queries-issuer", &[ITS_ANSWERS]),
    ("pages-provision", &[ITS_ANSWERS]),
    ("pages-portal", &[ITS_ANSWERS]),
    ("sys", &[ITS_ANSWERS]),
];

const READERS: &[&str] = &[ITS_ANSWERS, "cc.tail.v1.*", "cc.tail.v1.00", "cc.echoed.v2"];
const WRITERS: &[&str] = &[
    ITS_ANSWERS,
    "cc.tail.v1.*",
    "cc.tail.v1.00",
    "cc.echoed.v2",
    "cc.echo.v1",
    "cc.echo.v2.*.*",
    "cc.echo.v2.verifier.*",
];
