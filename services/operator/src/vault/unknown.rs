//! `citycode vault suspend-unknown`: a restore's last step. Who registered after the backup of the vault is in the log and
//! not in the vault; that person may register again, so the codes that the vault leads to nobody are suspended first.

mod place;

use std::path::PathBuf;
use std::sync::Arc;

use citycode_domain::time::Timestamp;
use citycode_event_store::{LogPosition, Position, Sequence};
use citycode_holder_log::HolderLog;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::problem::Code;
use clap::Args;
use serde_json::json;

use citycode_runtime::wiring::following::{FollowedRegister, follow_register};
use citycode_runtime::wiring::unknown_holders::{
    End, HoldersCodes, Whose, codes_to_end, end_codes, living_codes, unknown_people,
};
use citycode_runtime::wiring::{StartError, Surroundings, vault_age};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::Output;
use place::Place;

/// Above one living code in so many the count must be typed: more than a backup of yesterday lacks.
const LARGEST_SHARE: u64 = 1_000;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode vault suspend-unknown --config vault.toml --backup /backup/vault-2026-11-25 --dry-run\n  citycode vault suspend-unknown --data /var/lib/citycode --backup /backup/citycode-2026-11-25\n\nStop every issuer, or `citycode up`, first. On servers the NATS users are an issuer's of the log and of the vault, and the folder `keys` of the configuration holds vault-master.key. With --data the configuration is that of `citycode up`.\nWhoever is suspended registers again and gets new codes. Cut short, run it again."
)]
pub(super) struct UnknownArgs {
    /// The configuration file (TOML), of the services' form; with --data that of `citycode up`.
    #[arg(long, value_name = "FILE", env = "CITYCODE_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder of a `citycode up`, instead of a city on servers.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The backup whose vault was restored; it is refused where the vault that stands is another one or older. A folder
    /// that `vault back-up` made; with --data a copy of the data folder, or of its folder `vault`.
    #[arg(long, value_name = "FOLDER")]
    backup: PathBuf,
    /// Revoke the codes for good instead of suspending them.
    #[arg(long)]
    revoke: bool,
    /// How many codes are meant at most; asked for where they are more than one living code in 1,000.
    #[arg(long)]
    count: Option<u64>,
    /// Only list them.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    args: &UnknownArgs,
    output: Output,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(), Failure> {
    let surroundings = Surroundings {
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    };
    let place = Place::open(args, &surroundings).await?;
    let (log, followed) = fold(&place, &surroundings).await?;
    let vault = &*place.vault;
    let end = if args.revoke { End::Revoked } else { End::Suspended };
    let now = Timestamp(clock.now().0);
    let living = living_codes(&log, now);
    let people = unknown_people(vault, &log, now).await;
    let people = people.map_err(|error| failed(&error))?;
    let found = codes_to_end(&log, Whose::Of(&people), end, now);
    let codes = Listed::new(living, &found);
    if args.dry_run {
        return codes.tell(0, end, &[], output);
    }
    confirm(args.count, &codes)?;
    let known = followed.progress.position();
    let before = vault.erased_up_to().await.map_err(|error| failed(&error))?;
    // Before the mark moves past them: whom the log erased since the backup.
    let mark = before.clone().unwrap_or_else(|| vec![0; known.partitions()]);
    let mark = LogPosition::from_sequences(mark.into_iter().map(Sequence).collect());
    let compared = vault_age::compare(&*place.store, vault, mark, &known).await;
    let old_names = compared.map_err(StartError::into_failure)?.old_names;
    let ended = end_codes(&log, found, end, &surroundings).await;
    let ended = ended.map_err(|error| cut_short(error, end, &old_names))?;
    let reached: Vec<u64> = known.iter().map(|(_, sequence)| sequence.0).collect();
    let noted = vault.note_erased_up_to(before.as_deref(), &reached).await;
    if !noted.map_err(|error| cut_short(error, end, &old_names))? {
        return Err(cut_short("an issuer works on the vault meanwhile", end, &old_names));
    }
    codes.tell(ended, end, &old_names, output)
}

/// The codes that are meant, and how many live.
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

    fn tell(&self, ended: u64, end: End, old_names: &[Position], output: Output) -> Result<(), Failure> {
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
            ("living codes", self.living.to_string()),
            ("of people whom the vault does not know", self.count().to_string()),
        ];
        facts.extend(self.codes.iter().map(|code| ("code", code.clone())));
        facts.extend(
            old_names
                .iter()
                .map(|position| ("correct this name again", position.to_string())),
        );
        facts.push((if revoked { "revoked now" } else { "suspended now" }, ended.to_string()));
        output.thing(&whole, &facts)
    }
}

/// Refuses a number of codes that no ordinary backup lacks, until it was typed.
fn confirm(typed: Option<u64>, codes: &Listed) -> Result<(), Failure> {
    let (count, living) = (codes.count(), codes.living);
    let is_large = count * LARGEST_SHARE > living;
    // A run that was cut short ended some of them: what is left is no more than what was typed.
    if typed.map_or(!is_large, |most| count <= most) {
        return Ok(());
    }
    let why = format!("{count} of {living} living codes have a holder or guardian whom the vault does not know");
    Err(refused(
        why,
        &format!("look at them with --dry-run; if that is meant, say --count {count}"),
    ))
}

/// The register of the whole log, which is followed on, and a writer on it.
async fn fold(place: &Place, surroundings: &Surroundings) -> Result<(HolderLog, FollowedRegister), Failure> {
    let component = HealthRegistry::new().component("log");
    let clock = &surroundings.clock;
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

/// A failure after codes were ended, or may have been. What the vault lost is told now: the next run may not find it again.
fn cut_short(why: impl std::fmt::Display, end: End, old_names: &[Position]) -> Failure {
    let ended = if end == End::Revoked { "revoked" } else { "suspended" };
    let mut fix = "stop every issuer, mend that, and run it again as before: it goes on".to_owned();
    if !old_names.is_empty() {
        let positions: Vec<String> = old_names.iter().map(ToString::to_string).collect();
        fix = format!("{fix}. Names to correct again, by the log: {}", positions.join(", "));
    }
    let what = format_args!("codes may have been {ended} already, and the step is not finished");
    Failure::of_code(Code::Unavailable, what, why, Some(&fix))
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    let what = format_args!("the codes of unknown people were not all found");
    Failure::of_code(Code::Unavailable, what, error, Some("mend that and run it again"))
}

#[cfg(test)]
mod tests {
    use citycode_event_store::Partition;

    use super::*;

    #[test]
    fn a_count_is_the_most_that_is_meant_so_that_what_was_cut_short_goes_on_under_it() {
        let listed = |codes: usize| Listed {
            living: 10_000,
            codes: vec![String::new(); codes],
        };
        for (typed, codes, is_done) in [
            (None, 10, true),
            (None, 11, false),
            (Some(11), 11, true),
            (Some(11), 3, true),
            (Some(11), 12, false),
            (Some(0), 1, false),
        ] {
            assert_eq!(confirm(typed, &listed(codes)).is_ok(), is_done, "{typed:?} {codes}");
        }
    }

    #[test]
    fn a_step_that_was_cut_short_does_not_say_that_nothing_was_done_and_names_what_the_vault_lost() {
        let lost = [Position {
            partition: Partition(3),
            sequence: Sequence(17),
        }];
        let failure = cut_short("no answer", End::Suspended, &lost);
        let said = format!("{failure:?}");
        for part in ["may have been suspended", "run it again", &lost[0].to_string()] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
