use super::super::specimen::planned;
use super::*;

fn is_same(one: &SharedTerms, other: &SharedTerms) -> bool {
    Arc::ptr_eq(&one.0, &other.0)
}

/// Bytes as they stand in a store.
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[test]
fn the_same_terms_are_in_memory_once_whichever_file_they_are_of() {
    let (one, other) = (planned("f-1", "shared"), planned("f-2", "shared"));
    let terms = SharedTerms::of(&one);
    assert!(is_same(&terms, &SharedTerms::of(&other)));
    let stored = postcard::to_stdvec(&terms).expect("terms are of known shapes");
    assert!(is_same(&terms, &postcard::from_bytes(&stored).expect("just written")));
    let elsewhere = SharedTerms::of(&PlannedDispatch { owner: "others".into(), ..one });
    assert!(!is_same(&terms, &elsewhere));
    assert_ne!(terms, elsewhere);
}

#[test]
fn a_receipt_is_not_among_them() {
    let with = |receipt: &str| {
        let mut plan = planned("f", "received");
        plan.confirmed_by.receipt = Some(receipt.to_owned());
        SharedTerms::of(&plan)
    };
    assert!(is_same(&with("sha256:one"), &with("sha256:two")));
    assert_eq!(with("sha256:one").confirmed_by.receipt, None);
}

#[test]
fn terms_that_cant_be_read_are_an_error_each_time() {
    let whole = postcard::to_stdvec(&*SharedTerms::of(&planned("f", "a"))).expect("terms are of known shapes");
    let longer = [&whole[..], b"x"].concat();
    for damaged in [&whole[..whole.len() - 1], &longer, b""] {
        let stored = postcard::to_stdvec(&Raw(damaged.to_vec())).expect("bytes are bytes");
        for _ in 0..2 {
            assert!(postcard::from_bytes::<SharedTerms>(&stored).is_err());
        }
    }
}

#[test]
fn what_nobody_has_any_more_makes_room() {
    let mut known = Known::default();
    let terms = |n: usize| {
        let plan = PlannedDispatch { owner: format!("owner-{n}"), ..planned("f", "many") };
        let terms = Terms::of(&plan);
        let bytes = postcard::to_stdvec(&terms).expect("terms are of known shapes").into();
        SharedTerms(Arc::new(Packed { terms, bytes }))
    };
    let kept = terms(0);
    known.learn(&kept);
    (1..=KNOWN_AT_MOST).for_each(|n| known.learn(&terms(n)));
    assert!(known.0.len() < 10, "{}", known.0.len());
    assert!(known.get(&kept.0.bytes).is_some_and(|found| is_same(&found, &kept)));
    // Though all are in use, there is room again.
    let all: Vec<SharedTerms> = (0..KNOWN_AT_MOST + 5).map(terms).collect();
    all.iter().for_each(|terms| known.learn(terms));
    assert!(known.0.len() < 20, "{}", known.0.len());
    assert!(known.get(&all.last().expect("many").0.bytes).is_some());
}
