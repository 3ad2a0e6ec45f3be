//! ID cards: beside a code, instead of one, and as something that a machine would search through.

use citycode_domain::admission::Reason;
use citycode_service_kit::problem::Code as ProblemCode;

use crate::city::{City, LI, WANG, caller, card, desk, request, words};

#[tokio::test]
async fn r19_a_search_for_the_number_behind_a_code_is_stopped_and_learns_nothing_from_being_stopped() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let with = |number: &str| {
        let mut request = request("staffed", &code.text, "");
        request.id_number = number.into();
        request
    };
    let mut tries = 0;
    let stopped = loop {
        tries += 1;
        assert!(tries < 100, "nobody stops the search");
        match city.verify(&desk(), with(LI)).await {
            Ok(answer) => assert_eq!(words(&answer).1, Reason::IdMismatch),
            Err(problem) => break problem,
        }
    };
    assert_eq!(stopped.code(), ProblemCode::RateLimited);
    let right = city.verify(&desk(), with(WANG)).await;
    assert_eq!(
        right.unwrap_err().code(),
        ProblemCode::RateLimited,
        "the right number answers no other than a wrong one"
    );
}

#[tokio::test]
async fn r27_a_malformed_number_is_refused_with_the_reason() {
    let city = City::new().await;
    let code = city.issue("offline", 1).await;
    let mut beside = request("staffed", &code.text, "");
    beside.id_number = "110105194912310021".into();
    let problem = city.verify(&desk(), beside).await.unwrap_err();
    assert_eq!(problem.code(), ProblemCode::InvalidIdNumber);
    let reader = caller(&["admin"]);
    let problem = city.verify(&reader, card("staffed", "12345", "")).await.unwrap_err();
    assert_eq!(problem.code(), ProblemCode::InvalidIdNumber);
}

#[tokio::test]
async fn a_card_alone_is_read_only_by_who_may_read_cards() {
    let city = City::new().await;
    let refused = city.verify(&desk(), card("staffed", WANG, "")).await.unwrap_err();
    assert_eq!(refused.code(), ProblemCode::NotAllowed);
    let mut reader = desk();
    reader.card_reader = true;
    let answer = city.verify(&reader, card("staffed", WANG, "")).await.unwrap();
    assert_eq!(
        words(&answer).1,
        Reason::Ok,
        "R21: a person unknown to the city counts as green"
    );
}

#[tokio::test]
async fn r31_a_card_reader_cannot_harvest_a_city() {
    let city = City::new().await;
    let mut reader = desk();
    reader.card_reader = true;
    let mut asked = 0u32;
    for day in 1..=28 {
        for serial in 0..200 {
            let mut number = format!("110105195001{day:02}{serial:03}");
            number.push(char::from(citycode_domain::id_number::check_character(
                number.as_bytes(),
            )));
            match city.verify(&reader, card("staffed", &number, "")).await {
                Ok(_) => asked += 1,
                Err(problem) => {
                    assert_eq!(problem.code(), ProblemCode::RateLimited);
                    assert!(asked >= 500, "a busy checkpoint is not stopped: {asked}");
                    return;
                }
            }
        }
    }
    panic!("{asked} people asked for, and nobody stopped it");
}
