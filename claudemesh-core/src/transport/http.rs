//! One HTTP/1.1 request and its answer, on a stream that carries nothing else.

use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::ByteStream;

/// Bytes of an answer at most, with its head and what frames its chunks.
const MAX_ANSWER: usize = 4 << 20;
/// Bytes of an answer's head at most.
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 100;

/// An answer to an HTTP call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A request as bytes; a body is JSON. Errors say what may not stand in a head.
pub(super) fn request(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, String)],
    body: Option<&str>,
) -> Result<String, String> {
    let mut head = format!("{method} {path} HTTP/1.1");
    let mut line = |name: &str, value: &str| {
        head.push_str("\r\n");
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
    };
    line("host", host);
    line("accept", "application/json");
    line("connection", "close");
    if let Some(body) = body {
        line("content-type", "application/json");
        line("content-length", &body.len().to_string());
    }
    for (name, value) in headers {
        line(name, value);
    }
    let lines = 3 + if body.is_some() { 2 } else { 0 } + headers.len();
    if path.contains(' ') || head.matches(char::is_control).count() != lines * 2 {
        return Err("the request has a control character or a space in its head".to_owned());
    }
    head.push_str("\r\n\r\n");
    head.push_str(body.unwrap_or_default());
    Ok(head)
}

/// Sends the request and reads the answer.
pub(super) async fn exchange(
    mut stream: Box<dyn ByteStream>,
    request: &str,
) -> Result<Answer, String> {
    // Whoever refuses a request before its end may have answered nevertheless.
    let mut sent = stream.write_all(request.as_bytes()).await;
    if sent.is_ok() {
        sent = stream.flush().await;
    }
    let mut bytes = Vec::new();
    loop {
        let read = stream.read_buf(&mut bytes).await;
        let ended = read.map_err(|error| error.to_string())? == 0;
        if let Some(answer) = answer(&bytes, ended)? {
            return Ok(answer);
        }
        if ended {
            sent.map_err(|error| error.to_string())?;
            return Err("its answer is cut off".to_owned());
        }
        if bytes.len() > MAX_ANSWER {
            return Err("its answer is too long".to_owned());
        }
    }
}

/// The answer, once it is there as a whole. `ended`: nothing will follow.
fn answer(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    let mut rest = bytes;
    loop {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut head = Response::new(&mut headers);
        let body = match head.parse(rest).map_err(|error| error.to_string())? {
            Status::Complete(length) => rest.get(length..).unwrap_or_default(),
            Status::Partial if rest.len() > MAX_HEAD => {
                return Err("the head of its answer is too long".to_owned());
            }
            Status::Partial => return Ok(None),
        };
        let status = head.code.unwrap_or_default();
        // What only says that the answer is to come.
        if (100..200).contains(&status) {
            rest = body;
            continue;
        }
        let value = |name: &str| {
            let found = head
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(std::str::from_utf8(found.value).unwrap_or_default().trim())
        };
        let body = if let Some(coding) = value("transfer-encoding") {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err("its answer has a coding that was not asked for".to_owned());
            }
            unchunked(body)?
        } else if let Some(length) = value("content-length") {
            let length: usize = length
                .parse()
                .map_err(|_| "the length of its answer is malformed".to_owned())?;
            if length > MAX_ANSWER {
                return Err("its answer is too long".to_owned());
            }
            body.get(..length).map(<[u8]>::to_vec)
        } else {
            (ended || status == 204).then(|| body.to_vec())
        };
        return Ok(body.map(|body| Answer { status, body }));
    }
}

/// A body in chunks, put together; none if its end is not there yet. Trailers are not read.
fn unchunked(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let malformed = || "its answer has a malformed chunk".to_owned();
    // So ends each; otherwise it would be put together anew with each read.
    if !rest.ends_with(b"\r\n\r\n") {
        return Ok(None);
    }
    let mut body = Vec::new();
    loop {
        let (head, length) = match parse_chunk_size(rest).map_err(|_| malformed())? {
            Status::Complete(found) => found,
            Status::Partial => return Ok(None),
        };
        if length == 0 {
            return Ok(Some(body));
        }
        let length = usize::try_from(length).map_err(|_| malformed())?;
        let chunk = rest.get(head..).unwrap_or_default();
        let Some((chunk, after)) = chunk.split_at_checked(length) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        rest = match after.split_at_checked(2) {
            Some((b"\r\n", after)) => after,
            Some(_) => return Err(malformed()),
            None => return Ok(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ended: bool) -> Result<Option<(u16, String)>, String> {
        let answer = answer(text.as_bytes(), ended)?;
        Ok(answer.map(|answer| (answer.status, String::from_utf8(answer.body).unwrap())))
    }

    #[test]
    fn a_request_is_whole_and_nothing_slips_into_its_head() {
        let headers = [("x-proof", "abc".to_owned())];
        assert_eq!(
            request("GET", "b.example", "/a?from=1", &headers, None).unwrap(),
            "GET /a?from=1 HTTP/1.1\r\nhost: b.example\r\naccept: application/json\r\n\
             connection: close\r\nx-proof: abc\r\n\r\n"
        );
        let post = request("POST", "b.example", "/a", &[], Some("{\"a\":\r\n\"ü\"}")).unwrap();
        assert!(post.starts_with("POST /a HTTP/1.1\r\n"), "{post}");
        assert!(
            post.contains("\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"),
            "{post}"
        );
        for path in ["/a b", "/a\r\nx: y", "/a\n", "/\0"] {
            request("GET", "b.example", path, &[], None).unwrap_err();
        }
        let headers = [("x-proof", "abc\r\nhost: evil".to_owned())];
        request("GET", "b.example", "/a", &headers, None).unwrap_err();
        request("POST", "b.example\r\n", "/a", &[], Some("")).unwrap_err();
    }

    #[test]
    fn an_answer_is_read_by_its_length_in_chunks_or_to_its_end() {
        for (text, status, body) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
                200,
                "body",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody and rest",
                200,
                "body",
            ),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n",
                404,
                "",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 F\r\ncontent-length: 1\r\n\r\nx",
                403,
                "x",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nbo\r\n2;a=b\r\ndy\r\n0\r\n\r\n",
                200,
                "body",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nx: y\r\n\r\n",
                200,
                "\r\n\r\n",
            ),
        ] {
            let want = Some((status, body.to_owned()));
            assert_eq!(read(text, false).unwrap(), want, "{text}");
            // Whatever is cut off is waited for, and is none in the end.
            let head = text.rfind(body).filter(|_| status == 200).unwrap_or(0);
            for cut in 0..head {
                assert_eq!(read(&text[..cut], false).unwrap(), None, "{}", &text[..cut]);
            }
        }
        let open = "HTTP/1.1 200 OK\r\n\r\nbody";
        assert_eq!(read(open, false).unwrap(), None);
        assert_eq!(read(open, true).unwrap(), Some((200, "body".to_owned())));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        ] {
            read(text, false).unwrap_err();
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        read(&long, false).unwrap_err();
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_or_is_cut_off_is_refused() {
        for (text, why) in [
            (b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), "too long"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx", "cut off"),
            (b"", "cut off"),
        ] {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            let answering = async move {
                far.write_all(text).await.unwrap();
                while why == "too long" && far.write_all(&[b'x'; 1 << 15]).await.is_ok() {}
            };
            let exchange = exchange(Box::new(near), "GET / HTTP/1.1\r\n\r\n");
            let (answer, ()) = tokio::join!(exchange, answering);
            let error = answer.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
