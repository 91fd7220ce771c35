//! Arrays and headers written byte by byte.

use super::*;

/// A `.npy` file of a header and data.
fn written(version: u8, header: &str, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn header(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

#[test]
fn every_version_and_type_is_read() {
    let floats = [1.5f32, -2.0, 0.25, 3.0, 0.0, -0.5];
    let f4: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    let f8: Vec<u8> = floats
        .iter()
        .flat_map(|x| f64::from(*x).to_le_bytes())
        .collect();
    // 1.5, -2, 0.25, 3, 0, -0.5 as IEEE half precision.
    let f2: Vec<u8> = [0x3e00u16, 0xc000, 0x3400, 0x4200, 0, 0xb800]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    for version in [1, 2, 3] {
        for (descr, data) in [("<f2", &f2), ("<f4", &f4), ("<f8", &f8)] {
            let (_folder, path) = written(version, &header(descr, "False", "(3, 2)"), data);
            let mut array = npy(&path).unwrap();
            assert_eq!((array.name(), array.dims()), ("a", &[3, 2][..]));
            let mut out = vec![9.0];
            array.floats(1..3, &mut out).unwrap();
            assert_eq!(out, floats[2..]);
            array.floats(0..1, &mut out).unwrap();
            assert_eq!(out, floats[..2]);
            assert!(array.integers(0..6).is_err());
        }
    }
    for (descr, data) in [
        (
            "<i4",
            [7i32, -1]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        (
            "<i8",
            [7i64, -1].iter().flat_map(|x| x.to_le_bytes()).collect(),
        ),
    ] {
        let (_folder, path) = written(1, &header(descr, "False", "(2,)"), &data);
        let mut array = npy(&path).unwrap();
        assert_eq!(array.integers(0..2).unwrap(), [7, -1]);
        assert!(array.floats(0..2, &mut vec![]).is_err());
    }
}

#[test]
fn columns_one_after_the_other_are_read_as_rows() {
    // numpy.asfortranarray([[1, 2, 3], [4, 5, 6]]).
    let stored: Vec<u8> = [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let (_folder, path) = written(1, &header("<f4", "True", "(2, 3)"), &stored);
    let (mut array, mut out) = (npy(&path).unwrap(), vec![]);
    array.floats(0..2, &mut out).unwrap();
    assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    array.floats(1..2, &mut out).unwrap();
    assert_eq!(out, [4.0, 5.0, 6.0]);
}

#[test]
fn other_headers_are_refused_with_what_was_found() {
    let f4 = header("<f4", "False", "(2,)");
    for (version, header, data, part) in [
        (
            1,
            header(">f4", "False", "(2,)"),
            8,
            "type <f2, <f4, <f8, <i4, <i8, |u1 is required, got >f4",
        ),
        (
            1,
            header("<f4", "True", "(2, 1, 1)"),
            8,
            "got Fortran order of 3",
        ),
        (1, header("<c8", "False", "(2,)"), 16, "got <c8"),
        (1, f4.clone(), 7, "bytes are required for shape [2]"),
        (1, f4.clone(), 9, "bytes are required for shape [2]"),
        (
            4,
            f4.clone(),
            8,
            ".npy version 1, 2 or 3 is required, got 4",
        ),
        (
            1,
            "{'fortran_order': False}".to_string(),
            0,
            "a header with 'descr' is required",
        ),
        (
            1,
            header("<f4", "False", "(2, x)"),
            8,
            "a header with 'shape' is required",
        ),
        (
            1,
            header("<f4", "False", "(99999999999, 99999999999)"),
            8,
            "more bytes are required",
        ),
        (
            2,
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}".to_string(),
            4,
            "got records",
        ),
    ] {
        let (_folder, path) = written(version, &header, &vec![0; data]);
        let error = npy(&path).expect_err(part).strip_backtrace();
        assert!(error.contains(part) && error.contains("a.npy"), "{error}");
    }
    let (_folder, path) = written(1, &f4, &[0; 8]);
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 5, 9, 20] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(npy(&path).is_err(), "{cut} bytes");
    }
}

#[test]
fn damaged_safetensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"x": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let write = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        std::fs::write(&path, bytes).unwrap();
    };
    write(&tensor("F32", "[1, 2]", "[0, 8]"), 8);
    let arrays = safetensors(&path).unwrap();
    assert_eq!((arrays[0].name(), arrays[0].dims()), ("x", &[1, 2][..]));
    for (header, data, part) in [
        (tensor("F32", "[1, 2]", "[0, 8]"), 7, "within the file's"),
        (
            tensor("F32", "[1, 3]", "[0, 8]"),
            8,
            "the bytes of shape [1, 3]",
        ),
        (tensor("F32", "[1, 2]", "[8, 0]"), 8, "got 8 to 0"),
        (
            r#"{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "y": {"dtype": "F16", "shape": [2],
                "data_offsets": [4, 8]}}"#
                .to_string(),
            8,
            "bytes of its own are required for each tensor, got x and y of the same",
        ),
        (
            tensor("F32", "[4294967296, 4294967296, 2]", "[0, 8]"),
            8,
            "the bytes of shape",
        ),
        // No numbers, of which each row would have more than memory; and a type whose width is not known.
        (
            tensor("F32", "[0, 4294967296, 4294967296]", "[0, 0]"),
            8,
            "the bytes of shape",
        ),
        (
            tensor("BOOL", "[4294967296, 4294967296]", "[0, 8]"),
            8,
            "the bytes of shape",
        ),
        ("[1]".to_string(), 0, "a safetensors header is required"),
        (
            r#"{"x": 3}"#.to_string(),
            0,
            "dtype, shape and data_offsets are required",
        ),
    ] {
        write(&header, data);
        let error = safetensors(&path).expect_err(part).strip_backtrace();
        assert!(
            error.contains(part) && error.contains("a.safetensors"),
            "{error}"
        );
    }
    // What nobody asks for may be of any type; asked for it is refused.
    write(&tensor("BOOL", "[8]", "[0, 8]"), 8);
    let mut buffer = safetensors(&path).unwrap().remove(0);
    let error = buffer.all_floats().unwrap_err().strip_backtrace();
    assert!(
        error.contains("type F16, BF16, F32, F64, I32, I64, U8 is required, got BOOL"),
        "{error}"
    );
    std::fs::write(&path, [255; 8]).unwrap();
    assert!(safetensors(&path).is_err());
    std::fs::write(&path, [1; 3]).unwrap();
    assert!(safetensors(&path).is_err());
}
