//! Mails over SMTP (RFC 5321), each on a connection of its own.
//!
//! What a mail server says may repeat addresses: of its answers only the code is told.

use std::{error::Error as _, fs, path::Path, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    transport::smtp::{
        self,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls as Encryption, TlsParameters},
        extension::ClientId,
    },
};
use rustls::{RootCertStore, pki_types::CertificateDer};
use secrecy::ExposeSecret;

use super::{Sender, Sent, Smtp, Tls, message::Packed};
use crate::error::{Error, Result};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(30);

/// Answers that refuse us and not the mail: 530, 534, 535 and 538 (RFC 4954). Somebody may set that right.
const OURS: [u16; 4] = [530, 534, 535, 538];

/// A mail server.
#[derive(Clone)]
pub(super) struct Transport(AsyncSmtpTransport<Tokio1Executor>);

impl Transport {
    pub(super) fn new(settings: &Smtp, sender: &Sender) -> Result<Self> {
        let domain = sender.address.as_str().rsplit_once('@').map(|(_, domain)| domain.to_owned());
        let encryption = match settings.tls {
            Tls::Implicit => Encryption::Wrapper(parameters(settings)?),
            Tls::StartTls => Encryption::Required(parameters(settings)?),
            Tls::Off => Encryption::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
            .port(settings.port)
            .timeout(Some(CONNECT))
            .hello_name(domain.map_or_else(ClientId::default, ClientId::Domain))
            .tls(encryption);
        if let Some((user, password)) = &settings.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self(builder.build::<Tokio1Executor>()))
    }

    pub(super) async fn send(&self, message: &Packed) -> Result<Sent> {
        let sending = self.0.send_raw(&message.envelope, &message.bytes);
        match tokio::time::timeout(WHOLE, sending).await {
            Ok(Ok(_)) => Ok(Sent::Accepted),
            Ok(Err(error)) => judge(&error),
            Err(_) => Err(away("it did not end in time".to_owned())),
        }
    }
}

fn judge(error: &smtp::Error) -> Result<Sent> {
    let Some(code) = error.status().map(u16::from) else { return Err(away(cause(error))) };
    if error.is_permanent() && !OURS.contains(&code) {
        return Ok(Sent::Refused(format!("the mail server refuses it for good, with the code {code}")));
    }
    Err(away(format!("the code {code}")))
}

fn away(cause: String) -> Error {
    let detail = "the mail server cannot be reached, or takes no mail now";
    Error::unavailable("mail_unavailable", detail, anyhow::Error::msg(cause))
}

/// What happened on the way to the server, which says nothing of what is in the mail.
fn cause(error: &smtp::Error) -> String {
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(source) => source.to_string(),
        None if error.is_tls() => "TLS".to_owned(),
        None if error.is_response() => "an answer that is none of SMTP's".to_owned(),
        None => "the connection".to_owned(),
    }
}

/// The certificate has to be valid for the host, by an authority of the system's or of the file.
fn parameters(settings: &Smtp) -> Result<TlsParameters> {
    // One that cannot be read would make all others useless.
    let is_usable =
        |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone().into_owned()).is_ok();
    let mut native = rustls_native_certs::load_native_certs().certs;
    native.retain(is_usable);
    let mut builder = TlsParameters::builder(settings.host.clone()).certificate_store(if native.is_empty() {
        CertificateStore::WebpkiRoots
    } else {
        CertificateStore::None
    });
    for certificate in native {
        builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec()).map_err(Error::internal)?);
    }
    if let Some(file) = &settings.ca_file {
        builder = builder.add_root_certificate(read(file)?);
    }
    builder.build().map_err(Error::internal)
}

fn read(file: &Path) -> Result<Certificate> {
    let pem = fs::read(file).map_err(Error::internal)?;
    Certificate::from_pem(&pem).map_err(Error::internal)
}
