//! How the tasks of a check end.

use std::future::pending;

use super::*;

#[tokio::test]
async fn the_error_of_one_task_ends_the_check_while_the_others_read_on() {
    let (read, progress) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _reading = read;
        pending::<Result<Checked, CheckError>>().await
    });
    tasks.spawn(async { Err(CheckError::Log(ReadError::Closed)) });
    let ended = gather(tasks, progress, |_| true).await;
    assert!(
        matches!(ended, Err(CheckError::Log(ReadError::Closed))),
        "{:?}",
        ended.err()
    );
}

#[tokio::test]
async fn results_are_added_up_and_the_last_progress_is_reported_and_may_cancel() {
    for goes_on in [true, false] {
        let (read, progress) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for commits in [REPORT_EVERY - 1, 2] {
            let read = read.clone();
            tasks.spawn(async move {
                read.send(commits).expect("the check receives it");
                Ok(Checked {
                    commits,
                    ..Checked::default()
                })
            });
        }
        drop(read);
        let mut reports = Vec::new();
        let ended = gather(tasks, progress, |read| {
            reports.push(read);
            goes_on
        })
        .await;
        assert_eq!(reports, [REPORT_EVERY + 1]);
        match ended {
            Ok(checked) => assert_eq!((checked.commits, goes_on), (REPORT_EVERY + 1, true)),
            Err(error) => assert!(matches!(error, CheckError::Cancelled) && !goes_on, "{error}"),
        }
    }
}
