//! Against real files, and real sockets on the loopback interface.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::transport::hex;
use crate::transport::testing::soon;

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn announced(location: &str, bytes: &[u8]) -> Announced {
    let size = Some(bytes.len() as u64);
    Announced { location: location.into(), size, digest: Some(digest_of(bytes)), max_size: 1024 * 1024 }
}

fn of_path(path: &Path) -> String {
    Url::from_file_path(path).expect("an absolute path").to_string()
}

fn over(egress: Egress, places: Places) -> Contents {
    Contents::new(places, egress, Secrets::default(), Duration::from_secs(10))
}

fn below(root: &Path) -> Contents {
    over(Egress::with_loopback(), Places { roots: vec![root.to_owned()], ..Places::default() })
}

/// Reads a file whole; the code of what is wrong with it.
async fn read(contents: &Contents, announced: Announced) -> Result<Vec<u8>, &'static str> {
    soon(async {
        let opened = contents.open(announced).await.map_err(|fault| fault.code)?;
        opened.whole().await.map(|(bytes, _)| bytes).map_err(|fault| fault.code)
    })
    .await
}

/// Answers each connection with these bytes, and closes it.
async fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            stream.write_all(&answer).await.expect("written");
            let _ = stream.shutdown().await;
        }
    });
    format!("http://127.0.0.1:{port}/a.csv")
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn with_length(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("content-length: {}\r\n", body.len()), body)
}

#[tokio::test]
async fn a_file_is_read_whole_and_its_digest_found() {
    let dir = tempfile::tempdir().unwrap();
    // More than a few parts, and none.
    for bytes in [vec![7; 300_001], Vec::new()] {
        let path = dir.path().join("a b.csv");
        fs::write(&path, &bytes).unwrap();
        let contents = below(dir.path());
        assert_eq!(read(&contents, announced(&of_path(&path), &bytes)).await.as_ref(), Ok(&bytes));
        let unknown = Announced { size: None, digest: None, ..announced(&of_path(&path), &bytes) };
        let found = contents.open(unknown).await.unwrap().verify().await.unwrap();
        assert_eq!(found, Found { size: bytes.len() as u64, digest: digest_of(&bytes) });
        assert_eq!(read(&contents, announced(&server(with_length(&bytes)).await, &bytes)).await, Ok(bytes));
    }
}

#[tokio::test]
async fn another_file_than_announced_is_told_with_expected_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, b"found!").unwrap();
    let there = of_path(&path);
    let contents = below(dir.path());
    let chunked = answer("200 OK", "transfer-encoding: chunked\r\n", b"6\r\nfound!\r\n0\r\n\r\n");
    let (web, unsized_web) = (server(with_length(b"found!")).await, server(chunked).await);
    for location in [&there, &web, &unsized_web] {
        for (bytes, code, expected, found) in [
            (&b"other"[..], "size_differs", "expected 5 bytes", "found"),
            (b"found more", "size_differs", "expected 10 bytes", "found 6"),
            (b"other!", "digest_differs", &digest_of(b"other!"), &digest_of(b"found!")),
        ] {
            let fault = match contents.open(announced(location, bytes)).await {
                Ok(opened) => opened.verify().await.unwrap_err(),
                Err(fault) => fault,
            };
            assert_eq!((fault.kind, fault.code), (Kind::Final, code), "{fault}");
            assert!(fault.detail.contains(expected) && fault.detail.contains(found), "{fault}");
        }
    }
}

#[tokio::test]
async fn the_last_part_of_another_file_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut bytes = vec![1; 200_000];
    fs::write(&path, &bytes).unwrap();
    *bytes.last_mut().unwrap() = 2;
    let mut opened = below(dir.path()).open(announced(&of_path(&path), &bytes)).await.unwrap();
    let mut handed_out = 0;
    let fault = loop {
        match opened.next().await {
            Ok(part) => handed_out += part.expect("it ends with a fault").len(),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault.code, "digest_differs");
    assert!(handed_out > 0 && handed_out < bytes.len(), "{handed_out}");
    assert_eq!(opened.found(), None);
}

#[tokio::test]
async fn no_more_is_read_than_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, b"four").unwrap();
    let contents = below(dir.path());
    // A server that never comes to an end.
    let endless = answer("200 OK", "transfer-encoding: chunked\r\n", b"ffff\r\n");
    let limit = |location: String, size| Announced { size, max_size: 3, ..announced(&location, b"four") };
    assert_eq!(read(&contents, limit(of_path(&path), Some(4))).await, Err("too_large"));
    assert_eq!(read(&contents, limit(of_path(&path), None)).await, Err("too_large"));
    assert_eq!(read(&contents, limit(server(with_length(b"four")).await, None)).await, Err("too_large"));
    let mut endless = endless;
    endless.extend(vec![0; 100]);
    assert_eq!(read(&contents, limit(server(endless).await, None)).await, Err("too_large"));
}

#[tokio::test]
async fn nothing_outside_the_roots_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"s").unwrap();
    fs::write(root.join("here"), b"s").unwrap();
    symlink(outside.join("secret"), root.join("link")).unwrap();
    symlink("../outside/secret", root.join("relative")).unwrap();
    symlink(&outside, root.join("directory")).unwrap();
    symlink("../here", root.join("sub/inside")).unwrap();
    let contents = below(&root);
    let base = of_path(&root);
    for (location, expected) in [
        (format!("{base}/here"), Ok(b"s".to_vec())),
        (format!("{base}/sub/inside"), Ok(b"s".to_vec())),
        (format!("{base}/link"), Err("forbidden")),
        (format!("{base}/relative"), Err("forbidden")),
        (format!("{base}/directory/secret"), Err("forbidden")),
        (of_path(&outside.join("secret")), Err("location_refused")),
        (format!("{base}/../outside/secret"), Err("location_refused")),
        (format!("{base}/%2e%2e/outside/secret"), Err("location_refused")),
        (format!("{base}/..%2foutside%2fsecret"), Err("location_refused")),
        (format!("{base}-not/secret"), Err("location_refused")),
        (format!("{base}/sub"), Err("location_refused")),
        (base.clone(), Err("location_refused")),
        (format!("{base}/gone"), Err("missing")),
        (format!("{base}/here/below"), Err("missing")),
        ("file://elsewhere/etc/passwd".into(), Err("location_refused")),
        ("here".into(), Err("location_refused")),
        ("ftp://127.0.0.1/a".into(), Err("location_refused")),
    ] {
        let one = Announced { size: None, ..announced(&location, b"s") };
        assert_eq!(read(&contents, one).await, expected, "{location}");
    }
    let closed = over(Egress::public_only(), Places::default());
    assert_eq!(read(&closed, announced(&format!("{base}/here"), b"s")).await, Err("location_refused"));
}

#[tokio::test]
async fn a_pipe_is_no_file_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
    assert!(made.success());
    assert_eq!(read(&below(dir.path()), announced(&of_path(&path), b"")).await, Err("location_refused"));
}

#[tokio::test]
async fn a_root_that_is_away_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let contents = below(&dir.path().join("unmounted"));
    let fault = contents.open(announced(&of_path(&dir.path().join("unmounted/a")), b"a")).await.err().unwrap();
    assert_eq!((fault.kind, fault.code), (Kind::Transient(None), "unreadable"));
}

#[tokio::test]
async fn a_servers_answer_says_whether_asking_again_helps() {
    let contents = over(Egress::with_loopback(), Places::default());
    for (status, headers, kind, code) in [
        ("404 Not Found", "", Kind::Final, "missing"),
        ("403 Forbidden", "", Kind::Final, "forbidden"),
        ("302 Found", "location: http://127.0.0.1:1/\r\n", Kind::Final, "refused"),
        ("206 Partial Content", "content-range: bytes 0-0/2\r\n", Kind::Final, "refused"),
        ("503 Service Unavailable", "retry-after: 7\r\n", Kind::Transient(Some(7_000)), "unavailable"),
        ("429 Too Many Requests", "retry-after: never\r\n", Kind::Transient(None), "unavailable"),
        ("500 Internal Server Error", "", Kind::Transient(None), "unavailable"),
    ] {
        let url = server(answer(status, &format!("{headers}content-length: 0\r\n"), b"")).await;
        let fault = contents.open(announced(&url, b"x")).await.err().expect(status);
        assert_eq!((fault.kind, fault.code), (kind, code), "{status}");
    }
    let cut = server(answer("200 OK", "content-length: 5\r\n", b"12")).await;
    assert_eq!(read(&contents, announced(&cut, b"12345")).await, Err("broken_off"));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let fault = contents.open(announced(&format!("http://{nobody}/"), b"x")).await.err().unwrap();
    assert_eq!((fault.kind, fault.code), (Kind::Transient(None), "unreachable"));
}

#[tokio::test]
async fn the_guard_stands_before_files_too() {
    let url = server(with_length(b"secret")).await;
    let closed = over(Egress::public_only(), Places::default());
    for location in [url.clone(), url.replace("http:", "https:"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")] {
        assert_eq!(read(&closed, announced(&location, b"secret")).await, Err("location_refused"), "{location}");
    }
    let by_name = url.replace("http://127.0.0.1", "https://localhost");
    assert_eq!(read(&closed, announced(&by_name, b"secret")).await, Err("location_refused"));
}

#[cfg(not(feature = "s3"))]
#[tokio::test]
async fn a_store_that_is_not_built_in_is_named() {
    let contents = over(Egress::public_only(), Places::default());
    let fault = contents.open(announced("s3://bucket/key", b"")).await.err().unwrap();
    assert_eq!(fault.code, "location_refused");
    assert!(fault.detail.contains("`s3`"), "{fault}");
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn an_object_is_read_with_a_signature_and_under_the_guard() {
    let head = "content-length: 3\r\netag: \"1\"\r\nlast-modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let url = server(answer("200 OK", head, b"abc")).await;
    let options = [
        ("aws_endpoint", url.trim_end_matches("/a.csv")),
        ("aws_region", "eu-west-1"),
        ("aws_access_key_id", "id"),
        ("aws_secret_access_key", "key"),
        ("aws_allow_http", "true"),
    ];
    let options: BTreeMap<String, String> = options.map(|(k, v)| (k.into(), v.into())).into();
    let over = |egress| {
        let stores = BTreeMap::from([("s3".to_owned(), options.clone())]);
        over(egress, Places { stores, ..Places::default() })
    };
    assert_eq!(read(&over(Egress::with_loopback()), announced("s3://b/k", b"abc")).await, Ok(b"abc".to_vec()));
    assert_eq!(read(&over(Egress::public_only()), announced("s3://b/k", b"abc")).await, Err("location_refused"));
}
