//! Backups of the configuration, as the existing system describes them.

use claudemesh_core::config::{Passphrase, open_backup};
use claudemesh_core::crypto::{Cost, PassphraseKey};
use claudemesh_core::encoding::{hex, unbase64, unhex_array};
use serde_json::Value;

use crate::harness::{REJECTED, Section, Vectors, Verdict, cases, same, text};

/// Opens each file; one that opens is sealed again under its salt and nonce.
pub(crate) fn backup_cmb(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        run.case(case, || {
            let blob = text(case, "blob_b64").and_then(|blob| unbase64(blob).ok());
            let blob = blob.ok_or("undecided: no file")?;
            let secret = text(case, "passphrase_utf8").ok_or("undecided: no passphrase")?;
            let Ok(opened) = open_backup(&blob, &Passphrase::new(secret)) else {
                return Ok(REJECTED);
            };
            let plaintext = std::str::from_utf8(&opened).map_err(|error| error.to_string())?;
            same("plaintext", plaintext, text(case, "plaintext_utf8"))?;
            let (Some(salt), Some(nonce)) = (text(case, "salt_hex"), text(case, "nonce_hex"))
            else {
                return Ok(Verdict::Accepted);
            };
            let salt = unhex_array(salt).map_err(|error| error.to_string())?;
            let nonce = unhex_array(nonce).map_err(|error| error.to_string())?;
            let key = PassphraseKey::derive(secret.as_bytes(), &salt, Cost::STANDARD)
                .map_err(|error| error.to_string())?;
            let sealed = key.seal(&nonce, &[], &opened);
            let sealed = sealed.map_err(|error| error.to_string())?;
            let ours = hex(&[&b"CMB1"[..], &salt, &nonce, &sealed].concat());
            same("file", ours.as_str(), text(case, "blob_hex"))?;
            Ok(Verdict::Accepted)
        });
    }
}
