import ClaudemeshFFI
import Foundation

/// One identity in one mesh. It connects, and connects again, by itself; end it with
/// ``shutdown(within:)``, or let go of it and of everything made from it.
public final class Peer: Sendable {
    let native: NativePeer

    init(_ native: NativePeer) { self.native = native }

    /// The mesh.
    public var mesh: MeshInfo { native.mesh() }

    /// Who this peer is: its key, in hex.
    public var key: String { native.key() }

    /// Where the connection stands now.
    public var connection: ConnectionState { native.connection() }

    /// Waits for the connection.
    ///
    /// - Throws: ``MeshError`` `not_connected`, `removed`, `closed`.
    public func connected(within limit: Duration = .seconds(10)) async throws {
        try await calling { try await native.connected(limit: limit.seconds, cancel: $0) }
    }

    /// Waits until all that waited at the broker was received.
    public func caughtUp(within limit: Duration = .seconds(10)) async throws {
        try await calling { try await native.caughtUp(limit: limit.seconds, cancel: $0) }
    }

    /// Waits until the broker has answered for all that was sent.
    public func flush(within limit: Duration = .seconds(10)) async throws {
        try await calling { try await native.flush(limit: limit.seconds, cancel: $0) }
    }

    /// Ends this peer: sends what is on its way, at most for `limit`. Readers end too. What is not
    /// answered by then stays in the outbox.
    public func shutdown(within limit: Duration = .seconds(5)) async throws {
        try await calling { _ in try await native.shutdown(limit: limit.seconds) }
    }

    // MARK: Messages

    /// Sends a text to a member (name, key or an unambiguous beginning of it) or a channel
    /// (`#topic`, `@group`, `*` for everybody). When it returns the message is in the outbox.
    ///
    /// - Throws: ``MeshError`` `unknown_recipient`, `ambiguous_recipient`, `recipient_removed`,
    ///   `message_too_large`, `not_in_channel`, `no_such_channel`, `removed`, `disk_full`.
    @discardableResult
    public func send(_ text: String, to recipient: String) async throws -> Receipt {
        Receipt(try await calling { try await native.sendText(to: recipient, text: text, cancel: $0) })
    }

    /// As ``send(_:to:)``, with everything that can be said about a message.
    @discardableResult
    public func send(
        _ body: Data, to recipient: String, contentType: String = "application/octet-stream",
        priority: Priority? = nil, replyTo: String? = nil, attributes: [String] = [],
        expiresIn: Duration? = nil
    ) async throws -> Receipt {
        let message = NewMessage(
            body: body, contentType: contentType, priority: priority, replyTo: replyTo,
            attributes: attributes, expiresIn: expiresIn?.seconds)
        return Receipt(try await calling { try await native.send(to: recipient, message: message, cancel: $0) })
    }

    /// Answers a message where it was said: in its channel, or to its sender.
    @discardableResult
    public func reply(to message: Message, _ text: String) async throws -> Receipt {
        Receipt(try await calling { try await native.reply(message: message, text: text, cancel: $0) })
    }

    /// Gives up a message that was never handed to the network.
    public func cancelMessage(_ id: String) async throws -> Bool {
        try await calling { _ in try await native.cancelMessage(id: id) }
    }

    /// The outbox, oldest first; with `final`, settled messages too.
    public func outbox(final: Bool = false) async throws -> [OutboxItem] {
        try await calling { _ in try await native.outbox(all: final) }
    }

    /// The messages for this peer.
    public func messages() -> Messages { Messages(native) }

    /// What happens from now on.
    public func events() -> Events { Events(native: native.events()) }

    /// What is unread now, without taking it.
    public func unread(limit: Int = 100) async throws -> [Message] {
        try await calling { _ in try await native.unread(limit: UInt32(clamping: limit)) }
    }

    /// The newest received messages, read or not, in the order they came.
    public func history(limit: Int = 100) async throws -> [Message] {
        try await calling { _ in try await native.history(limit: UInt32(clamping: limit)) }
    }

    /// Says how attentive this peer is.
    public func setStatus(_ status: Attention) async throws {
        try await calling { _ in try await native.setStatus(status: status) }
    }

    /// Says in a few words what this peer does; empty: nothing.
    public func setSummary(_ text: String) async throws {
        try await calling { _ in try await native.setSummary(text: text) }
    }
}
