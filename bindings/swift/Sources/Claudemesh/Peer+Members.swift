import ClaudemeshFFI
import Foundation

/// Members and trust.
extension Peer {
    /// The members, as the membership log that is held has them.
    public func members(former: Bool = false) throws -> [MemberInfo] {
        try calling { try native.members(former: former) }
    }

    /// The devices of this person.
    public func devices() throws -> [MemberInfo] { try calling { try native.devices() } }

    /// All members, with what the broker says about their presence.
    public func peers() async throws -> [PeerPresence] {
        try await calling { try await native.peers(cancel: $0) }
    }

    /// Fetches the newest membership log.
    public func sync() async throws { try await calling { try await native.sync(cancel: $0) } }

    /// The key of who is called so.
    ///
    /// - Throws: ``MeshError`` `unknown_recipient`, `ambiguous_recipient`.
    public func resolve(_ who: String) async throws -> String {
        try await calling { try await native.resolve(who: who, cancel: $0) }
    }

    /// The safety number of this peer and another key: to be compared by another way.
    public func safetyNumber(with other: String) throws -> String {
        try calling { try native.safetyNumber(other: other) }
    }

    /// Makes an invite.
    ///
    /// - Throws: ``MeshError`` `not_allowed`, `not_connected`, `timeout`, `refused`.
    public func invite(role: Role? = nil, uses: Int = 1, expiresIn: Duration? = nil) async throws -> InviteLink {
        let terms = InviteTerms(role: role, uses: UInt32(clamping: uses), expiresIn: expiresIn?.seconds)
        return try await calling { try await native.invite(terms: terms, cancel: $0) }
    }

    /// Makes a link by which a further device of this person joins, once.
    public func linkDevice(expiresIn: Duration = .seconds(600)) async throws -> InviteLink {
        try await calling { try await native.linkDevice(expiresIn: expiresIn.seconds, cancel: $0) }
    }

    /// The invites of this mesh.
    public func invites() throws -> [InviteInfo] { try calling { try native.invites() } }

    /// Takes an invite back.
    public func closeInvite(_ id: String) async throws {
        try await calling { try await native.closeInvite(id: id, cancel: $0) }
    }

    /// Lets in a pending member; compare safety numbers first.
    public func admit(_ member: String, as name: String, role: Role = .member) async throws {
        try await calling { try await native.admit(member: member, name: name, role: role, cancel: $0) }
    }

    /// Makes a member an admin, or an admin a member.
    public func setRole(_ role: Role, of member: String) async throws {
        try await calling { try await native.setRole(member: member, role: role, cancel: $0) }
    }

    /// Removes a member and its devices, one device, or this peer itself. Final.
    public func remove(_ member: String, closeInvites: Bool = false) async throws {
        try await calling { try await native.remove(member: member, closeInvites: closeInvites, cancel: $0) }
    }

    /// Offers the mesh to a verified member.
    @discardableResult
    public func transferOwner(to member: String) async throws -> Receipt {
        Receipt(try await calling { try await native.transferOwner(member: member, cancel: $0) })
    }

    /// Becomes the owner by the newest offer that the owner sent.
    public func acceptOwnership() async throws {
        try await calling { try await native.acceptOwnership(cancel: $0) }
    }

    /// What the broker was caught at, oldest first.
    public func lies() async throws -> [BrokerLie] { try await calling { _ in try await native.lies() } }

    /// Dismisses what the broker was caught at so far.
    public func forgetLies() async throws { try await calling { _ in try await native.forgetLies() } }
}
