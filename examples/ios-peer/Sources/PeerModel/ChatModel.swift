import Claudemesh
import Foundation
import Observation

/// A line of a conversation.
public struct Line: Identifiable, Sendable, Equatable {
    public let id: String
    public let text: String
    public let mine: Bool
    /// Whether the sender is verified; what is mine is.
    public let verified: Bool
    /// How far it has come, for what is mine.
    public var progress: SendProgress?
}

/// Everything that the app's views show and do.
@MainActor
@Observable
public final class ChatModel {
    /// The mesh that is open.
    public private(set) var mesh: MeshInfo?
    /// Whether the connection stands.
    public private(set) var online = false
    /// Who is here, without oneself.
    public private(set) var members: [MemberInfo] = []
    /// What was said, by the other's key.
    public private(set) var lines: [String: [Line]] = [:]
    /// What went wrong last, as a sentence.
    public var problem: String?

    private let keys: any KeyStore
    private let folder: URL
    private var config: Config?
    private var peer: Peer?
    private var tasks: [Task<Void, Never>] = []

    /// Keys are kept in `keys`, messages in `folder`.
    public init(keys: any KeyStore, folder: URL) {
        (self.keys, self.folder) = (keys, folder)
    }

    /// Opens the mesh that was joined before, if there is one.
    public func start() async {
        await attempt {
            let config = try self.opened()
            if let mesh = try config.meshes.first { try await self.connect(mesh) }
        }
    }

    /// Joins by a link that was pasted or scanned.
    public func join(link: String, name: String) async {
        await attempt {
            let config = try self.opened()
            defer { try? self.keep(config) }
            let mesh = try await config.join(link, as: name)
            try self.keep(config)
            try await self.connect(mesh)
        }
    }

    /// Sends to a member.
    public func send(_ text: String, to member: MemberInfo) async {
        await attempt {
            guard let peer = self.peer else { return }
            let receipt = try await peer.send(text, to: member.key)
            let line = Line(id: receipt.id, text: text, mine: true, verified: true, progress: .queued)
            self.lines[member.key, default: []].append(line)
            let follow = Task {
                for step in [SendProgress.accepted, .delivered] {
                    do {
                        if step == .accepted { try await receipt.accepted() } else { try await receipt.delivered() }
                        self.progress(of: receipt.id, with: member.key, is: step)
                    } catch is MeshError {
                        self.progress(of: receipt.id, with: member.key, is: receipt.state)
                        return
                    } catch { return }
                }
            }
            self.tasks.append(follow)
        }
    }

    /// The number that two people compare by another way, by voice for one.
    public func safetyNumber(with member: MemberInfo) -> String {
        (try? peer?.safetyNumber(with: member.key)) ?? ""
    }

    /// For a background task: gets and sends what waits, and says how many messages are unread.
    public func fetch(within deadline: Duration) async -> Int {
        guard peer == nil, let mesh, let config else { return 0 }
        let fetched = try? await config.fetchOnce(mesh.slug, within: deadline, options)
        return fetched?.unread.count ?? 0
    }

    /// When the app goes to the background.
    public func stop() async {
        for task in tasks { task.cancel() }
        tasks = []
        try? await peer?.shutdown()
        peer = nil
        online = false
    }

    private var options: Config.Options {
        var options = Config.Options()
        options.dataFolder = folder
        options.session = "app"
        return options
    }

    private func opened() throws -> Config {
        if let config { return config }
        let opened = try keys.load().map { try Config(bytes: $0) } ?? Config.inMemory()
        config = opened
        return opened
    }

    private func keep(_ config: Config) throws { try keys.save(try config.bytes()) }

    private func connect(_ mesh: MeshInfo) async throws {
        guard let config else { return }
        await stop()
        let peer = try await config.connect(mesh.slug, options)
        (self.mesh, self.peer) = (mesh, peer)
        refresh()
        let (events, messages) = (peer.events(), peer.messages())
        tasks.append(Task { [weak self] in
            do {
                for try await event in events { self?.happened(event) }
            } catch {}
        })
        tasks.append(Task { [weak self] in
            do {
                for try await message in messages { self?.received(message) }
            } catch let error as MeshError {
                self?.problem = error.text
            } catch {}
        })
    }

    private func happened(_ event: MeshEvent) {
        switch event {
        case .connected, .caughtUp: online = true
        case .reconnecting: online = false
        case .removed(let reason): (online, problem) = (false, reason)
        case .liedTo(let what): problem = what
        default: break
        }
        refresh()
    }

    private func refresh() {
        guard let peer else { return }
        online = peer.connection.kind == .connected
        members = ((try? peer.members()) ?? []).filter { $0.key != peer.key }
    }

    private func received(_ message: Message) {
        // One that is shown again after a crash has the same id.
        guard message.channel == nil, lines[message.sender]?.contains(where: { $0.id == message.id }) != true
        else { return }
        let line = Line(id: message.id, text: message.text, mine: false, verified: message.verified)
        lines[message.sender, default: []].append(line)
    }

    private func progress(of id: String, with key: String, is progress: SendProgress) {
        guard let at = lines[key]?.firstIndex(where: { $0.id == id }) else { return }
        lines[key]?[at].progress = progress
    }

    private func attempt(_ work: () async throws -> Void) async {
        do {
            try await work()
            problem = nil
        } catch let error as MeshError {
            problem = error.text
        } catch is CancellationError {
        } catch {
            problem = error.localizedDescription
        }
    }
}
