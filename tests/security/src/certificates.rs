//! An authority of the tests' own, and what it signs.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// An authority, and a directory for what it signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    name: &'static str,
}

impl Authority {
    /// Makes one; its certificate is `<name>.pem` in `dir`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn new(dir: &Path, name: &'static str) -> anyhow::Result<Self> {
        let mut params = named(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            dir: dir.to_owned(),
            name,
        })
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// Signs a certificate for whoever listens on `localhost`, or calls from there; key and certificate are in one file, as brokers
    /// take them, and librdkafka does.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sign(&self, subject: &str) -> anyhow::Result<PathBuf> {
        let mut params = named(subject)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let file = self.dir.join(format!("{subject}.pem"));
        std::fs::write(
            &file,
            format!("{}{}", key.serialize_pem(), certificate.pem()),
        )?;
        Ok(file)
    }
}

fn named(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
