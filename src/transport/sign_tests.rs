//! Against published signatures and some made by another implementation.

use super::*;

/// A 24-byte secret, and the signature that the specification's authors publish for it.
const PUBLISHED: (&str, &str, i64, &str, &str) = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1_614_265_330,
    r#"{"test": 2432232314}"#,
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
);
const ID: &str = "dlv_01J00000000000000000000000";
const TIME: i64 = 1_700_000_000;
const BODY: &[u8] = br#"{"file_id":"f-1","checksum":"sha256:abc"}"#;
const CURRENT: &str = "whsec_AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const PREVIOUS: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const SEED: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PUBLIC_KEY: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const OF_CURRENT: &str = "v1,tG2QuUWrmfyGkxj6W0fkp9QcHdu5Zbh9hu5LrW5b5Mo=";
const OF_PREVIOUS: &str = "v1,9zy3dRv+lKtqmJlYSMdUbvMS2m5RoDexnD7sfwlquT0=";
const OF_SEED: &str = "v1a,1nxF/UlB3axj46E0kY5jNqfeeem0/VIIsyoLpr0X4h29CYh5p1+pPCNPednDbgjchRaaOyk2wx7DYyICmhT4Cg==";

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

#[test]
fn signatures_are_the_published_ones() {
    let (key, id, time, body, signature) = PUBLISHED;
    assert_eq!(Signer::new(&secret(key)).unwrap().sign(id, time, body.as_bytes()).unwrap(), signature);
    for (key, signature) in [(CURRENT, OF_CURRENT), (PREVIOUS, OF_PREVIOUS), (SEED, OF_SEED)] {
        assert_eq!(Signer::new(&secret(key)).unwrap().sign(ID, TIME, BODY).unwrap(), signature);
    }
}

#[test]
fn an_ed25519_key_is_a_seed_or_a_pair() {
    let signer = Signer::new(&secret(SEED)).unwrap();
    assert_eq!(signer.public_key().as_deref(), Some(PUBLIC_KEY));
    let mut pair = STANDARD.decode(&SEED["whsk_".len()..]).unwrap();
    pair.extend(STANDARD.decode(&PUBLIC_KEY["whpk_".len()..]).unwrap());
    let of_pair = Signer::new(&secret(&format!("whsk_{}", STANDARD.encode(&pair)))).unwrap();
    assert_eq!(of_pair.sign(ID, TIME, BODY).unwrap(), OF_SEED);
    pair[40] ^= 1;
    assert_eq!(Signer::new(&secret(&format!("whsk_{}", STANDARD.encode(&pair)))).err(), Some(SignError::Secret));
}

#[test]
fn a_rotation_signs_twice_and_either_key_verifies() {
    let secrets = [secret(CURRENT), secret(PREVIOUS)];
    let key = "f-1.2026/b";
    let at = Timestamp(TIME * 1000 + 999);
    let [(_, id), (_, time), (_, signatures)] = headers(key, at, BODY, &secrets).unwrap();
    assert_eq!((id.as_str(), time.as_str()), (webhook_id(key).as_str(), "1700000000"));
    assert!(!id.contains('.'));
    assert_eq!(signatures.split(' ').count(), 2);
    for secret in &secrets {
        assert!(verify((&id, &time, &signatures), BODY, at, [secret]));
    }
    assert!(!verify((&id, &time, &signatures), BODY, at, [&secret(PUBLISHED.0)]));
}

#[test]
fn the_id_is_a_stated_hash_of_the_key() {
    // SHA-256("f-1/a"), computed by another implementation.
    assert_eq!(webhook_id("f-1/a"), "dlv_2ddfe053bbbc64683690b4db6e022764");
}

#[test]
fn what_was_changed_or_is_stale_does_not_verify() {
    let (now, time) = (Timestamp(TIME * 1000), TIME.to_string());
    let all = format!("v2,AAAA {OF_CURRENT} {OF_SEED}");
    assert!(verify((ID, &time, &all), BODY, now, [&secret(CURRENT)]));
    assert!(verify((ID, &time, &all), BODY, now, [&secret(PUBLIC_KEY)]));
    let later = |seconds: i64| now.plus_millis(seconds * 1000);
    for key in [CURRENT, PUBLIC_KEY] {
        let key = [&secret(key)];
        assert!(verify((ID, &time, &all), BODY, later(300), key));
        assert!(!verify((ID, &time, &all), BODY, later(301), key));
        assert!(!verify((ID, &time, &all), BODY, later(-301), key));
        assert!(!verify((ID, &time, &all), b"{}", now, key));
        assert!(!verify(("dlv_2", &time, &all), BODY, now, key));
        assert!(!verify((ID, "1700000001", &all), BODY, now, key));
        assert!(!verify((ID, "soon", &all), BODY, now, key));
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!verify((ID, &extreme.to_string(), &all), BODY, now, key));
        }
        assert!(!verify((ID, &time, ""), BODY, now, key));
    }
}

#[test]
fn secrets_that_would_not_protect_are_refused() {
    let short = format!("whsec_{}", STANDARD.encode([1; 23]));
    let long = format!("whsec_{}", STANDARD.encode([1; 65]));
    for text in ["", "whsec_", "whsec_!", &short, &long, "whsk_AAAA", "whsk_", PUBLIC_KEY] {
        assert_eq!(Signer::new(&secret(text)).err(), Some(SignError::Secret), "{text}");
    }
}
