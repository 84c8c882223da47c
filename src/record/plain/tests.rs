use super::read;

#[test]
fn blocks_that_say_their_length_and_several_blocks_are_read() {
    // [1, 2] [3] as a block with its length in bytes, and one without.
    let bytes = [3, 4, 2, 4, 2, 6, 0];
    assert_eq!(read::<Vec<i64>>(&bytes).unwrap(), (vec![1, 2, 3], 0));
}

#[test]
fn hostile_bytes_are_refused_without_taking_memory_for_what_they_claim() {
    let endless = [0xff; 10];
    for bytes in [&[0x80; 20][..], &endless, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[2]] {
        assert!(read::<Vec<i64>>(bytes).is_err(), "{bytes:?}");
        assert!(read::<String>(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(read::<i64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).unwrap(), (i64::MIN, 0));
    assert!(read::<i64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).is_err());
    assert!(read::<i32>(&[0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    assert!(read::<bool>(&[2]).is_err());
    assert!(read::<Option<bool>>(&[4, 1]).is_err());
    assert!(read::<String>(&[4, 0xff, 0xfe]).is_err());
    assert_eq!(read::<bool>(&[1, 9]).unwrap(), (true, 1));
}
