//! Services that are killed during their work or cut off from their servers; afterwards the checker verifies the run.

use std::sync::Arc;

use citycode_testkit::{Draw, NatsProxy, Running, eventually, free_port};

use crate::city::{City, audit, behind, issuer, portal, revocation, verifier};
use crate::observations::{Chronicle, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn heavy_killed_issuers_and_verifiers_leave_no_partial_changes() {
    let seed = 61;
    let mut draw = Draw::new(seed);
    let city = Arc::new(City::on_one().await);
    city.provision().await;
    // The ports are fixed, so that a restarted issuer has the same address.
    let ports = [free_port(), free_port()];
    let start = async |number: usize| {
        let name = format!("issuer-{number}");
        city.launch(&issuer(), &name, ports[number], city.urls(), "").await
    };
    let mut issuers = vec![start(0).await, start(1).await];
    let revocation = city.start(&revocation(), "revocation", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let watching = city.start(&verifier(), "verifier-0", "").await;
    let dying = city.start(&verifier(), "verifier-1", "").await;
    let services = behind(
        &[issuers[0].url(), issuers[1].url()],
        &[revocation.url()],
        &[watching.url()],
        &[audit.url()],
    );
    let portals = [
        city.start(&portal(), "portal-0", &services).await,
        city.start(&portal(), "portal-1", &services).await,
    ];
    let chronicle = Chronicle::begin(&city, &[&portals[0], &portals[1]], seed).await;
    chronicle.progress(40).await;
    // Its snapshot contains the commits up to now.
    drop(dying.kill_9().await);
    for number in [0, 1, 1, 0] {
        chronicle.progress(10 + draw.below(30)).await;
        drop(issuers.remove(number).kill_9().await);
        issuers.insert(number, start(number).await);
    }
    chronicle.progress(20).await;
    let dying = killed_during_replay(&city, "verifier-1").await;
    chronicle.progress(20).await;
    chronicle
        .end(vec![("verifier-0", watching), ("verifier-1", dying)])
        .await;
}

/// Kills a verifier that has replayed a part of the missed commits, and restarts it.
async fn killed_during_replay(city: &City, name: &str) -> Running {
    let proxy = NatsProxy::to(&city.urls()[0], "cc.ev.").await;
    // The bandwidth allows one or two commits at a time, fewer than are written meanwhile.
    proxy.throttle(512);
    let port = free_port();
    let via_proxy = [proxy.address().to_owned()];
    let program = verifier();
    let starting = city.launch(&program, name, port, &via_proxy, "");
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    let amid = eventually("the log is being read", PATIENCE, || async {
        folded(&metrics).await > 0
    });
    tokio::select! {
        _ = starting => panic!("it read the whole log through the throttled proxy"),
        () = amid => {}
    }
    // Dropping the future killed the process.
    city.start(&verifier(), name, "").await
}

async fn folded(metrics: &str) -> u64 {
    let Ok(answer) = reqwest::get(metrics).await else {
        return 0;
    };
    let text = answer.text().await.unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("citycode_verifier_folded_events_total "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_services_cut_off_from_their_servers_under_load_lose_nothing_and_recover() {
    let seed = 62;
    let mut draw = Draw::new(seed);
    let city = Arc::new(City::on_one().await);
    city.provision().await;
    let mut proxies = Vec::new();
    for _ in 0..4 {
        proxies.push(NatsProxy::to(&city.server().url(), "cc.ev.").await);
    }
    let issuers = [
        city.start_via_proxy(&issuer(), "issuer-0", proxies[0].address()).await,
        city.start_via_proxy(&issuer(), "issuer-1", proxies[1].address()).await,
    ];
    let verifiers = [
        city.start_via_proxy(&verifier(), "verifier-0", proxies[2].address())
            .await,
        city.start_via_proxy(&verifier(), "verifier-1", proxies[3].address())
            .await,
    ];
    let revocation = city.start(&revocation(), "revocation", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    let services = behind(
        &[issuers[0].url(), issuers[1].url()],
        &[revocation.url()],
        &[verifiers[0].url(), verifiers[1].url()],
        &[audit.url()],
    );
    let portals = [
        city.start(&portal(), "portal-0", &services).await,
        city.start(&portal(), "portal-1", &services).await,
    ];
    let chronicle = Chronicle::begin(&city, &[&portals[0], &portals[1]], seed).await;
    chronicle.progress(20 + draw.below(20)).await;
    let (cut_issuer, cut_verifier) = (draw.below(2), 2 + draw.below(2));
    for proxy in [cut_issuer, cut_verifier] {
        proxies[usize::try_from(proxy).expect("small")].close();
    }
    chronicle.progress(12).await;
    for proxy in &proxies {
        proxy.open();
    }
    // All of them at once: no service can write or prove freshness.
    chronicle.progress(20).await;
    for proxy in &proxies {
        proxy.close();
    }
    eventually("both verifiers say so", PATIENCE, || async {
        let mut both = true;
        for verifier in &verifiers {
            let health = reqwest::get(format!("{}/health/ready", verifier.url())).await;
            both &= health.is_ok_and(|answer| answer.status() == 503);
        }
        both
    })
    .await;
    for proxy in &proxies {
        proxy.open();
    }
    chronicle.progress(20).await;
    let [first, second] = verifiers;
    chronicle.end(vec![("verifier-0", first), ("verifier-1", second)]).await;
}
