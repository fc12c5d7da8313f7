import ClaudemeshFFI

/// Follows one message. Letting go of it changes nothing about the message.
public final class Receipt: Sendable {
    private let native: NativeReceipt

    init(_ native: NativeReceipt) { self.native = native }

    /// The message's id.
    public var id: String { native.id() }

    /// How far the message has come, as far as is known now.
    public var state: SendProgress { native.state() }

    /// Why the message failed.
    public var reason: String? { native.reason() }

    /// Waits until the broker has committed the message: from then on it survives any crash. Gives
    /// in how many mailboxes it is, if that was told.
    ///
    /// - Throws: ``MeshError`` `not_delivered`, `closed`.
    @discardableResult
    public func accepted() async throws -> Int? {
        try await calling { try await native.accepted(cancel: $0) }.map(Int.init)
    }

    /// Waits until the recipient's client has stored the message.
    ///
    /// - Throws: ``MeshError`` `not_delivered`, also if it expired; `closed`.
    public func delivered() async throws {
        try await calling { try await native.delivered(cancel: $0) }
    }
}
