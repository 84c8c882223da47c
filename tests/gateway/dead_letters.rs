use consign::record::{Topic, home_partition};
use serde_json::{Value, json};

use crate::world::{HOME_PARTITIONS, World};

const FROM: [(&str, &str); 5] = [
    ("consign-reason", "undecodable"),
    ("consign-detail", "schema id 12: unknown"),
    ("consign-topic", "consign.manifests"),
    ("consign-partition", "2"),
    ("consign-offset", "17"),
];

fn why() -> Value {
    json!({"reason": "schema 12 is registered again"})
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_and_opened() {
    let world = World::start().await;
    assert_eq!(world.get("/v1/dead-letters").await.expect(200), json!({"dead_letters": []}));
    world.dead_letter(Some(b"inv-1"), Some(b"\x00\xffjunk"), &FROM);
    world.dead_letter(None, Some(b"text"), &[]);
    world.dead_letter(Some(b"inv-3"), None, &FROM);
    let letters = world.get("/v1/dead-letters").await.expect(200);
    let offsets: Vec<&Value> = letters["dead_letters"].as_array().unwrap().iter().map(|l| &l["offset"]).collect();
    assert_eq!(offsets, [2, 1, 0]);
    let two = world.get("/v1/dead-letters?limit=2").await.expect(200);
    assert_eq!(two["dead_letters"].as_array().unwrap().len(), 2);
    let first = world.get("/v1/dead-letters/0/0").await.expect(200);
    let outside = &first["dead_letter"];
    assert_eq!((&outside["key"], &outside["reason"]), (&json!("inv-1"), &json!("undecodable")));
    assert_eq!((&outside["topic"], &outside["from_partition"]), (&json!("consign.manifests"), &json!(2)));
    assert_eq!((&outside["from_offset"], &outside["value_size"]), (&json!(17), &json!(6)));
    assert_eq!((&first["value_base64"], &first["value_text"]), (&json!("AP9qdW5r"), &Value::Null));
    assert_eq!(world.get("/v1/dead-letters/0/1").await.expect(200)["value_text"], "text");
    for nowhere in ["0/3", "9/0", "-1/0", "a/b", "0/-1"] {
        world.get(&format!("/v1/dead-letters/{nowhere}")).await.expect_problem(404, "CG322");
    }
    world.get("/v1/dead-letters?limit=0").await.expect_problem(400, "CG304");
}

#[tokio::test]
async fn one_is_put_back_byte_for_byte_at_home() {
    let world = World::start().await;
    let mut headers = FROM.to_vec();
    headers.push(("traceparent", "00-1"));
    let offset = world.dead_letter(Some(b"inv-1"), Some(b"\x00\xffjunk"), &headers);
    let put_back = world.post(&format!("/v1/dead-letters/0/{offset}/reinject"), &why()).await.expect(200);
    let home = home_partition("inv-1", HOME_PARTITIONS);
    assert_eq!((&put_back["topic"], &put_back["partition"]), (&json!("consign.manifests"), &json!(home)));
    let records = world.cluster.dump(Topic::Manifests);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].at.partition, home);
    assert_eq!(records[0].key.as_deref(), Some(b"inv-1".as_slice()));
    assert_eq!(records[0].value.as_deref(), Some(b"\x00\xffjunk".as_slice()));
    let names: Vec<&str> = records[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["traceparent", "consign-reinjected-by", "consign-reinjected-reason", "consign-reinjected-from"]);
    assert_eq!(records[0].header("consign-reinjected-by"), Some(b"local".as_slice()));
    assert_eq!(records[0].header("consign-reinjected-from"), Some(format!("0/{offset}").as_bytes()));
}

#[tokio::test]
async fn a_report_goes_to_the_partition_of_its_file() {
    let world = World::start().await;
    let mut headers = FROM;
    headers[2].1 = "consign.outcomes";
    let offset = world.dead_letter(Some(b"inv-1/billing"), Some(b"x"), &headers);
    world.post(&format!("/v1/dead-letters/0/{offset}/reinject"), &why()).await.expect(200);
    assert_eq!(world.cluster.dump(Topic::Outcomes)[0].at.partition, home_partition("inv-1", HOME_PARTITIONS));
}

#[tokio::test]
async fn what_can_not_work_or_is_not_safe_is_refused() {
    let world = World::start().await;
    let with = |n: usize, value: &'static str| {
        let mut headers = FROM;
        headers[n].1 = value;
        headers
    };
    for (key, value, headers) in [
        (None, Some(b"x".as_slice()), FROM.to_vec()),
        (Some(b"".as_slice()), Some(b"x"), FROM.to_vec()),
        (Some(b"inv-1"), None, FROM.to_vec()),
        (Some(b"inv-1"), Some(b"x"), with(0, "expired").to_vec()),
        (Some(b"inv-1"), Some(b"x"), with(2, "consign.file-state").to_vec()),
        (Some(b"inv-1"), Some(b"x"), with(2, "other.manifests").to_vec()),
        (Some(b"inv-1"), Some(b"x"), Vec::new()),
    ] {
        let offset = world.dead_letter(key, value, &headers);
        let path = format!("/v1/dead-letters/0/{offset}/reinject");
        world.post(&path, &why()).await.expect_problem(409, "CG331");
    }
    world.post("/v1/dead-letters/0/0/reinject", &json!({"reason": " "})).await.expect_problem(400, "CG303");
    world.post("/v1/dead-letters/0/99/reinject", &why()).await.expect_problem(404, "CG322");
    for topic in Topic::INPUTS {
        assert!(world.cluster.dump(topic).is_empty(), "{topic:?}");
    }
}
