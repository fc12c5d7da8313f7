//! Agreeing on a key: X25519 (RFC 7748), and P-256 for servers that have nothing else.

use curve25519_dalek::MontgomeryPoint;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use zeroize::Zeroizing;

const BAD_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|_| GetRandomFailed)?;
    Ok(bytes)
}

#[derive(Debug)]
pub(super) struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = random()?;
        let public = MontgomeryPoint::mul_base_clamped(*secret).to_bytes();
        Ok(Box::new(StartedX25519 { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

struct StartedX25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl ActiveKeyExchange for StartedX25519 {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let theirs: [u8; 32] = theirs.try_into().map_err(|_| BAD_SHARE)?;
        let shared = MontgomeryPoint(theirs).mul_clamped(*self.secret);
        let shared = Zeroizing::new(shared.to_bytes());
        // A point of small order gives zero for every secret (RFC 8446, 7.4.2).
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(BAD_SHARE);
        }
        Ok(SharedSecret::from(shared.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

#[derive(Debug)]
pub(super) struct P256;

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        loop {
            // One in 2^32 is no scalar of the curve.
            let Ok(secret) = p256::SecretKey::from_slice(random()?.as_slice()) else {
                continue;
            };
            let public = secret.public_key().to_encoded_point(false);
            return Ok(Box::new(StartedP256 { secret, public }));
        }
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

struct StartedP256 {
    secret: p256::SecretKey,
    public: p256::EncodedPoint,
}

impl ActiveKeyExchange for StartedP256 {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        // TLS 1.3 has the uncompressed form alone; what is not on the curve is refused.
        if theirs.first() != Some(&4) {
            return Err(BAD_SHARE);
        }
        let theirs = p256::PublicKey::from_sec1_bytes(theirs).map_err(|_| BAD_SHARE)?;
        let shared =
            p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), theirs.as_affine());
        Ok(SharedSecret::from(shared.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{P256, X25519};
    use rustls::crypto::SupportedKxGroup;
    use rustls::crypto::ring::kx_group;

    #[test]
    fn secrets_agree_with_those_of_ring() {
        let pairs: [(&dyn SupportedKxGroup, &dyn SupportedKxGroup); 2] =
            [(&X25519, kx_group::X25519), (&P256, kx_group::SECP256R1)];
        for (ours, theirs) in pairs {
            assert_eq!(ours.name(), theirs.name());
            let mut before = Vec::new();
            for _ in 0..20 {
                let ours = ours.start().unwrap();
                assert_ne!(ours.pub_key(), before, "a share is never used twice");
                before = ours.pub_key().to_vec();
                let theirs = theirs.start_and_complete(ours.pub_key()).unwrap();
                let secret = ours.complete(&theirs.pub_key).unwrap();
                assert_eq!(secret.secret_bytes(), theirs.secret.secret_bytes());
            }
        }
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        let x25519 = |share: &[u8]| X25519.start().unwrap().complete(share).is_err();
        let mut one = [0; 32];
        one[0] = 1;
        // Zero and one are of small order.
        assert!(x25519(&[0; 32]) && x25519(&one));
        assert!(x25519(&[]) && x25519(&[9; 31]) && x25519(&[9; 33]));
        assert!(!x25519(&[9; 32]));

        let p256 = |share: &[u8]| P256.start().unwrap().complete(share).is_err();
        let good = P256.start().unwrap().pub_key().to_vec();
        assert!(good.len() == 65 && !p256(&good));
        for bit in [8, 200, 519] {
            let mut off_the_curve = good.clone();
            off_the_curve[bit / 8] ^= 1 << (bit % 8);
            assert!(p256(&off_the_curve), "{bit}");
        }
        let mut compressed = good[..33].to_vec();
        compressed[0] = 2 | (good[64] & 1);
        assert!(p256(&compressed) && p256(&[0]) && p256(&[]));
        assert!(p256(&good[..64]) && p256(&[&good[..], &[0]].concat()));
        let zero = [&[4][..], &[0; 64]].concat();
        assert!(p256(&zero));
    }
}
