//! Every request that a server 2.15 answers (`server/jetstream_api.go`, `server/events.go`), and every subject of the
//! city.

use super::table::Place;

/// Requests about one stream.
const OF_STREAM: [&str; 13] = [
    "STREAM.CREATE",
    "STREAM.UPDATE",
    "STREAM.INFO",
    "STREAM.DELETE",
    "STREAM.PURGE",
    "STREAM.SNAPSHOT",
    "STREAM.RESTORE",
    "STREAM.MSG.DELETE",
    "STREAM.MSG.GET",
    "STREAM.PEER.REMOVE",
    "STREAM.PEER.EVACUATE",
    "STREAM.CANCEL_MOVE",
    "STREAM.LEADER.STEPDOWN",
];
/// The same with more tokens after the stream's name.
const OF_STREAM_AND_MORE: [&str; 18] = [
    "DIRECT.GET.*",
    "DIRECT.GET.*.$KV.CC_VAULT.i.0000",
    "DIRECT.GET.*.$KV.CC_VAULT.r.keys",
    "DIRECT.GET.*.$KV.CC_VAULT.p.0000",
    "DIRECT.GET.*.cc.ev.v1.00.0000",
    "CONSUMER.CREATE.*",
    "CONSUMER.CREATE.*.thief.x",
    "CONSUMER.DURABLE.CREATE.*.thief",
    "CONSUMER.NAMES.*",
    "CONSUMER.LIST.*",
    "CONSUMER.INFO.*.thief",
    "CONSUMER.DELETE.*.thief",
    "CONSUMER.PAUSE.*.thief",
    "CONSUMER.UNPIN.*.thief",
    "CONSUMER.RESET.*.thief",
    "CONSUMER.MSG.NEXT.*.thief",
    "CONSUMER.LEADER.STEPDOWN.*.thief",
    "ACCOUNT.STREAM.MOVE.LOG.*",
];
/// Requests about no stream.
const OF_ACCOUNT: [&str; 11] = [
    "INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.TEMPLATE.NAMES",
    "META.LEADER.STEPDOWN",
    "META.RESCUE",
    "SERVER.REMOVE",
    "SERVER.EVACUATE",
    "ACCOUNT.PURGE.LOG",
    "ACCOUNT.STREAM.MOVE.LOG.CC_EV_00",
    "ACCOUNT.STREAM.CANCEL_MOVE.LOG.CC_EV_00",
];
/// Requests of the system account; `SERVER` stands for the server's id.
const OF_SYSTEM: [&str; 59] = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.IDZ",
    "$SYS.REQ.SERVER.PING.STATSZ",
    "$SYS.REQ.SERVER.PING.VARZ",
    "$SYS.REQ.SERVER.PING.SUBSZ",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.PING.ROUTEZ",
    "$SYS.REQ.SERVER.PING.GATEWAYZ",
    "$SYS.REQ.SERVER.PING.LEAFZ",
    "$SYS.REQ.SERVER.PING.ACCOUNTZ",
    "$SYS.REQ.SERVER.PING.JSZ",
    "$SYS.REQ.SERVER.PING.HEALTHZ",
    "$SYS.REQ.SERVER.PING.PROFILEZ",
    "$SYS.REQ.SERVER.PING.EXPVARZ",
    "$SYS.REQ.SERVER.PING.IPQUEUESZ",
    "$SYS.REQ.SERVER.PING.RAFTZ",
    "$SYS.REQ.SERVER.PING.RELOAD",
    "$SYS.REQ.SERVER.PING.KICK",
    "$SYS.REQ.SERVER.SERVER.IDZ",
    "$SYS.REQ.SERVER.SERVER.STATSZ",
    "$SYS.REQ.SERVER.SERVER.VARZ",
    "$SYS.REQ.SERVER.SERVER.SUBSZ",
    "$SYS.REQ.SERVER.SERVER.CONNZ",
    "$SYS.REQ.SERVER.SERVER.JSZ",
    "$SYS.REQ.SERVER.SERVER.HEALTHZ",
    "$SYS.REQ.SERVER.SERVER.PROFILEZ",
    "$SYS.REQ.SERVER.SERVER.RELOAD",
    "$SYS.REQ.SERVER.SERVER.KICK",
    "$SYS.REQ.SERVER.SERVER.LDM",
    "$SYS.REQ.ACCOUNT.LOG.SUBSZ",
    "$SYS.REQ.ACCOUNT.LOG.CONNZ",
    "$SYS.REQ.ACCOUNT.LOG.LEAFZ",
    "$SYS.REQ.ACCOUNT.LOG.JSZ",
    "$SYS.REQ.ACCOUNT.LOG.INFO",
    "$SYS.REQ.ACCOUNT.LOG.STATZ",
    "$SYS.REQ.ACCOUNT.LOG.CONNS",
    "$SYS.REQ.ACCOUNT.LOG.CLAIMS.LOOKUP",
    "$SYS.REQ.ACCOUNT.LOG.CLAIMS.UPDATE",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.ACCOUNT.NSUBS",
    "$SYS.REQ.CLAIMS.PACK",
    "$SYS.REQ.CLAIMS.LIST",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.CLAIMS.DELETE",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.USER.OTHER.INFO",
    "$SYS.DEBUG.SUBSCRIBERS",
    "$SYS.ACCOUNT.LOG.CLAIMS.UPDATE",
    "$SYS.ACCOUNT.LOG.SERVER.CONNS",
    "$SYS.SERVER.ACCOUNT.LOG.CONNS",
    "$SYS.SERVER.SERVER.STATSZ",
    "$SYS.SERVER.SERVER.SHUTDOWN",
    "$SYS.SERVER.SERVER.LAMEDUCK",
    "$SYS._INBOX.SERVER.x",
    "$NRG.AE.group",
    "$NRG.V.group",
    "$NRG.P.group",
    "$JSC.SI.LOG.CC_EV_00",
];
/// Subjects of the city, and subjects that the servers use internally.
const OF_CITY: [&str; 36] = [
    "cc.ev.v1.00.0001",
    "cc.ev.v1.03.ffff",
    "cc.ev.v2.00.0001",
    "cc.tail.v1.00",
    "cc.echo.v1",
    "cc.echo.v2.verifier.KEY",
    "cc.echo.v2.verifier.OTHER",
    "cc.echo.v2.audit.KEY",
    "cc.echo.v2.archive.KEY",
    "cc.echo.v2.revocation.KEY",
    "cc.echo.v2.issuer.KEY",
    "cc.echoed.v2",
    "$KV.CC_VAULT.p.0000",
    "$KV.CC_VAULT.i.0000",
    "$O.CC_STATUS_SNAPSHOTS.C.x",
    "$O.CC_STATUS_SNAPSHOTS.M.x",
    "$O.CC_LOG_SEGMENTS.C.x",
    "$O.CC_LOG_SEGMENTS.M.x",
    "$O.CC_REGISTER_SNAPSHOTS.C.x",
    "cc.assertion.v1.x.x",
    "cc.scan.v1.TODAY.x",
    "cc.reg.v1.TODAY.0000",
    "cc.scankey.v1.TODAY",
    "cc.query.v1",
    "cc.querykey.v1.x",
    "cc.access.v1.x.devices.x",
    "cc.access.v1.x.ended_sessions.now",
    "$JS.ACK.CC_EV_00.thief.1.1.1.1.0",
    "$JS.FC.CC_EV_00.thief.x",
    "$JS.SNAPSHOT.ACK.CC_EV_00.x",
    "$JS.SNAPSHOT.ACK.KV_CC_VAULT.x",
    "$JS.SNAPSHOT.RESTORE.CC_EV_00.x",
    "$JS.SNAPSHOT.RESTORE.KV_CC_VAULT.x",
    "$JS.EVENT.ADVISORY.API",
    "$JS.city.API.STREAM.NAMES",
    "_INBOX_KEY.x",
];

/// The streams of the requests: the existing ones, one partition too many, and an unknown one.
fn streams(place: &Place) -> Vec<String> {
    let fixed = [
        "CC_EV_00",
        "CC_EV_01",
        "CC_EV_02",
        "CC_EV_03",
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
    let days = ["CC_SCANS_", "CC_REGISTERED_"].map(|kind| format!("{kind}{}", place.today));
    fixed.map(str::to_owned).into_iter().chain(days).collect()
}

/// All subjects that are tried.
pub(super) fn everything(place: &Place, key: &str) -> Vec<String> {
    let mut all = Vec::new();
    for api in ["$JS.API", "cc.log", "cc.vault", "cc.scans"] {
        for stream in streams(place) {
            all.extend(OF_STREAM.iter().map(|verb| format!("{api}.{verb}.{stream}")));
            all.extend(
                OF_STREAM_AND_MORE
                    .iter()
                    .map(|question| format!("{api}.{}", question.replacen('*', &stream, 1))),
            );
        }
        all.extend(OF_ACCOUNT.iter().map(|verb| format!("{api}.{verb}")));
    }
    all.extend(place.fill(&OF_SYSTEM, key));
    all.extend(place.fill(&OF_CITY, key));
    all
}

/// All subjects of tried subscriptions.
pub(super) fn listened(key: &str) -> Vec<String> {
    let subjects = [
        ">",
        "*.>",
        "_INBOX.>",
        "_INBOX_>",
        "_INBOX_OTHER.>",
        "_INBOX_KEY.>",
        "$SYS.>",
        "$SYS.SERVER.*.STATSZ",
        "$SYS.ACCOUNT.>",
        "$SYS.REQ.>",
        "$NRG.>",
        "$JS.API.>",
        "$JS.EVENT.>",
        "$KV.>",
        "$O.>",
        "cc.>",
        "cc.ev.v1.>",
        "cc.tail.v1.*",
        "cc.tail.v1.00",
        "cc.echo.v1",
        "cc.echo.v2.*.*",
        "cc.echo.v2.verifier.*",
        "cc.echoed.v2",
        "cc.assertion.>",
        "cc.scan.>",
        "cc.scankey.>",
        "cc.query.>",
        "cc.querykey.>",
        "cc.access.>",
    ];
    subjects.map(|subject| subject.replace("KEY", key)).to_vec()
}
