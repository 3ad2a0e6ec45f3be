//! `citycode vault suspend-unknown`: the last step of a restore. A person who registered after the vault's backup is in
//! the log and not in the vault, and can register again; so the codes of holders who are not in the vault are suspended
//! first.

mod place;

use std::path::PathBuf;
use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::{LogPosition, Position, Sequence};
use citycode_holder_log::HolderLog;
use citycode_issuer::unknown_holders::{
    AffectedPeople, End, HoldersCodes, codes_to_end, end_codes, living_codes, unknown_people,
};
use citycode_issuer::vault_age;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::problem::Code;
use clap::Args;
use serde_json::json;

use citycode_runtime::wiring::following::{FollowedRegister, follow_register};
use citycode_runtime::wiring::{Environment, StartError};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;
use place::Place;

/// If more than one in so many codes that are not dead is affected, the count must be confirmed: a backup of yesterday
/// lacks fewer.
const LARGEST_SHARE: u64 = 1_000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode vault suspend-unknown --config vault.toml --backup /backup/vault-2026-11-25 --dry-run\n  citycode vault suspend-unknown --data /var/lib/citycode --backup /backup/citycode-2026-11-25\n\nStop every issuer, or `citycode up`, first. On servers the NATS users are `issuer` and `vault-issuer`, and the folder `keys` of the configuration contains vault-master.key. With --data the configuration is that of `citycode up`.\nAffected people register again and get new codes. If it is interrupted, run it again."
)]
pub(super) struct UnknownArgs {
    /// The configuration file (TOML), in the services' format; with --data that of `citycode up`.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder of a `citycode up`, instead of a city on servers.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The restored backup: a folder of `vault back-up`; with --data a copy of the data folder, or of its folder
    /// `vault`. It is refused if the current vault is another one or older.
    #[arg(long, value_name = "FOLDER")]
    backup: PathBuf,
    /// Revoke the codes permanently instead of suspending them.
    #[arg(long)]
    revoke: bool,
    /// The largest number of codes to suspend; required if it is more than one in 1,000 of the codes that are not dead.
    #[arg(long)]
    count: Option<u64>,
    /// List the codes only.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    args: &UnknownArgs,
    output: Output,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    let environment = Environment {
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    };
    let place = Place::open(args, &environment).await?;
    let (log, followed) = fold(&place, &environment).await?;
    let vault = &*place.vault;
    let end = if args.revoke { End::Revoked } else { End::Suspended };
    let now = Timestamp(clock.now().0);
    let living = living_codes(&log, now);
    let people = unknown_people(vault, &log, now).await;
    let people = people.map_err(|error| failed(&error))?;
    let found = codes_to_end(&log, AffectedPeople::Of(&people), end, now);
    let codes = Listed::new(living, &found);
    if args.dry_run {
        return codes.print(0, end, &[], output);
    }
    confirm(args.count, &codes)?;
    let folded = followed.progress.position();
    let before = vault.erased_up_to().await.map_err(|error| failed(&error))?;
    // Erasures that the log recorded since the backup are applied before the mark moves past them.
    let mark = before.clone().unwrap_or_else(|| vec![0; folded.partitions()]);
    let mark = LogPosition::from_sequences(mark.into_iter().map(Sequence).collect());
    let compared = vault_age::compare(&*place.store, vault, mark, &folded).await;
    let compared = compared.map_err(|error| StartError::from(error).into_failure())?;
    let old_names = compared.old_names;
    let ended = end_codes(&log, found, end, &**clock, &**entropy).await;
    let ended = ended.map_err(|error| interrupted(error, end, &old_names))?;
    let reached: Vec<u64> = folded.iter().map(|(_, sequence)| sequence.0).collect();
    let noted = vault.note_erased_up_to(before.as_deref(), &reached).await;
    if !noted.map_err(|error| interrupted(error, end, &old_names))? {
        return Err(interrupted("an issuer used the vault meanwhile", end, &old_names));
    }
    codes.print(ended, end, &old_names, output)
}

/// The affected codes, and the number of codes that are not dead.
struct Listed {
    living: u64,
    codes: Vec<String>,
}

impl Listed {
    fn new(living: u64, found: &[HoldersCodes]) -> Self {
        let codes = found.iter().flat_map(|one| &one.codes);
        let mut codes: Vec<String> = codes.map(ToString::to_string).collect();
        codes.sort_unstable();
        Self { living, codes }
    }

    fn count(&self) -> u64 {
        self.codes.len() as u64
    }

    fn print(&self, ended: u64, end: End, old_names: &[Position], output: Output) -> Result<(), Failure> {
        let revoked = end == End::Revoked;
        let whole = json!({
            "living": self.living,
            "unknown": self.count(),
            "ended": ended,
            "revoked": revoked,
            "codes": self.codes,
            "old_names": old_names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        let mut facts = vec![
            ("codes that are not dead", self.living.to_string()),
            ("codes of people who are not in the vault", self.count().to_string()),
        ];
        facts.extend(self.codes.iter().map(|code| ("code", code.clone())));
        facts.extend(
            old_names
                .iter()
                .map(|position| ("repeat this name correction", position.to_string())),
        );
        facts.push((if revoked { "revoked now" } else { "suspended now" }, ended.to_string()));
        output.thing(&whole, &facts)
    }
}

/// Refuses an unusually large number of codes unless it was confirmed.
fn confirm(confirmed: Option<u64>, codes: &Listed) -> Result<(), Failure> {
    let (count, living) = (codes.count(), codes.living);
    let is_large = count * LARGEST_SHARE > living;
    // The confirmed count is an upper limit, because an interrupted run has suspended some of the codes already.
    if confirmed.map_or(!is_large, |limit| count <= limit) {
        return Ok(());
    }
    let why = format!("{count} of {living} codes that are not dead have a holder or guardian who is not in the vault");
    Err(refused(
        why,
        &format!("list them with --dry-run; to confirm, give --count {count}"),
    ))
}

/// Folds the register from the whole log, keeps following the log, and opens a writer on it.
async fn fold(place: &Place, environment: &Environment) -> Result<(HolderLog, FollowedRegister), Failure> {
    let component = HealthRegistry::new().component("log");
    let clock = &environment.clock;
    let followed = follow_register(&place.store, &place.register, Vec::new(), None, component, clock).await;
    let followed = followed.map_err(StartError::into_failure)?;
    let progress = &followed.progress;
    progress.wait_until_live().await.map_err(|error| failed(&error))?;
    let register = Arc::clone(&followed.register);
    let log = HolderLog::new(Arc::clone(&place.store), register, progress.clone(), Vec::new());
    Ok((log, followed))
}

fn refused(why: impl std::fmt::Display, what_to_do: &str) -> Failure {
    Failure::local("nothing was suspended", why, what_to_do)
}

/// A failure after codes were ended, or may have been. It lists the lost name corrections, which the next run may not
/// find again.
fn interrupted(why: impl std::fmt::Display, end: End, old_names: &[Position]) -> Failure {
    let ended = if end == End::Revoked { "revoked" } else { "suspended" };
    let mut fix = "stop every issuer, fix the cause, and run it again: it continues".to_owned();
    if !old_names.is_empty() {
        let positions: Vec<String> = old_names.iter().map(ToString::to_string).collect();
        fix = format!(
            "{fix}. Name corrections to repeat, by position: {}",
            positions.join(", ")
        );
    }
    let what = format_args!("codes may have been {ended} already, and the step is not finished");
    Failure::of_code(Code::Unavailable, what, why, Some(&fix))
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    let what = format_args!("not all codes of unknown people were found");
    Failure::of_code(Code::Unavailable, what, error, Some("fix the cause and run it again"))
}

#[cfg(test)]
mod tests {
    use citycode_event_store::Partition;

    use super::*;

    #[test]
    fn the_confirmed_count_is_an_upper_limit_so_that_an_interrupted_run_can_continue() {
        let listed = |codes: usize| Listed {
            living: 10_000,
            codes: vec![String::new(); codes],
        };
        for (confirmed, codes, is_done) in [
            (None, 10, true),
            (None, 11, false),
            (Some(11), 11, true),
            (Some(11), 3, true),
            (Some(11), 12, false),
            (Some(0), 1, false),
        ] {
            assert_eq!(
                confirm(confirmed, &listed(codes)).is_ok(),
                is_done,
                "{confirmed:?} {codes}"
            );
        }
    }

    #[test]
    fn the_failure_of_an_interrupted_run_lists_lost_name_corrections() {
        let lost = [Position {
            partition: Partition(3),
            sequence: Sequence(17),
        }];
        let failure = interrupted("no answer", End::Suspended, &lost);
        let text = format!("{failure:?}");
        for part in ["may have been suspended", "run it again", &lost[0].to_string()] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
