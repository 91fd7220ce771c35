//! GGUF files against another program's numbers (`tests/reference/gguf_files.py`), and broken ones.

use super::*;

const KINDS: [&str; 13] = [
    "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "F32",
];

fn path(name: &str) -> PathBuf {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gguf");
    data.join(name)
}

fn read(name: &str) -> Gguf {
    Gguf::read(&path(name)).expect(name)
}

fn numbers(file: &Gguf, name: &str) -> Vec<f32> {
    let array = file.tensors().iter().find(|array| array.name() == name);
    let mut array = array.expect(name).clone();
    assert_eq!(array.dims(), [2, 256], "{name}");
    array.all_floats().expect(name)
}

#[test]
fn numbers_of_every_type_are_those_of_ggml() {
    let file = read("types.gguf");
    for kind in KINDS.iter().filter(|kind| **kind != "F32") {
        let (came, expected) = (
            numbers(&file, kind),
            numbers(&file, &format!("{kind}.numbers")),
        );
        // A product and a difference of float32, in whatever order.
        let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * largest;
        assert!(came.iter().zip(&expected).all(near), "{kind}");
        assert!(expected.iter().any(|x| *x != 0.0));
    }
}

#[test]
fn a_row_of_blocks_is_read_alone() {
    let file = read("types.gguf");
    let array = file.tensors().iter().find(|array| array.name() == "Q5_K");
    let mut row = vec![];
    array
        .expect("a tensor")
        .clone()
        .floats(1..2, &mut row)
        .expect("a row");
    assert_eq!(row, numbers(&file, "Q5_K")[256..]);
}

#[test]
fn a_type_that_is_not_read_is_named_when_it_is_asked_for() {
    let file = read("types.gguf");
    let array = file.tensors().iter().find(|array| array.name() == "IQ4_XS");
    let mut array = array.expect("a tensor").clone();
    assert_eq!(array.stored_as(), "IQ4_XS");
    let error = array.all_floats().unwrap_err().to_string();
    assert!(
        error.contains("IQ4_XS of ") && error.contains("got IQ4_XS"),
        "{error}"
    );
}

#[test]
fn values_are_read_by_their_type() {
    let file = read("types.gguf");
    assert_eq!(file.text("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.count("counts.u64").unwrap(), Some((1 << 63) + 1));
    assert_eq!(
        file.number("counts.f32").unwrap(),
        Some(f64::from(1e-5_f32))
    );
    assert_eq!(file.integers("counts.list").unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(file.flag("counts.none").unwrap(), None);
    let wrong = file.count("general.architecture").unwrap_err().to_string();
    assert!(
        wrong.contains("general.architecture: a count is required, got \"llama\""),
        "{wrong}"
    );
}

fn refused(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).expect("a writable file");
    match Gguf::read(path) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("cut.gguf");
    for name in ["types.gguf", "llama-spm.gguf"] {
        let whole = std::fs::read(path(name)).expect("a file");
        let ends = (0..whole.len()).step_by(97).chain([4, 8, 16, 24]);
        for end in ends {
            let error = refused(&file, &whole[..end]);
            // Beyond the last number there is padding.
            let padded = name == "llama-spm.gguf" || end + 4096 > whole.len();
            assert!(!error.is_empty() || padded, "{name} of {end} bytes");
        }
    }
}

#[test]
fn claims_beyond_the_file_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("claims.gguf");
    let head = |version: u32, tensors: u64, values: u64| {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(values.to_le_bytes());
        bytes
    };
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let list = |kind: u32, n: u64| {
        [
            head(3, 0, 1),
            text("k"),
            9_u32.to_le_bytes().to_vec(),
            kind.to_le_bytes().to_vec(),
            n.to_le_bytes().to_vec(),
        ]
        .concat()
    };
    let tensor = |dims: &[u64], kind: u32, offset: u64| {
        let mut bytes = [
            head(3, 1, 0),
            text("t"),
            (dims.len() as u32).to_le_bytes().to_vec(),
        ]
        .concat();
        dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend([0; 256]);
        bytes
    };
    let flag = |key: &str, value: u32| {
        [
            head(3, 0, 1),
            text(key),
            4_u32.to_le_bytes().to_vec(),
            value.to_le_bytes().to_vec(),
            vec![0; 64],
        ]
        .concat()
    };
    let huge = u64::MAX / 2;
    for (bytes, part) in [
        (b"GGML\0\0\0\0".to_vec(), "a GGUF file is required"),
        (head(1, 0, 0), "GGUF version 2 or 3 is required, got 1"),
        (
            head(3_u32.swap_bytes(), 0, 0),
            "a little-endian GGUF file is required",
        ),
        (head(3, huge, 0), "tensors within the 8 bytes that are left"),
        (head(3, 0, huge), "values within the 0 bytes that are left"),
        (
            [head(3, 0, 1), huge.to_le_bytes().to_vec(), vec![0; 20]].concat(),
            "bytes of a text within",
        ),
        (list(8, huge), "values of a list within"),
        (
            list(9, 1),
            "a list of single values is required, got type 9",
        ),
        (
            list(77, 1),
            "a list of single values is required, got type 77",
        ),
        (
            [
                head(3, 0, 1),
                text("k"),
                77_u32.to_le_bytes().to_vec(),
                vec![0; 9],
            ]
            .concat(),
            "k: a known type of value",
        ),
        ([head(3, 0, 1), text("\u{1}k"), vec![0; 9]].concat(), ""),
        (
            tensor(&[1 << 40, 1 << 40], 0, 0),
            "tensor t: a shape in memory is required",
        ),
        // No numbers, of which each row would have more than memory.
        (
            tensor(&[1 << 40, 1 << 40, 0], 0, 0),
            "tensor t: a shape in memory is required",
        ),
        (
            tensor(&[64, 2], 0, 0),
            "the bytes of shape [2, 64] within the file's",
        ),
        (
            tensor(&[4], 0, huge / 32 * 32),
            "the bytes of shape [4] within the file's",
        ),
        (
            tensor(&[4], 0, u64::MAX / 32 * 32),
            "the bytes of shape [4] within the file's",
        ),
        (
            tensor(&[4], 0, 7),
            "tensors that begin at a multiple of 32 are required, got t at 7",
        ),
        (
            tensor(&[33], 3, 0),
            "rows of whole blocks of 32 are required of type Q4_1, got 33",
        ),
        (
            tensor(&[1, 1, 1, 1, 1], 0, 0),
            "at most 4 dimensions are required, got 5",
        ),
        (
            flag("general.alignment", 0),
            "general.alignment of a multiple of 8",
        ),
    ] {
        let error = refused(&file, &bytes);
        assert!(error.contains(part), "{part}: {error}");
    }
}
