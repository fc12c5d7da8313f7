import ClaudemeshFFI
import Foundation

/// The meshes of an app and its keys there: in a folder, in memory, or as bytes for a Keychain.
public final class Config: Sendable {
    private let native: NativeConfig

    private init(_ native: NativeConfig) { self.native = native }

    /// The configuration in a folder of the app's own; empty where there is none.
    ///
    /// - Throws: ``MeshError`` `config_invalid`, `config_unreachable`, `newer_format`.
    public static func open(_ folder: URL) async throws -> Config {
        Config(try await calling { _ in try await openConfig(dir: folder.path) })
    }

    /// An empty configuration in memory; ``bytes()`` keeps it.
    public static func inMemory() -> Config { Config(configInMemory()) }

    /// What ``bytes()`` gave.
    public convenience init(bytes: Data) throws {
        self.init(try calling { try configFromBytes(bytes: bytes) })
    }

    /// Everything, secret keys included: keep it where secrets are kept, after every join.
    public func bytes() throws -> Data { try calling { try native.toBytes() } }

    /// The folder, if it is kept in one.
    public var folder: URL? { native.dir().map { URL(fileURLWithPath: $0) } }

    /// The meshes, in the order in which they were joined.
    public var meshes: [MeshInfo] {
        get throws { try calling { try native.meshes() } }
    }

    /// Joins the mesh of a link under a name (1–64 bytes). The same link again gives the same mesh,
    /// also after a crash in between.
    ///
    /// - Throws: ``MeshError`` `invite_…`, `invalid_argument`, `unreachable`, `refused`, `config_…`.
    public func join(_ link: String, as name: String) async throws -> MeshInfo {
        try await calling { try await native.join(link: link, name: name, cancel: $0) }
    }

    /// Makes a mesh at a broker, with a fresh owner key. Keep the recovery key: it is told once.
    public func createMesh(_ slug: String, at broker: String, as name: String) async throws -> CreatedMesh {
        try await calling { try await native.createMesh(slug: slug, broker: broker, name: name, cancel: $0) }
    }

    /// Takes a mesh back with its recovery key.
    public func recover(
        meshId: String, at broker: String, recoveryKey: String, as name: String
    ) async throws -> MeshInfo {
        try await calling {
            try await native.recover(
                meshId: meshId, broker: broker, recoveryKey: recoveryKey, name: name, cancel: $0)
        }
    }

    /// Forgets a mesh with the key in it; false if there is none.
    @discardableResult
    public func forget(mesh: String) async throws -> Bool {
        try await calling { _ in try await native.forgetMesh(mesh: mesh) }
    }

    /// How to open a mesh.
    public struct Options: Sendable {
        /// The folder for messages; beside the configuration if none, in memory without one.
        public var dataFolder: URL?
        /// Keeps messages in memory only.
        public var inMemory = false
        /// A name under which the reading position is kept, 1–64 bytes.
        public var session: String?
        /// The status at the start.
        public var status: Attention?
        /// Whether messages are received.
        public var receive = true
        /// Whether the mesh sees this peer as online.
        public var presence = true

        public init() {}

        var native: ConnectOptions {
            ConnectOptions(
                dataDir: dataFolder?.path, inMemory: inMemory, session: session, status: status,
                receive: receive, presence: presence)
        }
    }

    /// Opens a mesh, by its short name or id, and begins to connect; does not wait for the broker.
    ///
    /// - Throws: ``MeshError`` `no_such_mesh`, `invalid_argument`, `store_…`, `newer_format`.
    public func connect(_ mesh: String, _ options: Options = Options()) async throws -> Peer {
        Peer(try await calling { _ in try await native.connect(mesh: mesh, options: options.native) })
    }

    /// Connects, receives and sends what waits, and disconnects, all within `deadline`: for a
    /// background task. Nothing is taken; the app's reader shows it again.
    public func fetchOnce(
        _ mesh: String, within deadline: Duration, _ options: Options = Options()
    ) async throws -> Fetched {
        try await calling {
            try await native.fetchOnce(
                mesh: mesh, options: options.native, deadline: deadline.seconds, cancel: $0)
        }
    }
}
