//! `issue`: the rate of importing residents and issuing codes over gRPC on loopback, durable on the embedded store.
//!
//! An issue includes everything that `up` does: the vault's rows, signing, sealing, the log's commit, and folding the
//! register and a verifier's status before the change is acknowledged. Client and server share the machine's cores.

mod bare;
pub(crate) mod city;

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use citycode_testkit::Person;
use citycode_wire::proto::issuer::v1::import_request::Part;
use citycode_wire::proto::issuer::v1::{ImportOptions, ImportOutcome, ImportRequest, ImportRow, IssueRequest};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::report::{Figure, Goal, Report};
use crate::{Scale, folder};
use city::{Client, IssuerUp};

/// Rows of the import.
const ROWS: u64 = 100_000;
/// Codes issued one after the other.
const UNARY: u64 = 2_000;
/// Codes issued with [`IN_FLIGHT`] concurrent calls.
const UNARY_IN_FLIGHT: u64 = 20_000;
const IN_FLIGHT: usize = 64;
const KIND: &str = "sampling";
const CHANNEL: &str = "app";

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(report, scale))
}

async fn measure(report: &mut Report, scale: Scale) -> Result<()> {
    let folder = folder::temporary()?;
    let people: Vec<Person> = citycode_testkit::City::new(42, jiff::civil::date(2022, 8, 31), &[])
        .take(scale.of(ROWS) as usize)
        .collect();
    let (dependencies, vault) = city::embedded(folder.path())?;
    let up = IssuerUp::start(folder.path(), &dependencies).await?;
    let client = up.client().await?;
    let seconds = import(client.clone(), &people).await?;
    let (unary, in_flight) = (
        issue(client.clone(), &people, scale.of(UNARY), 1).await?,
        issue(client, &people, scale.of(UNARY_IN_FLIGHT), IN_FLIGHT).await?,
    );
    let vault_batches = vault.batches();
    up.stop().await?;
    // The files are closed once all references are dropped.
    drop((dependencies, vault));
    let limit = bare::measure(folder.path(), people.len() as u64, vault_batches)?;
    let codes = people.len() as f64;
    report.push(
        Figure::new("import_rate", codes / seconds, "codes/s")
            .reference(codes / limit.seconds)
            .goal(Goal::RatioAtLeast(0.5))
            .goal(Goal::AtLeast(5_000.0)),
    );
    report.push(Figure::new("issue_unary", unary, "codes/s").reference(limit.single_commits_a_second));
    report.push(Figure::new("issue_unary_64_in_flight", in_flight, "codes/s"));
    report.note(format!(
        "import: {codes} rows in {seconds:.2} s, in {} log and {vault_batches} vault transactions; bare redb writes the same {:.0} MB of rows in as many in {:.2} s",
        limit.log_batches,
        limit.bytes as f64 / 1e6,
        limit.seconds,
    ));
    Ok(())
}

/// Imports all people; returns the seconds.
pub(crate) async fn import(mut client: Client, people: &[Person]) -> Result<f64> {
    let options = ImportOptions {
        kind: KIND.into(),
        channel: CHANNEL.into(),
        ..ImportOptions::default()
    };
    let rows = (1u64..).zip(people).map(|(line, person)| {
        Part::Row(ImportRow {
            line,
            id_number: person.id_number.clone(),
            name: person.name.clone(),
            attestation: None,
        })
    });
    let parts: Vec<_> = std::iter::once(Part::Options(options))
        .chain(rows)
        .map(|part| ImportRequest { part: Some(part) })
        .collect();
    let start = Instant::now();
    let mut answers = client.import(futures::stream::iter(parts)).await?.into_inner();
    let mut issued = 0;
    while let Some(answer) = answers.message().await? {
        ensure!(
            answer.outcome() == ImportOutcome::Issued,
            "line {} was not issued: {:?}",
            answer.line,
            answer.problem
        );
        issued += 1;
    }
    ensure!(issued == people.len(), "some rows were not answered");
    Ok(start.elapsed().as_secs_f64())
}

/// Issues codes to different people; returns codes per second.
async fn issue(client: Client, people: &[Person], codes: u64, in_flight: usize) -> Result<f64> {
    let chosen = people.iter().cycle().take(codes as usize);
    let requests: Vec<_> = chosen
        .map(|person| IssueRequest {
            channel: CHANNEL.into(),
            kind: KIND.into(),
            id_number: person.id_number.clone(),
            ..IssueRequest::default()
        })
        .collect();
    let start = Instant::now();
    futures::stream::iter(requests)
        .map(|request| {
            let mut client = client.clone();
            async move { client.issue(request).await.context("an issue failed") }
        })
        .buffer_unordered(in_flight)
        .try_for_each(|answer| async move {
            ensure!(answer.into_inner().code.is_some(), "an issue without a code");
            Ok(())
        })
        .await?;
    Ok(codes as f64 / start.elapsed().as_secs_f64())
}
