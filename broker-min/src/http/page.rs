//! `GET /join/<token>`: what a person sees who opens a link in a browser.
//!
//! The secret part of the link is behind the `#` and never reaches this server; a script on the
//! page would see it, so there is none, and the policy allows none.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use claudemesh_core::invite::InviteToken;

use crate::broker::Shared;
use crate::router::{HttpCall, HttpReply, LinkInfo};

const STYLE: &str = "body{max-width:42rem;margin:3rem auto;padding:0 1rem;\
    font:16px/1.6 system-ui,sans-serif;color:#1c1c1e;background:#fff}\
    code,pre{font:14px/1.5 ui-monospace,monospace;background:#f2f2f4;border-radius:4px}\
    code{padding:.1rem .3rem}pre{padding:.8rem;overflow-x:auto}\
    dt{font-weight:600}dd{margin:0 0 .6rem;overflow-wrap:anywhere}\
    @media(prefers-color-scheme:dark){body{color:#eee;background:#161618}\
    code,pre{background:#2a2a2e}}";

const HEADERS: [(HeaderName, &str); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

pub(super) async fn join(State(shared): State<Arc<Shared>>, Path(token): Path<String>) -> Response {
    let payload = InviteToken::parse(&token).and_then(|payload| {
        payload.verify(0)?;
        Ok(payload)
    });
    let Ok(payload) = payload else {
        return invalid();
    };
    let info = match shared.call(HttpCall::Link { token }).await {
        Some(HttpReply::Link(info)) => info,
        _ => {
            let body = "<h1>Try again</h1><p>The broker is busy. Reload this page in a moment.</p>";
            return page(StatusCode::SERVICE_UNAVAILABLE, "Try again", body);
        }
    };
    if info == LinkInfo::Closed("invite_not_found") {
        return invalid();
    }
    let now = shared.clock.now().wall / 1_000;
    let mesh = escape(&payload.mesh_slug);
    let state = state(&payload, &info, now);
    let how = match info {
        LinkInfo::Open { .. } => HOW,
        LinkInfo::Closed(_) => "<p>Ask whoever sent it for a new link.</p>",
    };
    let body = format!(
        "<h1>Invitation to the mesh <q>{mesh}</q></h1>\
         <p>This link lets a person or a program join a claudemesh mesh: a group whose messages \
         are encrypted from end to end. The broker that shows you this page cannot read them.</p>\
         <dl><dt>Mesh</dt><dd>{mesh}</dd>\
         <dt>Broker</dt><dd><code>{broker}</code></dd>\
         <dt>Expires</dt><dd>{expires}</dd>\
         <dt>State</dt><dd>{state}</dd></dl>{how}",
        broker = escape(&payload.broker_url),
        expires = escape(&date(payload.expires_at)),
        state = escape(&state),
    );
    let title = format!("Join {mesh}");
    page(StatusCode::OK, &title, &body)
}

const HOW: &str = "<h2>How to join</h2><ol>\
    <li>Get the <code>claudemesh</code> program. From the project's source: \
    <pre>cargo install --locked --path examples/cli</pre></li>\
    <li>Copy the <strong>whole address of this page</strong>, with everything behind the \
    <code>#</code>, and paste it between the quotes: \
    <pre>claudemesh join '&lt;the whole address of this page&gt;'</pre></li></ol>\
    <p>Keep the link to yourself: whoever has it can join. The part behind the <code>#</code> \
    stays in your browser; this server has not seen it.</p>";

fn state(payload: &InviteToken, info: &LinkInfo, now: u64) -> String {
    match info {
        LinkInfo::Open { .. } if payload.expires_at < now => "expired".to_owned(),
        LinkInfo::Open { left: 1 } => "good for one more use".to_owned(),
        LinkInfo::Open { left } => format!("good for {left} more uses"),
        LinkInfo::Closed("invite_expired") => "expired".to_owned(),
        LinkInfo::Closed("invite_exhausted") => "used up".to_owned(),
        LinkInfo::Closed("invite_revoked") => "taken back".to_owned(),
        LinkInfo::Closed(_) => "no longer good".to_owned(),
    }
}

fn invalid() -> Response {
    let body = "<h1>This link is not valid</h1><p>It is incomplete, was changed on its way, or \
                belongs to another broker. Copy the whole link again, or ask whoever sent it for \
                a new one.</p>";
    page(StatusCode::NOT_FOUND, "Not a valid link", body)
}

/// `title` and `body` are escaped already.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style><main>{body}</main></html>"
    );
    (status, HEADERS, Html(html)).into_response()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `2026-11-23 09:00 UTC` of unix seconds.
fn date(seconds: u64) -> String {
    // Days to a civil date, after Howard Hinnant's algorithm; the years end before it overflows.
    let days = (seconds / 86_400).min(3_000_000);
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_414_968), "2026-11-23 06:22 UTC");
        date(u64::MAX);
    }

    #[test]
    fn what_a_token_says_is_only_text() {
        assert_eq!(
            escape("<a href='x'>&\"\n"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}"
        );
    }
}
