import ClaudemeshFFI
import Foundation

/// The version of the library.
public func claudemeshVersion() -> String { version() }

/// What needs neither a mesh nor a network.
public enum Verify {
    /// Reads every form of invite that can be pasted or scanned.
    ///
    /// - Throws: ``MeshError`` `invite_invalid`.
    public static func link(_ link: String) throws -> LinkInfo { try calling { try parseLink(link: link) } }

    /// Verifies the token of a link that carries one, without any network.
    public static func invite(_ link: String, at now: Date = Date()) throws -> InvitePreview {
        try calling { try readInvite(link: link, now: now) }
    }

    /// Verifies a link and says what it offers; only a short code needs the network.
    public static func preview(_ link: String) async throws -> InvitePreview {
        try await calling { try await previewInvite(link: link, cancel: $0) }
    }

    /// The safety number of two keys.
    public static func safetyNumber(_ a: String, _ b: String) throws -> String {
        try calling { try ClaudemeshFFI.safetyNumber(a: a, b: b) }
    }

    /// Whether a signature is a key's over these bytes.
    public static func signature(_ signature: String, of bytes: Data, by key: String) -> Bool {
        verifySignature(key: key, bytes: bytes, signature: signature)
    }

    /// Verifies a membership log; gives the members, removed ones too.
    public static func log(_ meshId: String, _ entries: [LogEntryBytes]) throws -> [MemberInfo] {
        try calling { try verifyLog(meshId: meshId, entries: entries) }
    }
}
