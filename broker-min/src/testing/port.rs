//! A port that stays one's own while a broker is away from it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// A port of this machine's loopback for a broker that ends and starts again. While the value
/// lives, the system gives the port to nobody who asks for just any, neither to listen nor to dial
/// from; whoever names it, as a broker does, can listen there.
///
/// Held so on Linux; elsewhere it is merely a port that was free when it was asked for.
#[derive(Debug)]
pub struct HeldPort {
    addr: SocketAddr,
    // Bound and never listening: that is what keeps the port from others.
    _socket: Option<TcpSocket>,
}

impl HeldPort {
    /// Takes a free one.
    ///
    /// # Errors
    /// What the system says when it has none left.
    pub fn take() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Both sides must allow it, or the broker could not listen here too.
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = socket.local_addr()?;
        let _socket = cfg!(target_os = "linux").then_some(socket);
        Ok(Self { addr, _socket })
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens there.
    ///
    /// # Errors
    /// What the system says when somebody listens there already.
    pub async fn listen(&self) -> io::Result<TcpListener> {
        TcpListener::bind(self.addr).await
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::HeldPort;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn it_is_listened_on_again_and_again_and_given_to_nobody_else() {
        let held = HeldPort::take().unwrap();
        for _ in 0..3 {
            assert!(TcpStream::connect(held.addr()).await.is_err());
            let listener = held.listen().await.unwrap();
            assert!(held.listen().await.is_err());
            let (dialled, taken) = tokio::join!(TcpStream::connect(held.addr()), listener.accept());
            drop((dialled.unwrap(), taken.unwrap()));
            drop(listener);
            let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
            assert_ne!(other.local_addr().unwrap(), held.addr());
        }
    }
}
