//! Signatures of a document: minisign, or ssh (`ssh-keygen -Y sign -n eastwatch-baseline`) with an ed25519 key.
//! Verified here, in the process that imports, so that no other program has to be trusted or installed. At most
//! [`KEYS_MAX`] keys of a file; a file with more is refused.

use sha2::{Digest, Sha256, Sha512};

use crate::model::from_base64;

/// What an ssh signature must have been made for (`-n`).
pub const NAMESPACE: &str = "eastwatch-baseline";
const KEYS_MAX: usize = 64;
const MAGIC: &[u8] = b"SSHSIG";
const ED25519: &[u8] = b"ssh-ed25519";

/// Keys that people sign with.
#[derive(Default)]
pub struct Signers {
    minisign: Vec<minisign_verify::PublicKey>,
    ssh: Vec<(ed25519_compact::PublicKey, String)>,
}

impl Signers {
    /// From lines: a minisign public key, or an ssh key as in `id_ed25519.pub` or an `allowed_signers` file. Empty
    /// lines, lines that begin with `#`, and minisign's `untrusted comment:` say nothing.
    ///
    /// # Errors
    /// The line that is no key, or that there is none.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut signers = Signers::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line.starts_with("untrusted comment:") {
                continue;
            }
            let wrong = |why: &str| format!("{name}:{}: {why}", number + 1);
            if signers.minisign.len() + signers.ssh.len() >= KEYS_MAX {
                return Err(wrong(&format!("more than {KEYS_MAX} keys")));
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let ssh = words
                .iter()
                .position(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-"));
            match (ssh.map(|at| words.split_at(at)), words.as_slice()) {
                (Some((_, ["ssh-ed25519", key, comment @ ..])), _) => {
                    let key = from_base64(key.as_bytes()).and_then(|blob| ed25519_key(&blob));
                    signers.ssh.push((key.ok_or_else(|| wrong("this is no ssh-ed25519 key"))?, comment.join(" ")));
                }
                (Some(_), _) => {
                    return Err(wrong("of ssh keys only ssh-ed25519 is read: make one with ssh-keygen -t ed25519"));
                }
                (None, [key]) => {
                    let key = minisign_verify::PublicKey::from_base64(key);
                    signers
                        .minisign
                        .push(key.map_err(|_| wrong("this is neither a minisign public key nor an ssh key"))?);
                }
                _ => return Err(wrong("this is neither a minisign public key nor an ssh key")),
            }
        }
        match signers.minisign.is_empty() && signers.ssh.is_empty() {
            true => Err(format!("{name}: no key is in it")),
            false => Ok(signers),
        }
    }

    /// Did one of them sign this? Says who.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, text: &[u8], signature: &str) -> Result<String, String> {
        if let Some(armoured) = signature.trim().strip_prefix("-----BEGIN SSH SIGNATURE-----") {
            let body = armoured.strip_suffix("-----END SSH SIGNATURE-----").unwrap_or_default();
            let blob = from_base64(body.split_whitespace().collect::<String>().as_bytes());
            return self.verify_ssh(text, &blob.ok_or("the ssh signature is cut or damaged")?);
        }
        let signature = minisign_verify::Signature::decode(signature)
            .map_err(|_| "it is neither a minisign signature (.minisig) nor an ssh signature (.sig)")?;
        // Old signatures of the whole text are as strong as those of its digest.
        match self.minisign.iter().any(|key| key.verify(text, &signature, true).is_ok()) {
            true => Ok(format!("minisign key, `{}`", signature.trusted_comment())),
            false if self.minisign.is_empty() => {
                Err("it is a minisign signature, and no minisign key is given".to_owned())
            }
            false => Err("the signature is not of this text by any of the keys".to_owned()),
        }
    }

    /// PROTOCOL.sshsig of OpenSSH: what is signed is the magic, namespace, reserved, hash name and hash of the text.
    fn verify_ssh(&self, text: &[u8], blob: &[u8]) -> Result<String, String> {
        let cut = || "the ssh signature is cut or damaged".to_owned();
        let rest = blob.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&[0, 0, 0, 1])).ok_or_else(cut)?;
        let mut reader = Reader(rest);
        let (key, namespace) = (reader.string().ok_or_else(cut)?, reader.string().ok_or_else(cut)?);
        let (reserved, hash) = (reader.string().ok_or_else(cut)?, reader.string().ok_or_else(cut)?);
        let mut signature = Reader(reader.string().ok_or_else(cut)?);
        if namespace != NAMESPACE.as_bytes() {
            let found = String::from_utf8_lossy(namespace).escape_debug().to_string();
            return Err(format!("it was signed for `{found}`: sign with ssh-keygen -Y sign -n {NAMESPACE}"));
        }
        let digest = match hash {
            b"sha512" => Sha512::digest(text).to_vec(),
            b"sha256" => Sha256::digest(text).to_vec(),
            _ => return Err("the ssh signature is of an unknown hash".to_owned()),
        };
        let (kind, raw) = (signature.string().ok_or_else(cut)?, signature.string().ok_or_else(cut)?);
        if kind != ED25519 {
            return Err("the ssh signature is not by an ed25519 key; only those are read".to_owned());
        }
        let key = ed25519_key(key).ok_or_else(cut)?;
        let who = self.ssh.iter().find(|(known, _)| *known == key);
        let (known, comment) = who.ok_or("it is signed by an ssh key that is not among the keys")?;
        let mut signed = MAGIC.to_vec();
        for part in [namespace, reserved, hash, &digest] {
            signed.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            signed.extend(part);
        }
        let signature = ed25519_compact::Signature::from_slice(raw).map_err(|_| cut())?;
        match known.verify(&signed, &signature) {
            Ok(()) => Ok(format!("ssh key {comment}")),
            Err(_) => Err("the signature is not of this text by any of the keys".to_owned()),
        }
    }
}

fn ed25519_key(blob: &[u8]) -> Option<ed25519_compact::PublicKey> {
    let mut reader = Reader(blob);
    let (kind, key) = (reader.string()?, reader.string()?);
    (kind == ED25519).then(|| ed25519_compact::PublicKey::from_slice(key).ok()).flatten()
}

/// Strings of the ssh wire: four bytes of length, then the bytes.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn string(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn armoured(blob: &[u8]) -> String {
        crate::model::to_base64_unpadded(blob)
    }

    fn pair(seed: u8) -> (ed25519_compact::KeyPair, String) {
        let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([seed; 32]));
        let blob = [string(ED25519), string(pair.pk.as_ref())].concat();
        (pair, format!("ssh-ed25519 {} ops@example", armoured(&blob)))
    }

    fn signed(pair: &ed25519_compact::KeyPair, text: &[u8], namespace: &str) -> String {
        let digest = Sha512::digest(text);
        let parts = [string(namespace.as_bytes()), string(b""), string(b"sha512")].concat();
        let message = [MAGIC, &parts, &string(&digest)].concat();
        let raw = pair.sk.sign(&message, None);
        let key = [string(ED25519), string(pair.pk.as_ref())].concat();
        let signature = [string(ED25519), string(raw.as_ref())].concat();
        let blob = [MAGIC, &[0, 0, 0, 1], &string(&key), &parts, &string(&signature)].concat();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", armoured(&blob))
    }

    #[test]
    fn an_ssh_signature_holds_for_its_text_its_key_and_its_purpose_only() {
        let (own, line) = pair(1);
        let signers = Signers::parse("keys", &format!("# ops\nops@example {line}\n")).expect("a key");
        let good = signed(&own, b"text", NAMESPACE);
        assert_eq!(signers.verify(b"text", &good), Ok("ssh key ops@example".to_owned()));
        assert!(signers.verify(b"test", &good).unwrap_err().contains("not of this text"));
        assert!(signers.verify(b"text", &signed(&pair(2).0, b"text", NAMESPACE)).unwrap_err().contains("not among"));
        assert!(signers.verify(b"text", &signed(&own, b"text", "git")).unwrap_err().contains("signed for `git`"));
    }

    #[test]
    fn a_damaged_signature_is_told_and_never_believed() {
        let (own, line) = pair(1);
        let signers = Signers::parse("keys", &line).expect("a key");
        let good = signed(&own, b"text", NAMESPACE);
        let begin = good.find('\n').unwrap_or_default() + 1;
        let body = good.lines().nth(1).unwrap_or_default();
        // The last characters may hold bits that stand for nothing.
        for at in begin..begin + body.len() - 2 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).expect("text");
            assert!(signers.verify(b"text", &text).is_err(), "flipped at {at}");
            assert!(signers.verify(b"text", good.get(..at).unwrap_or_default()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_with_its_line() {
        let error = |text: &str| Signers::parse("keys", text).map(|_| ()).unwrap_err();
        assert_eq!(error("\n\nnonsense here\n"), "keys:3: this is neither a minisign public key nor an ssh key");
        assert!(error("ssh-rsa AAAA x").contains("only ssh-ed25519"));
        assert_eq!(error("# nothing\n"), "keys: no key is in it");
    }
}
