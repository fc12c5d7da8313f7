import ClaudemeshFFI
import Foundation

/// Topics and groups.
extension Peer {
    /// The topics and groups of this mesh.
    public func channels() throws -> [MeshChannel] { try calling { try native.channels() } }

    /// A channel with its members.
    ///
    /// - Throws: ``MeshError`` `no_such_channel`, `not_in_channel`.
    public func channel(_ name: String) async throws -> ChannelMembers {
        try await calling { try await native.channel(name: name, cancel: $0) }
    }

    /// Makes a topic (`#name`) or a group (`@name`).
    public func createChannel(_ name: String, public isPublic: Bool = true) async throws {
        try await calling { try await native.createChannel(name: name, public: isPublic, cancel: $0) }
    }

    /// Joins a public channel.
    public func joinChannel(_ name: String) async throws {
        try await calling { try await native.joinChannel(name: name, cancel: $0) }
    }

    /// Leaves a channel.
    public func leaveChannel(_ name: String) async throws {
        try await calling { try await native.leaveChannel(name: name, cancel: $0) }
    }

    /// Takes a member into a channel.
    public func add(_ member: String, toChannel name: String, lead: Bool = false) async throws {
        try await calling { try await native.addToChannel(name: name, member: member, lead: lead, cancel: $0) }
    }

    /// Takes a member out of a channel.
    public func remove(_ member: String, fromChannel name: String) async throws {
        try await calling { try await native.removeFromChannel(name: name, member: member, cancel: $0) }
    }

    /// What was said in a topic, newest first, older than the place `before`.
    public func channelHistory(_ name: String, before: String? = nil, limit: Int = 50) async throws -> HistoryPage {
        try await calling {
            try await native.channelHistory(
                name: name, before: before, limit: UInt32(clamping: limit), cancel: $0)
        }
    }
}

/// State, memories, schedules.
extension Peer {
    /// Keeps a value of the mesh's state; gives its version.
    ///
    /// - Throws: ``MeshError`` `state_conflict`.
    @discardableResult
    public func setState(_ key: String, _ value: String, ifVersion: UInt64? = nil) async throws -> UInt64 {
        try await calling {
            try await native.setState(key: key, value: value, ifVersion: ifVersion, cancel: $0)
        }
    }

    /// A value of the mesh's state.
    public func state(_ key: String) async throws -> KeptValue? {
        try await calling { try await native.state(key: key, cancel: $0) }
    }

    /// All values of the mesh's state.
    public func listState() async throws -> [KeptValue] {
        try await calling { try await native.listState(cancel: $0) }
    }

    /// Keeps a memory; gives its id.
    @discardableResult
    public func remember(_ text: String, tags: [String] = []) async throws -> String {
        try await calling { try await native.remember(text: text, tags: tags, cancel: $0) }
    }

    /// The memories with every word of `query`, newest first.
    public func recall(_ query: String = "") async throws -> [KeptValue] {
        try await calling { try await native.recall(query: query, cancel: $0) }
    }

    /// Forgets a memory.
    public func forget(memory id: String) async throws {
        try await calling { try await native.forget(id: id, cancel: $0) }
    }

    /// Sends a message at a time, also while this peer is away then.
    public func schedule(_ text: String, to recipient: String, at: Date) async throws -> ScheduledMessage {
        let message = NewMessage(body: Data(text.utf8))
        return try await calling {
            try await native.schedule(to: recipient, message: message, at: at, cancel: $0)
        }
    }

    /// Sends a message at each time that five fields name, in UTC, while this peer is there.
    public func schedule(_ text: String, to recipient: String, cron: String) async throws -> ScheduledMessage {
        let message = NewMessage(body: Data(text.utf8))
        return try await calling {
            try await native.scheduleRepeated(to: recipient, message: message, cron: cron, cancel: $0)
        }
    }

    /// The own schedules.
    public func schedules() async throws -> [ScheduledMessage] {
        try await calling { try await native.schedules(cancel: $0) }
    }

    /// Gives up a schedule.
    public func cancelSchedule(_ id: String) async throws -> Bool {
        try await calling { try await native.cancelSchedule(id: id, cancel: $0) }
    }
}
