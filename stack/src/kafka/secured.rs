//! The broker's listener for clients that encrypt and say who they are: SASL_SSL. The broker's own traffic and its
//! controller's stay as they are.

use std::fs;
use std::path::PathBuf;

use crate::error::StackError;
use crate::options::{Secured, StackOptions};
use crate::site::Site;

const PREFIX: &str = "listener.name.secured";
const MODULES: &str = "org.apache.kafka.common.security";
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
/// The broker itself comes by the open listener, and has no name there.
const AUTHORIZER: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                          super.users=User:ANONYMOUS\n";

/// The listener `SECURED`, and the users that it knows.
#[derive(Clone)]
pub(super) struct SecuredListener {
    port: u16,
    users: Vec<String>,
    authorizes: bool,
    password: String,
    /// Key and certificate in one file, as the broker wants them.
    key_store: PathBuf,
}

impl SecuredListener {
    /// `None`: the stack is not secured.
    pub(super) fn build(site: &mut Site<'_>, options: &StackOptions) -> Result<Option<Self>, StackError> {
        let (Some(secured), Some(certificates)) = (&options.secured, &site.certificates) else {
            return Ok(None);
        };
        let key_store = certificates.key.with_file_name("kafka.pem");
        let parts = [&certificates.key, &certificates.certificate].map(fs::read_to_string);
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>().map_err(StackError::io("read a certificate"))?;
        fs::write(&key_store, parts.concat()).map_err(StackError::io("write a key store"))?;
        let Secured { kafka_users: users, kafka_authorizes: authorizes, kafka_password: password, .. } =
            secured.clone();
        Ok(Some(Self { port: site.ports.take()?, users, authorizes, password, key_store }))
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lines of the broker's settings.
    pub(super) fn settings(&self) -> String {
        let Self { users, password, .. } = self;
        let [first, second] = SCRAM;
        let scram = SCRAM.map(|mechanism| {
            let mechanism = mechanism.to_lowercase();
            format!("{PREFIX}.{mechanism}.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;\n")
        });
        let plain: String = users.iter().map(|user| format!(" user_{user}=\"{password}\"")).collect();
        let authorizer = if self.authorizes { AUTHORIZER } else { "" };
        format!(
            "{authorizer}{PREFIX}.ssl.keystore.type=PEM\n{PREFIX}.ssl.keystore.location={}\n\
             {PREFIX}.sasl.enabled.mechanisms=PLAIN,{first},{second}\n{}\
             {PREFIX}.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule required{plain};\n",
            self.key_store.display(),
            scram.concat()
        )
    }

    /// What the format of the broker's folder is told, so that the users are known from the first request on.
    pub(super) fn scram_arguments(&self) -> Vec<String> {
        let Self { users, password, .. } = self;
        let each = users.iter().flat_map(|user| SCRAM.map(|mechanism| (user, mechanism)));
        let added = |(user, mechanism)| format!("{mechanism}=[name=\"{user}\",password=\"{password}\"]");
        each.flat_map(|one| ["--add-scram".to_owned(), added(one)]).collect()
    }
}
