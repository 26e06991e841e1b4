//! TLS as libpq's `sslmode` has it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::target::{TlsMode, TlsWish};

/// Certificates or keys that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0}: {1}")]
    File(String, rustls::pki_types::pem::Error),
    #[error("no root certificate of this machine could be read; name one with sslrootcert")]
    NoRoots,
    #[error(transparent)]
    Tls(#[from] Error),
    #[error("certificates can't be verified: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// How much of the server's certificate has to be right.
#[derive(Debug)]
enum Trust {
    /// Nothing: the connection is private, its other end unknown.
    Anyone,
    /// It was signed by a root that we trust.
    Signed(Arc<WebPkiServerVerifier>),
    /// And it bears the server's name.
    Named(Arc<WebPkiServerVerifier>),
}

pub(super) fn connector(wish: &TlsWish) -> Result<TlsConnector, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = match (wish.mode, &wish.roots) {
        (TlsMode::VerifyFull, roots) => Trust::Named(verifier(roots.as_deref(), &provider)?),
        (TlsMode::VerifyCa, roots) => Trust::Signed(verifier(roots.as_deref(), &provider)?),
        // With a root at hand, `require` verifies as `verify-ca` does.
        (TlsMode::Require, Some(roots)) => Trust::Signed(verifier(Some(roots), &provider)?),
        _ => Trust::Anyone,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { trust, provider: provider.clone() }));
    let config = match &wish.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let failed = |error| TlsError::File(key.display().to_string(), error);
            let key = PrivateKeyDer::from_pem_file(key).map_err(failed)?;
            builder.with_client_auth_cert(certificates(certificate)?, key)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| TlsError::File(file.display().to_string(), error);
    CertificateDer::pem_file_iter(file).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn verifier(file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => roots.add_parsable_certificates(certificates(file)?),
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?)
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.trust {
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
            Trust::Named(verifier) => verify(verifier),
            // The chain is verified before the name is.
            Trust::Signed(verifier) => match verify(verifier) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verified => verified,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
