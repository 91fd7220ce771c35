//! Clients of the server of PostgreSQL's protocol: an input is `u` for a server that asks who is there or another byte for one
//! that does not, then all that a client sends before it says no more.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use polysema::serve::users::{self, Role};
use polysema::serve::{Listening, ServeLimits, ServeOptions};
use polysema_fuzz::{RUNTIME, panics, scratch, stores};
use socket2::{Domain, Socket, Type};

struct Servers {
    asking: SocketAddr,
    open: SocketAddr,
}

static SERVERS: LazyLock<Servers> = LazyLock::new(|| {
    let root = scratch("postgres");
    let (store, file) = (root.join("store"), root.join("users"));
    stores::fill(&store);
    users::add(&file, "ana", Role::Reader, "a long password").expect("a new user");
    Servers {
        asking: begin(&store, Some(file)),
        open: begin(&store, None),
    }
});

fn begin(store: &Path, users: Option<PathBuf>) -> SocketAddr {
    let options = ServeOptions {
        engine: stores::options(store),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        http: None,
        users,
        role: Role::Reader,
        tls: None,
        plaintext: false,
        limits: ServeLimits {
            max_rows: Some(100),
            statement_timeout: Some(Duration::from_secs(2)),
            ..ServeLimits::default()
        },
    };
    let server = RUNTIME
        .block_on(Listening::open(options))
        .expect("a server");
    let address = server.postgres().expect("an address");
    RUNTIME.spawn(server.serve(std::future::pending()));
    address
}

/// A client at an address of its own, so that none waits for what others have guessed.
fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % (1 << 23) + 1;
        let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 1).to_bits() + next);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        match socket.connect(&to.into()) {
            // The fuzzer looks at its clock by a signal.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            connected => return connected.map(|()| socket.into()),
        }
    }
}

fuzz_target!(init: panics::watch(), |input: &[u8]| -> Corpus {
    let Some((&server, sent)) = input.split_first() else {
        return Corpus::Reject;
    };
    let address = match server {
        b'u' => SERVERS.asking,
        _ => SERVERS.open,
    };
    let mut client = connect(address).expect("a server that listens");
    // It may have had enough before it has heard all.
    let _ = client.write_all(sent);
    let _ = client.shutdown(Shutdown::Write);
    let mut answers = vec![];
    match client.read_to_end(&mut answers) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => {}
    }
    Corpus::Keep
});
