//! A worksheet of Office Open XML (ECMA-376), in bytes that are written on as rows come: what Excel, LibreOffice and pandas
//! open without asking for an encoding, a separator or a decimal point, and without taking a text for a formula.
//! Above 400 lines, with the parts of the format that are always the same.
//!
//! ```text
//!     NULL                          no cell
//!     numbers                       numbers; whole ones beyond 2^53 and decimals of more than 15 digits, which Excel would
//!                                   round, and NaN and the infinities, which it has not, as texts
//!     dates, timestamps             dates, from March 1900 on; those with a time zone, and earlier ones, as texts
//!     lists, structs                texts of JSON
//! ```

use std::fmt::Write as _;
use std::io::Write as _;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, FieldRef, Schema, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::exec_err;
use datafusion::error::Result;

use super::csv::texts;
use super::zipped::ZipWriter;

/// Rows of a worksheet, the head among them, its columns, and the characters (of UTF-16) of a cell. (Excel specifications
/// and limits)
const MOST_ROWS: usize = 1 << 20;
const MOST_COLUMNS: usize = 1 << 14;
const MOST_CHARACTERS: usize = 32_767;
/// Whole numbers up to it are numbers of 64 bits of floating point.
const MOST_WHOLE: i128 = 1 << 53;
/// Digits of a decimal that Excel keeps.
const MOST_DIGITS: usize = 15;
/// Days from the first that the serial numbers of dates count to 1970, and the first that all programs count alike: Excel
/// has a 29th of February 1900.
const DAYS_TO_1970: f64 = 25_569.0;
const FIRST_DAY: f64 = 61.0;
const MICROSECONDS_OF_DAY: f64 = 86_400e6;

/// Numbers of the styles in [`STYLES`].
const HEAD: usize = 1;
const DATE: usize = 2;
const TIME: usize = 3;

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const PARTS: [(&str, &str); 5] = [
    (
        "[Content_Types].xml",
        r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#,
    ),
    (
        "_rels/.rels",
        r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#,
    ),
    (
        "xl/workbook.xml",
        r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="result" sheetId="1" r:id="rId1"/></sheets></workbook>"#,
    ),
    (
        "xl/_rels/workbook.xml.rels",
        r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#,
    ),
    ("xl/styles.xml", STYLES),
];
const STYLES: &str = r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd"/><numFmt numFmtId="165" formatCode="yyyy\-mm\-dd\ hh:mm:ss"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="4"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"#;
const SHEET: &str = r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>"#;

/// Makes a workbook of one sheet of batches.
pub struct XlsxWriter {
    zip: ZipWriter,
    /// Of the columns: the letters, as `AB`, and the name.
    columns: Vec<(String, String)>,
    rows: usize,
}

/// What a value is in a cell.
enum SheetCell {
    Number(String, usize),
    Flag(bool),
    Text(String),
}

impl XlsxWriter {
    /// For rows of these columns.
    ///
    /// Errors: more columns than a worksheet has.
    pub fn new(schema: &Schema) -> Result<Self> {
        let names = schema.fields().iter().map(|field| field.name());
        if names.len() > MOST_COLUMNS {
            return exec_err!(
                "xlsx: at most {MOST_COLUMNS} columns are required, got {}",
                names.len()
            );
        }
        let mut zip = ZipWriter::default();
        for (name, text) in PARTS {
            zip.begin(name);
            zip.write_all(XML.as_bytes())?;
            zip.write_all(text.as_bytes())?;
            zip.end()?;
        }
        zip.begin("xl/worksheets/sheet1.xml");
        zip.write_all(XML.as_bytes())?;
        zip.write_all(SHEET.as_bytes())?;
        let head = names
            .clone()
            .cloned()
            .map(|name| Some(SheetCell::Text(name)));
        let columns = names
            .enumerate()
            .map(|(i, name)| (letters(i), name.clone()));
        let mut writer = Self {
            zip,
            columns: columns.collect(),
            rows: 0,
        };
        writer.row(head.collect(), HEAD)?;
        Ok(writer)
    }

    /// The bytes that these rows bring.
    ///
    /// Errors: more rows than a worksheet has, a longer text than a cell has.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        if self.rows + batch.num_rows() > MOST_ROWS {
            return exec_err!(
                "xlsx: at most {} rows are required, got more: write .parquet or .csv",
                MOST_ROWS - 1
            );
        }
        let schema = batch.schema();
        let fields = schema.fields().iter();
        let columns = fields.zip(batch.columns()).map(|(f, c)| cells(f, c));
        let mut columns = columns
            .map(|cells| Ok(cells?.into_iter()))
            .collect::<Result<Vec<_>>>()?;
        for _ in 0..batch.num_rows() {
            let row = columns.iter_mut().map(|column| column.next().flatten());
            let row = row.collect();
            self.row(row, 0)?;
        }
        Ok(self.zip.take())
    }

    /// The bytes behind the last row.
    pub fn end(mut self) -> Result<Vec<u8>> {
        self.zip.write_all(b"</sheetData></worksheet>")?;
        self.zip.end()?;
        Ok(self.zip.finish()?)
    }

    fn row(&mut self, cells: Vec<Option<SheetCell>>, style: usize) -> Result<()> {
        self.rows += 1;
        let row = self.rows;
        let mut xml = format!("<row r=\"{row}\">");
        let styled = |style: usize| match style {
            0 => String::new(),
            style => format!(" s=\"{style}\""),
        };
        for (cell, (letters, name)) in cells.into_iter().zip(&self.columns) {
            // Writing to a text does not fail.
            let _ = match cell {
                None => Ok(()),
                Some(SheetCell::Number(number, style)) => {
                    let style = styled(style);
                    write!(xml, "<c r=\"{letters}{row}\"{style}><v>{number}</v></c>")
                }
                Some(SheetCell::Flag(flag)) => {
                    let flag = u8::from(flag);
                    write!(xml, "<c r=\"{letters}{row}\" t=\"b\"><v>{flag}</v></c>")
                }
                Some(SheetCell::Text(text)) => {
                    let length = text.encode_utf16().count();
                    if length > MOST_CHARACTERS {
                        return exec_err!(
                            "xlsx: texts of at most {MOST_CHARACTERS} characters are required, got one of {length} in \
                             column '{name}', row {row}: write .parquet or .csv"
                        );
                    }
                    let (style, text) = (styled(style), escaped(&text));
                    write!(
                        xml,
                        "<c r=\"{letters}{row}\"{style} t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>"
                    )
                }
            };
        }
        xml.push_str("</row>");
        Ok(self.zip.write_all(xml.as_bytes())?)
    }
}

/// A column's cells, none where it is NULL.
fn cells(field: &FieldRef, column: &ArrayRef) -> Result<Vec<Option<SheetCell>>> {
    let (values, style) = match column.data_type() {
        DataType::Dictionary(_, values) => (values.as_ref().clone(), DATE),
        DataType::Date32 => (DataType::Date32, DATE),
        other => (other.clone(), TIME),
    };
    let cell = |text: String, serial: Option<f64>| match (&values, serial) {
        (_, Some(serial)) if serial >= FIRST_DAY => SheetCell::Number(serial.to_string(), style),
        (DataType::Boolean, _) => SheetCell::Flag(text == "true"),
        (kind, _) if kind.is_numeric() && is_kept(kind, &text) => SheetCell::Number(text, 0),
        _ => SheetCell::Text(text),
    };
    let serials = serials(column)?;
    let texts = texts((field, column))?.into_iter().enumerate();
    let serial = |row: usize| serials.get(row).copied().flatten();
    Ok(texts
        .map(|(row, text)| text.map(|text| cell(text, serial(row))))
        .collect())
}

/// Whether a number is the same in a cell.
fn is_kept(kind: &DataType, text: &str) -> bool {
    if kind.is_floating() {
        return text.parse().is_ok_and(f64::is_finite);
    }
    match text.parse::<i128>() {
        Ok(whole) => whole.abs() <= MOST_WHOLE,
        Err(_) => text.chars().filter(char::is_ascii_digit).count() <= MOST_DIGITS,
    }
}

/// Dates and times without a zone as the days that Excel counts; none of other columns.
fn serials(column: &ArrayRef) -> Result<Vec<Option<f64>>> {
    Ok(match column.data_type() {
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().iter();
            let serial = |day| f64::from(day) + DAYS_TO_1970;
            days.map(|day| day.map(serial)).collect()
        }
        DataType::Timestamp(_, None) => {
            let unit = DataType::Timestamp(TimeUnit::Microsecond, None);
            let times = cast(column, &unit)?;
            let times = times.as_primitive::<TimestampMicrosecondType>().iter();
            let serial = |time| time as f64 / MICROSECONDS_OF_DAY + DAYS_TO_1970;
            times.map(|time| time.map(serial)).collect()
        }
        _ => vec![],
    })
}

/// The letters of a column: A to Z, AA and so on.
fn letters(mut column: usize) -> String {
    let mut letters = vec![];
    loop {
        letters.push(b'A' + (column % 26) as u8);
        match column / 26 {
            0 => break,
            more => column = more - 1,
        }
    }
    letters.into_iter().rev().map(char::from).collect()
}

/// A text as XML: characters that it cannot have as `_xHHHH_`, and what looks like one of those with its beginning so.
/// (ECMA-376, part 1, 22.9.2.19)
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '\t' | '\n' => xml.push(character),
            '_' if is_escape(&text[at..]) => xml.push_str("_x005F_"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(xml, "_x{:04X}_", u32::from(character));
            }
            other => xml.push(other),
        }
    }
    xml
}

fn is_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 7
        && bytes[1] == b'x'
        && bytes[2..6].iter().all(u8::is_ascii_hexdigit)
        && bytes[6] == b'_'
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, StringArray,
    };

    use super::*;

    fn sheet(columns: Vec<(&str, ArrayRef)>) -> Result<String> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )?;
        let mut writer = XlsxWriter::new(&batch.schema())?;
        let mut bytes = writer.rows(&batch)?;
        bytes.extend(writer.end()?);
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
        assert_eq!(archive.len(), PARTS.len() + 1);
        // The parts are deflated, which the archive's own reader is built without.
        let at = archive.index_for_name("xl/worksheets/sheet1.xml");
        let mut part = archive.by_index_raw(at.expect("a name")).expect("a sheet");
        let mut deflated = vec![];
        part.read_to_end(&mut deflated).expect("bytes");
        let mut text = String::new();
        let mut inflated = flate2::read::DeflateDecoder::new(&deflated[..]);
        inflated.read_to_string(&mut text).expect("a text");
        let (_, rows) = text.split_once("<sheetData>").expect("rows");
        Ok(rows.to_string())
    }

    #[test]
    fn values_are_cells() {
        let xml = sheet(vec![
            (
                "n",
                Arc::new(Int64Array::from(vec![
                    Some(1 << 53),
                    Some((1 << 53) + 1),
                    None,
                ])),
            ),
            (
                "x",
                Arc::new(Float64Array::from(vec![
                    Some(0.1),
                    Some(f64::NAN),
                    Some(-1e-300),
                ])),
            ),
            (
                "y",
                Arc::new(Float32Array::from(vec![0.1, 2.0, f32::INFINITY])),
            ),
            (
                "flag",
                Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            ),
            (
                "text",
                Arc::new(StringArray::from(vec![
                    Some("=1+1 & <b>"),
                    Some(""),
                    Some("a\r\n_x000D_"),
                ])),
            ),
            (
                "day",
                Arc::new(Date32Array::from(vec![Some(0), Some(20_786), None])),
            ),
        ])
        .expect("a sheet");
        let text = |cell: &str, text: &str| {
            format!(
                "<c r=\"{cell}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>"
            )
        };
        let rows: Vec<&str> = xml.split("</row>").collect();
        assert!(
            rows[0].contains("<c r=\"F1\" s=\"1\" t=\"inlineStr\">"),
            "{xml}"
        );
        let first = format!(
            "<row r=\"2\"><c r=\"A2\"><v>9007199254740992</v></c><c r=\"B2\"><v>0.1</v></c><c r=\"C2\"><v>0.1</v></c>\
             <c r=\"D2\" t=\"b\"><v>1</v></c>{}<c r=\"F2\" s=\"2\"><v>25569</v></c>",
            text("E2", "=1+1 &amp; &lt;b&gt;")
        );
        assert_eq!(rows[1], first);
        let second = format!(
            "<row r=\"3\">{}{}<c r=\"C3\"><v>2.0</v></c><c r=\"D3\" t=\"b\"><v>0</v></c>{}<c r=\"F3\" s=\"2\"><v>46355</v></c>",
            text("A3", "9007199254740993"),
            text("B3", "NaN"),
            text("E3", "")
        );
        assert_eq!(rows[2], second);
        let third = format!(
            "<row r=\"4\"><c r=\"B4\"><v>-1e-300</v></c>{}{}",
            text("C4", "inf"),
            text("E4", "a_x000D_\n_x005F_x000D_")
        );
        assert_eq!(rows[3], third);
    }

    #[test]
    fn what_no_sheet_has_is_refused() {
        let long: ArrayRef = Arc::new(StringArray::from(vec!["é".repeat(MOST_CHARACTERS + 1)]));
        let error = sheet(vec![("text", long)])
            .expect_err("too long")
            .strip_backtrace();
        assert!(
            error.contains("got one of 32768 in column 'text', row 2"),
            "{error}"
        );
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..MOST_ROWS as i64));
        let error = sheet(vec![("n", rows)])
            .expect_err("too many")
            .strip_backtrace();
        assert!(
            error.contains("at most 1048575 rows are required"),
            "{error}"
        );
    }

    #[test]
    fn columns_have_letters() {
        let named = [0, 25, 26, 701, 702, MOST_COLUMNS - 1].map(letters);
        assert_eq!(named, ["A", "Z", "AA", "ZZ", "AAA", "XFD"]);
    }
}
