//! Rows of mapped arrays: those that were asked for, in the dtype that was asked for.

use crate::weights::home;
use proptest::{collection::vec, prelude::*, sample::select};
use std::{fs, path::PathBuf};
use taut::{DType, Device, ErrorKind, Kind, Spec, Tensor};
use taut_nn::Rows;
use taut_tests::{At, Check, Fill, Suite, fail, figures, kind_of, message_of, poison, same_tensors, upload};
use tempfile::TempDir;

pub(crate) fn trials(suite: &mut Suite) {
    suite.real("rows::are_those_of_the_array", are_those_of_the_array);
    suite.real("rows::golden_files", golden_files);
    suite.everywhere("rows::memory_is_the_rows", memory_is_the_rows);
    suite.everywhere("rows::that_are_not_there", that_are_not_there);
    suite.cpu("rows::damaged_files", damaged_files);
}

const FILES: [(&str, &[u8]); 5] = [
    ("f4.npy", include_bytes!("golden/files/f4.npy")),
    ("i8.npy", include_bytes!("golden/files/i8.npy")),
    ("b1.npy", include_bytes!("golden/files/b1.npy")),
    ("f2.npy", include_bytes!("golden/files/f2.npy")),
    ("f8.npy", include_bytes!("golden/files/f8.npy")),
];

/// Ranges and lists of rows of any dtype, as any dtype, from raw files and behind headers that leave them unaligned.
fn are_those_of_the_array(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    let shapes = vec(1..5usize, 0..3);
    let arrays = (select(at.dtypes()), select(at.dtypes()), shapes, 0..40usize, 0..1000u64, any::<bool>());
    at.for_some(2, (arrays, vec(0..40usize, 0..70)), |((stored, dtype, row, n, seed, is_npy), list)| {
        let shape = [&[n], &row[..]].concat();
        let numel = shape.iter().product();
        let all = upload(&Fill::Any.values(numel, stored, seed), &shape, stored, &at.device)?;
        let bytes = taut_tests::bytes(&all)?;
        let rows = match (is_npy, descr(stored)) {
            (true, Some(descr)) => {
                let shape = format!("{shape:?}").replace('[', "(").replace(']', ",)");
                let header = format!("{{\"shape\": {shape}, 'descr':'{descr}','fortran_order':False}}");
                fs::write(&path, npy(&header, &bytes)).map_err(fail)?;
                Rows::npy(&path)?
            }
            _ => {
                fs::write(&path, &bytes).map_err(fail)?;
                Rows::raw(&path, stored, &row)?
            }
        };
        prop_assert_eq!((rows.len(), rows.is_empty(), &rows.row_shape()[..]), (n, n == 0, &row[..]));
        let rows = rows.with_dtype(dtype);
        prop_assert_eq!((rows.stored(), rows.dtype()), (stored, dtype));
        let all = all.cast(dtype)?;
        let (a, b) = (list.first().map_or(0, |i| i % (n + 1)), list.last().map_or(n, |i| i % (n + 1)));
        let range = a.min(b)..a.max(b);
        poison(&at.device, &[range.len() * numel / n.max(1) * dtype.size()])?;
        let part = rows.load(range.clone(), &at.device)?;
        prop_assert_eq!(part.kind(), Kind::Input);
        same_tensors(&part, &all.clone().slice(0, range)?)?;

        let list: Vec<usize> = if n == 0 { Vec::new() } else { list.iter().map(|i| i % n).collect() };
        let got = rows.gather(&list, &at.device)?;
        let parts = list.iter().map(|&i| all.clone().slice(0, i..i + 1)).collect::<taut::Result<Vec<_>>>()?;
        if parts.is_empty() {
            prop_assert_eq!(&got.shape()[..], [&[0], &row[..]].concat());
            return Ok(());
        }
        same_tensors(&got, &Tensor::cat(&parts, 0)?)
    })
}

fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::F64 => "<f8",
        DType::I64 => "<i8",
        DType::U32 => "<u4",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
        DType::BF16 => return None,
    })
}

/// A file of version 1, without padding.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn golden(home: &TempDir) -> Result<Vec<PathBuf>, TestCaseError> {
    let write = |(name, bytes): (&str, &[u8])| {
        let path = home.path().join(name);
        fs::write(&path, bytes).map(|()| path).map_err(fail)
    };
    FILES.into_iter().map(write).collect()
}

/// Files that `golden/files.py` wrote, one of each version.
fn golden_files(at: &At) -> Check {
    let home = home()?;
    let paths = golden(&home)?;
    let load = |i: usize, dtype| {
        let rows = Rows::npy(&paths[i])?.with_dtype(dtype);
        rows.load(0..rows.len(), &at.device)
    };
    prop_assert_eq!(load(0, DType::F32)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, -4.0, 0.5, f32::INFINITY]);
    prop_assert_eq!(load(1, DType::I64)?.to_vec::<i64>()?, [1, -2, 1 << 40, 0]);
    prop_assert_eq!(load(2, DType::Bool)?.to_vec::<bool>()?, [true, false, false, true]);
    prop_assert_eq!(load(2, DType::F16)?.shape().to_vec(), [2, 1, 2]);
    prop_assert_eq!(load(3, DType::F16)?.shape().to_vec(), [2, 0]);
    prop_assert_eq!(load(4, DType::F32)?.to_vec::<f32>()?, [0.1, -0.0, f32::INFINITY, 2.0]);
    Ok(())
}

/// What is loaded is what is held, and one buffer where the card casts; the plan says so too.
fn memory_is_the_rows(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    fs::write(&path, vec![0; 20 << 20]).map_err(fail)?;
    let rows = Rows::raw(&path, DType::F32, [1 << 18])?.with_dtype(DType::F16);
    let run = |device: &Device| -> taut::Result<_> {
        let batch = rows.load(1..19, device)?;
        let again = rows.gather(&[3, 3, 0], device)?;
        drop(batch);
        let third = rows.load(0..2, device)?;
        drop((again, third));
        Ok(figures(device))
    };
    let stats = run(&at.device)?;
    let mib = 1 << 20;
    let buffer = if matches!(at.device.spec(), Spec::Cuda(_)) { 8 * mib } else { 0 };
    prop_assert_eq!(stats.peak_tensor_bytes, 9 * mib + 3 * mib / 2);
    prop_assert_eq!((stats.live_bytes, stats.peak_workspace_bytes), (0, buffer));
    prop_assert_eq!(run(&Device::plan(at.device.spec()))?, stats);
    Ok(())
}

fn that_are_not_there(at: &At) -> Check {
    let home = home()?;
    let path = home.path().join("x");
    fs::write(&path, [1, 2, 3, 4]).map_err(fail)?;
    let rows = Rows::raw(&path, DType::U8, [2])?;
    let text = |what: &str| format!("rows: {}: {what}", path.display());
    prop_assert_eq!(message_of(rows.load(1..3, &at.device))?, text("1..3 is not within 2 rows"));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = rows.load(2..1, &at.device);
    prop_assert_eq!(message_of(reversed)?, text("2..1 is not within 2 rows"));
    let far = rows.gather(&[0, 2], &at.device);
    prop_assert_eq!(message_of(far)?, text("index 1 is 2, which is not within 2 rows"));
    prop_assert_eq!(rows.load(2..2, &at.device)?.numel(), 0);
    Ok(())
}

/// Each kind of damage, and what is said of it.
fn damaged_files(at: &At) -> Check {
    use ErrorKind::{Corrupt, DType as Type, Shape};
    let with = |descr: &str, order: &str, shape: &str| {
        npy(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"), &[0; 8])
    };
    let damaged: &[(Vec<u8>, ErrorKind, &str)] = &[
        (vec![], Corrupt, r"no .npy file: bytes 0 to 6 are not \x93NUMPY"),
        (b"\x93NUMPY\x01".to_vec(), Corrupt, "truncated: 7 bytes, and the header takes 8"),
        (b"\x93NUMPY\x02\x00\x00".to_vec(), Corrupt, "truncated: 9 bytes, and the header takes 12"),
        (
            b"\x93NUMPY\x04\x00\x00\x00".to_vec(),
            Corrupt,
            "version 4.0 at byte 6, only 1.0, 2.0 and 3.0 are known",
        ),
        (
            b"\x93NUMPY\x03\x00\xff\xff\xff\xff{".to_vec(),
            Corrupt,
            "truncated: a header of 4294967295 bytes from byte 12 on, and the file has 13",
        ),
        (npy("", &[]), Corrupt, "the header, at byte 10: a dictionary must begin with '{'"),
        (npy("{'shape': (2)}", &[]), Corrupt, "the header, at byte 23: a tuple of one needs a comma"),
        (
            npy("{'shape': (-2,)}", &[]),
            Corrupt,
            "the header, at byte 21: a whole number from 0 to 2^64 - 1 must stand here",
        ),
        (
            npy("{'descr': '<f4', 'descr': '<f4'}", &[]),
            Corrupt,
            "the header, at byte 27: this key stands twice",
        ),
        (npy("{'more': 1}", &[]), Corrupt, "the header, at byte 11: this key is none of the format"),
        (npy("{'shape': (2,)}", &[]), Corrupt, "the header, at byte 10: 'descr' is missing"),
        (npy(r"{'descr': '\x3c'}", &[]), Corrupt, "the header, at byte 21: a text with a backslash"),
        (npy("{'descr': [('a', '<f4'", &[]), Corrupt, "the header, at byte 32: a list does not end"),
        (
            with("'<f4'", "None", "(2,)"),
            Corrupt,
            "the header, at byte 44: 'fortran_order' must be True or False",
        ),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", &[]),
            Corrupt,
            "the header, at byte 66: something follows the dictionary",
        ),
        (
            with("'<f4'", "False", "(3,)"),
            Corrupt,
            "truncated: [3] of f32 takes 12 bytes from byte 68 on, the file has 8",
        ),
        (with("'<f4'", "False", "(1,)"), Corrupt, "[1] of f32 takes 4 bytes from byte 68 on, the file has 8"),
        (
            with("'<f4'", "False", "(4294967296, 4294967296)"),
            Corrupt,
            "the number of elements of [4294967296, 4294967296] overflows",
        ),
        (with("'<f4'", "False", "()"), Shape, "a single value, which has no rows"),
        (with("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 2)"), Shape, "the rank is above 8"),
        (
            with("'<f4'", "True", "(2,)"),
            Shape,
            "the array is in Fortran order; save it in C order, by numpy.ascontiguousarray",
        ),
        (
            with("'>f4'", "False", "(2,)"),
            Type,
            "elements of >f4 are big-endian; save them by .astype with a type of '<'",
        ),
        (with("'|O'", "False", "(2,)"), Type, "elements of |O are Python objects, which are not read"),
        (with("'<i4'", "False", "(2,)"), Type, "elements of <i4, which no tensor can have"),
        (
            with("[('a', '<f4'), ('b', '<f4')]", "False", "(1,)"),
            Type,
            "elements of a list of fields, which no tensor can have",
        ),
    ];
    let home = home()?;
    let path = home.path().join("x");
    let mut wrong = Vec::new();
    for (bytes, kind, why) in damaged {
        fs::write(&path, bytes).map_err(fail)?;
        let want = taut::Error::new(*kind, format!("npy: {}: {why}", path.display()));
        wrong.extend(match Rows::npy(&path) {
            Err(error) if error == want => None,
            other => Some(format!("{other:?}\n and not {want:?}")),
        });
    }
    prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    fs::write(&path, npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2L,)}", &[1, 2]))
        .map_err(fail)?;
    prop_assert_eq!(kind_of(Rows::npy(&path)?.load(1..2, &at.device))?, Corrupt);
    prop_assert_eq!(kind_of(Rows::npy(&path)?.gather(&[1], &at.device))?, Corrupt);
    fs::write(&path, [0; 7]).map_err(fail)?;
    let text =
        format!("rows: {}: a row of [] of f32 takes 4 bytes; the last one, at byte 4, has 3", path.display());
    prop_assert_eq!(message_of(Rows::raw(&path, DType::F32, []))?, text);
    prop_assert_eq!(kind_of(Rows::raw(&path, DType::U8, [0]))?, Shape);
    prop_assert_eq!(kind_of(Rows::raw(&path, DType::U8, [1; 8]))?, Shape);
    Ok(())
}
