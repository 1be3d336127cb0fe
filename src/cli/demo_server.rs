//! `segue demo-server`: one of the servers behind `segue demo`.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Serves until the demo ends; prints its address first.
#[must_use]
pub fn run(name: &str) -> ExitCode {
    match serve(name) {
        Ok(never) => match never {},
        Err(fault) => {
            eprintln!("segue demo-server: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str) -> io::Result<Infallible> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(answer(stream, name.to_owned()));
        }
    })
}

async fn answer(stream: TcpStream, name: String) {
    let service = service_fn(move |request: Request<Incoming>| {
        let text = format!("{name} answers {} {}\n", request.method(), request.uri().path());
        async move {
            let mut response = Response::new(text);
            let plain = header::HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            Ok::<_, Infallible>(response)
        }
    });
    // a client may break off
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
