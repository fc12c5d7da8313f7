//! A plain dump, as `pg_dump` writes it: the rows of each table behind a `COPY` line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use super::tables::{Row, SourceError, Tables, known};

/// Bytes of a line at most.
const MAX_LINE: u64 = 64 << 20;
/// What `pg_dump` ends with.
const END: &str = "-- PostgreSQL database dump complete";

/// Reads a dump.
///
/// # Errors
/// [`SourceError`].
pub(crate) fn read_dump(path: &Path) -> Result<Tables, SourceError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|source| SourceError::File {
        path: shown.clone(),
        source,
    })?;
    read(BufReader::new(file), &shown)
}

/// Where the reader is.
enum Place {
    Between,
    /// In rows that are not wanted.
    Skipping,
    /// In a table's rows: its wanted columns in the order of the dump.
    In(&'static str, Vec<Option<&'static str>>),
}

fn read(mut input: impl BufRead, path: &str) -> Result<Tables, SourceError> {
    let mut tables = Tables::default();
    let mut place = Place::Between;
    let (mut number, mut ended, mut inserts) = (0u64, false, false);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut limited = input.by_ref().take(MAX_LINE + 1);
        let read = limited.read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| SourceError::File {
            path: path.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        number += 1;
        let bad = |why| SourceError::Line {
            path: path.to_owned(),
            line: number,
            why,
        };
        if read as u64 > MAX_LINE {
            return Err(bad("it is longer than 64 MiB"));
        }
        if number == 1 && bytes.starts_with(b"PGDMP") {
            return Err(SourceError::CustomForm {
                path: path.to_owned(),
            });
        }
        let line = std::str::from_utf8(&bytes).map_err(|_| bad("it is not UTF-8"))?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        place = match place {
            Place::Between => {
                ended |= line.starts_with(END);
                inserts |= line.starts_with("INSERT INTO mesh.");
                match line.strip_prefix("COPY ") {
                    Some(rest) => begin(rest, &mut tables).map_err(bad)?,
                    None => Place::Between,
                }
            }
            _ if line == "\\." => Place::Between,
            Place::Skipping => Place::Skipping,
            Place::In(table, columns) => {
                let row = row(line, &columns).map_err(bad)?;
                if !tables.add(table, row) {
                    return Err(SourceError::TooMany {
                        from: path.to_owned(),
                    });
                }
                Place::In(table, columns)
            }
        };
    }
    if !matches!(place, Place::Between) || (number > 0 && !ended) {
        return Err(SourceError::Truncated {
            path: path.to_owned(),
        });
    }
    match tables.check(path) {
        Err(_) if inserts => Err(SourceError::Inserts {
            path: path.to_owned(),
        }),
        other => other,
    }
}

/// What follows `COPY schema.table (column, …) FROM stdin;`.
fn begin(rest: &str, tables: &mut Tables) -> Result<Place, &'static str> {
    const WHY: &str = "this COPY line cannot be read";
    let (name, rest) = rest.split_once(" (").ok_or(WHY)?;
    let (columns, rest) = rest.split_once(") FROM stdin").ok_or(WHY)?;
    if rest != ";" {
        return Err("rows in another form than pg_dump's are not read");
    }
    let plain = |text: &str| text.trim().trim_matches('"').to_owned();
    let (schema, table) = name.split_once('.').ok_or(WHY)?;
    if plain(schema) != "mesh" {
        return Ok(Place::Skipping);
    }
    let Some((table, wanted)) = known(&plain(table)) else {
        return Ok(Place::Skipping);
    };
    tables.begin(table);
    let columns = columns.split(',').map(|column| {
        let column = plain(column);
        wanted.iter().copied().find(|known| *known == column)
    });
    Ok(Place::In(table, columns.collect()))
}

fn row(line: &str, columns: &[Option<&'static str>]) -> Result<Row, &'static str> {
    let mut row = Row::default();
    let mut fields = 0;
    for (at, field) in line.split('\t').enumerate() {
        fields += 1;
        // What is not wanted is not even decoded: secret keys are among it.
        if let Some(Some(column)) = columns.get(at)
            && field != "\\N"
        {
            row.set(column, unescaped(field)?);
        }
    }
    if fields != columns.len() {
        return Err("it has another number of columns than its COPY line");
    }
    Ok(row)
}

/// A field as it was before COPY wrote it.
fn unescaped(field: &str) -> Result<String, &'static str> {
    if !field.contains('\\') {
        return Ok(field.to_owned());
    }
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(next) = bytes.next() else {
            return Err("it ends in a backslash");
        };
        out.push(match next {
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'0'..=b'7' => {
                let mut code = u32::from(next - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(digit @ b'0'..=b'7') => {
                            code = code * 8 + u32::from(digit - b'0');
                            bytes.next();
                        }
                        _ => break,
                    }
                }
                u8::try_from(code).map_err(|_| "it has an escape that is no byte")?
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| "an escape makes it no UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\
--
-- PostgreSQL database dump
--
COPY mesh.mesh (id, name, slug, owner_secret_key, owner_pubkey) FROM stdin;
m1\tOne\tone\tSECRET\t\\N
\\.

COPY public.mesh (id) FROM stdin;
other
\\.
COPY mesh.member (id, mesh_id, display_name) FROM stdin;
";

    fn dump(rows: &str) -> Result<Tables, SourceError> {
        let text = format!("{HEAD}{rows}\\.\n--\n-- PostgreSQL database dump complete\n--\n");
        read(text.as_bytes(), "x.sql")
    }

    #[test]
    fn rows_are_read_and_secrets_are_not() {
        let tables = dump("a\tm1\tAna\\tB\\\\c\\n\\101\\303\\251\nb\tm1\t\\N\n").unwrap();
        assert_eq!(tables.of("mesh").len(), 1);
        assert_eq!(tables.of("mesh")[0].get("slug"), Some("one"));
        assert_eq!(tables.of("mesh")[0].get("owner_pubkey"), None);
        assert!(!format!("{tables:?}").contains("SECRET"));
        let members = tables.of("member");
        assert_eq!(members[0].get("display_name"), Some("Ana\tB\\c\nAé"));
        assert_eq!(members[1].get("display_name"), None);
    }

    #[test]
    fn what_is_no_whole_plain_dump_is_told_apart() {
        let line = |rows| match dump(rows) {
            Err(SourceError::Line { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("a\tm1\n"), 12);
        assert_eq!(line("a\tm1\tx\ty\n"), 12);
        assert_eq!(line("a\tm1\tx\\\n"), 12);
        assert_eq!(line("a\tm1\t\\377\n"), 12);
        assert_eq!(line("a\tm1\t\\777\n"), 12);
        let whole = format!("{HEAD}a\tm1\tAna\n\\.\n-- PostgreSQL database dump complete\n");
        for cut in [10, HEAD.len(), HEAD.len() + 5, whole.len() - 10] {
            let error = read(&whole.as_bytes()[..cut], "x.sql").unwrap_err();
            assert!(
                matches!(
                    error,
                    SourceError::Truncated { .. } | SourceError::Line { .. }
                ),
                "{cut}: {error}"
            );
        }
        let custom = read(&b"PGDMP\x01\x0e"[..], "x").unwrap_err();
        assert!(matches!(custom, SourceError::CustomForm { .. }));
        let inserts = "INSERT INTO mesh.mesh VALUES (1);\n-- PostgreSQL database dump complete\n";
        let inserts = read(inserts.as_bytes(), "x").unwrap_err();
        assert!(matches!(inserts, SourceError::Inserts { .. }));
        let other = read(&b"-- PostgreSQL database dump complete\n"[..], "x").unwrap_err();
        assert!(matches!(other, SourceError::NotThere { table: "mesh", .. }));
        assert!(matches!(
            read(&b""[..], "x"),
            Err(SourceError::NotThere { .. })
        ));
        assert!(matches!(
            read(&b"\xff\xfe"[..], "x"),
            Err(SourceError::Line { line: 1, .. })
        ));
    }
}
