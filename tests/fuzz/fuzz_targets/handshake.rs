//! Bytes of a TLS handshake, and files for it: they end in an alert or an error.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair};

fuzz_target!(|data: &[u8]| {
    static SERVER: LazyLock<std::sync::Arc<rustls::ServerConfig>> = LazyLock::new(|| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["app.example".to_owned()]).expect("a name");
        segue::fuzzing::server(params.self_signed(&key).expect("a certificate").der(), &key.serialize_der())
    });
    segue::fuzzing::handshake(data, &SERVER);
});
