import ClaudemeshFFI

/// The messages for a peer; one reader at a time per peer.
///
/// Asking for the next message takes the last one: it is not shown again, whatever happens. What was
/// shown last and not taken, because a loop was left or the app ended, is shown again to the next
/// reader, with `again` set; ``taken()`` takes it without asking for another. A cancelled task loses
/// nothing.
public actor Messages: AsyncSequence {
    private let peer: NativePeer
    private var reader: NativeMessages?
    private var place: UInt64 = 0
    private var stopped = false

    init(_ peer: NativePeer) { self.peer = peer }

    deinit { reader?.stop() }

    /// The next message; nil when the peer was shut down or removed, or this was stopped.
    ///
    /// - Throws: ``MeshError`` `already_reading`.
    public func next() async throws -> Message? {
        if stopped { return nil }
        let reader = try await opened()
        guard let shown = try await calling({ [place] in try await reader.next(taken: place, cancel: $0) })
        else {
            stopped = true
            return nil
        }
        // Only now: had this task been cancelled, the same message would be given again.
        place = shown.place
        return shown.message
    }

    private func opened() async throws -> NativeMessages {
        if let reader { return reader }
        let opened = try await calling { [peer] _ in try await peer.messages() }
        reader = opened
        return opened
    }

    /// Says that the message that was shown last is dealt with.
    public func taken() async throws {
        guard let reader else { return }
        try await calling { [place] _ in try await reader.taken(place: place) }
    }

    /// Ends the reader, so that another one may begin.
    public func stop() {
        stopped = true
        reader?.stop()
        reader = nil
    }

    /// Reads with `for try await`.
    public nonisolated func makeAsyncIterator() -> Iterator { Iterator(messages: self) }

    /// Reads with `for try await`.
    public struct Iterator: AsyncIteratorProtocol {
        let messages: Messages

        public mutating func next() async throws -> Message? { try await messages.next() }
    }
}

/// What happens to a peer, from when this was made.
public struct Events: AsyncSequence, Sendable {
    let native: NativeEvents

    /// Reads with `for try await`.
    public func makeAsyncIterator() -> Iterator { Iterator(native: native) }

    /// Reads with `for try await`.
    public struct Iterator: AsyncIteratorProtocol {
        let native: NativeEvents
        var place: UInt64 = 0

        public mutating func next() async throws -> MeshEvent? {
            let (reader, seen) = (native, place)
            guard let shown = try await calling({ try await reader.next(seen: seen, cancel: $0) })
            else { return nil }
            place = shown.place
            return shown.event
        }
    }
}
