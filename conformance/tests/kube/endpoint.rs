//! HTTP endpoints that respond to every request with a name.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// The address of this host in the pod network. The API server rejects loopback addresses as endpoints.
pub(crate) const NODE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 50, 0, 1));

/// Starts an endpoint on a free port of [`NODE_IP`] that responds with `name` until the process ends.
pub(crate) fn start(name: &str) -> SocketAddr {
    start_at((NODE_IP, 0).into(), name)
}

/// Starts an endpoint at a given address.
pub(crate) fn start_at(address: SocketAddr, name: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let bound = listener.local_addr().unwrap();
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let name = name.clone();
            std::thread::spawn(move || serve(stream, &name));
        }
    });
    bound
}

/// Responds to requests without a body until the client closes the connection.
fn serve(mut stream: TcpStream, name: &str) -> Option<()> {
    let _ = stream.set_nodelay(true);
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            read.drain(..end + 4);
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            stream.write_all(response.as_bytes()).ok()?;
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
    }
}
