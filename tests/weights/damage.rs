//! Damaged headers: the first thing that is wrong, by file, tensor and byte.

use super::{file, home};
use proptest::prelude::*;
use std::fs;
use taut::ErrorKind;
use taut_nn::Weights;
use taut_tests::{At, Check, fail, kind_of};

/// Each kind of damage, and what is said of it.
pub(super) fn damaged_files(_: &At) -> Check {
    let one = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
    };
    let two = |a: [u64; 2], b: [u64; 2]| {
        let tensor = |name: &str, [from, to]: [u64; 2]| {
            format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to - from)
        };
        format!("{{{},{}}}", tensor("x", a), tensor("y", b))
    };
    let data = [0; 8];
    let damaged: &[(Vec<u8>, &str)] = &[
        (vec![], "truncated: 0 bytes, and the length of the header takes 8"),
        (vec![2, 0, 0], "truncated: 3 bytes, and the length of the header takes 8"),
        (
            u64::MAX.to_le_bytes().to_vec(),
            "bytes 0 to 8 give the header a length of 18446744073709551615 bytes, at most 100000000 are allowed",
        ),
        (
            vec![9, 0, 0, 0, 0, 0, 0, 0, b'{'],
            "truncated: a header of 9 bytes from byte 8 on, and the file has 9",
        ),
        ([&[3, 0, 0, 0, 0, 0, 0, 0], &b"{\xff}"[..]].concat(), "the header is not UTF-8 at byte 9"),
        (file("[]", &[]), "the header is no object: byte 8 is not '{'"),
        (file(" {}", &[]), "the header is no object: byte 8 is not '{'"),
        (file("", &[]), "the header is no object: byte 8 is not '{'"),
        (file("{} x", &[]), "at byte 11: trailing characters"),
        (
            file(r#"{"x":3}"#, &[]),
            "tensor \"x\": at byte 13: invalid type: integer `3`, expected an object with dtype, shape and data_offsets",
        ),
        (
            file(r#"{"x":{"dtype":"U8","shape":[]}}"#, &[]),
            "tensor \"x\": at byte 37: missing field `data_offsets`",
        ),
        (
            file(&one("F99", "[2]", 0, 8), &data),
            "tensor \"x\": at byte 26: the dtype \"F99\" is none of the format",
        ),
        (
            file(&one("F32", "[-2]", 0, 8), &data),
            "tensor \"x\": at byte 38: invalid value: integer `-2`, expected u64",
        ),
        (
            file(&one("F32", "[1,1,1,1,1,1,1,1,2]", 0, 8), &data),
            "tensor \"x\": at byte 54: more than 8 numbers",
        ),
        (
            file(&one("F32", "[4294967296,4294967296]", 0, 8), &data),
            "tensor \"x\": the number of elements of [4294967296, 4294967296] overflows; its data is at byte 82",
        ),
        (
            file(&one("F32", "[2]", 8, 0), &data),
            "tensor \"x\": data_offsets [8, 0] end before they begin; the data is at byte 62",
        ),
        (
            file(&one("F32", "[3]", 0, 12), &data),
            "tensor \"x\": truncated: data_offsets [0, 12], and the data has 8 bytes, at byte 63",
        ),
        (
            file(&one("F32", "[2]", u64::MAX - 7, u64::MAX), &data),
            "tensor \"x\": truncated: data_offsets [18446744073709551608, 18446744073709551615], and the data has 8 bytes, at byte 100",
        ),
        (
            file(&one("F32", "[3]", 0, 8), &data),
            "tensor \"x\": [3] of F32 takes 12 bytes, data_offsets [0, 8] give 8, at byte 62",
        ),
        (
            file(&one("F4", "[3]", 0, 8), &data),
            "tensor \"x\": [3] of F4 takes 12 bits, no whole bytes; its data is at byte 61",
        ),
        (file(&one("U8", "[6]", 0, 6), &data), "2 bytes after the last tensor, from byte 67 on"),
        (
            file(&one("U8", "[6]", 2, 8), &data),
            "tensor \"x\": begins at byte 63, and nobody owns those from 61 on",
        ),
        (file("{}", &data), "8 bytes after the last tensor, from byte 10 on"),
        (
            file(&two([0, 5], [4, 8]), &data),
            "tensor \"y\": begins at byte 117, within \"x\", which ends at 118",
        ),
        (
            file(&two([0, 8], [0, 8]), &data),
            "tensor \"y\": begins at byte 113, within \"x\", which ends at 121",
        ),
        (
            file(&two([0, 3], [5, 8]), &data),
            "tensor \"y\": begins at byte 118, and nobody owns those from 116 on",
        ),
        (
            file(&two([0, 4], [4, 8]).replace("\"y\"", "\"x\""), &data),
            "tensor \"x\": at byte 63: the name stands twice",
        ),
        (
            file(r#"{"x":{"dtype":"U8","dtype":"U8"}}"#, &[]),
            "tensor \"x\": at byte 39: \"dtype\" stands twice",
        ),
        (file(r#"{"__metadata__":{"a":"1","a":"2"}}"#, &[]), "at byte 35: \"a\" stands twice"),
        (
            file(r#"{"__metadata__":{"a":1}}"#, &[]),
            "at byte 29: invalid type: integer `1`, expected a string",
        ),
    ];
    let home = home()?;
    let path = home.path().join("x");
    let mut wrong = Vec::new();
    for (bytes, why) in damaged {
        fs::write(&path, bytes).map_err(fail)?;
        let want = taut::Error::corrupt(format!("weights: {}: {why}", path.display()));
        wrong.extend(match Weights::open(&path) {
            Err(error) if error == want => None,
            other => Some(format!("{other:?}\n and not {want:?}")),
        });
    }
    prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    prop_assert_eq!(kind_of(Weights::open(home.path().join("missing")))?, ErrorKind::Driver);
    Ok(())
}
