#if !os(iOS)
import Foundation

/// A mesh of your own for tests: a real broker, and Rust peers to talk with. Members that are named
/// join by themselves; `owner` is the owner.
///
/// It runs the program `claudemesh-test-mesh` (`cargo install --path bindings/test-mesh`), found on
/// the PATH or named by `CLAUDEMESH_TEST_MESH`.
public actor TestMesh {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var rest = Data()
    /// Where the broker is.
    public private(set) var broker = ""

    /// Why a command was not done.
    public struct Failed: Error { public let text: String }

    private init() {}

    deinit { try? input.fileHandleForWriting.close() }

    /// Starts it.
    public static func start() async throws -> TestMesh {
        let mesh = TestMesh()
        try await mesh.launch()
        return mesh
    }

    private func launch() throws {
        let named = ProcessInfo.processInfo.environment["CLAUDEMESH_TEST_MESH"]
        process.executableURL = URL(fileURLWithPath: named ?? "/usr/bin/env")
        process.arguments = named == nil ? ["claudemesh-test-mesh"] : []
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        let about = try answer() as? [String: Any]
        broker = about?["broker"] as? String ?? ""
    }

    private func ask(_ what: String, _ fields: [String: Any]) throws -> Any {
        var command = fields
        command["do"] = what
        var line = try JSONSerialization.data(withJSONObject: command)
        line.append(10)
        try input.fileHandleForWriting.write(contentsOf: line)
        return try answer()
    }

    private func answer() throws -> Any {
        while !rest.contains(10) {
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { throw Failed(text: "claudemesh-test-mesh has ended") }
            rest.append(more)
        }
        let end = rest.firstIndex(of: 10)!
        let line = rest[rest.startIndex..<end]
        rest = Data(rest[rest.index(after: end)...])
        let answer = try JSONSerialization.jsonObject(with: line) as? [String: Any] ?? [:]
        if let error = answer["error"] as? String { throw Failed(text: error) }
        return answer["ok"] ?? NSNull()
    }

    private func text(_ what: String, _ fields: [String: Any]) throws -> String {
        try ask(what, fields) as? String ?? ""
    }

    /// A command without an answer: `stop_broker`, `start_broker`, `drop_connections`, …
    public func tell(_ what: String, _ fields: [String: String] = [:]) throws { _ = try ask(what, fields) }

    /// A link, issued by the owner.
    public func invite(uses: Int = 1) throws -> String { try text("invite", ["uses": uses]) }

    /// A Rust peer sends; returns once the broker has it. Gives the message's id.
    @discardableResult
    public func send(from: String, to: String, _ what: String) throws -> String {
        try text("send", ["from": from, "to": to, "text": what])
    }

    /// A Rust peer sends `number 0`, `number 1`, ….
    public func sendMany(from: String, to: String, count: Int) throws {
        _ = try ask("send_many", ["from": from, "to": to, "count": count])
    }

    /// What a Rust peer receives next: `text`, `sender`, `sender_name`, `id`, `channel`, `reply_to`.
    public func receive(_ name: String) throws -> [String: String] {
        let got = try ask("receive", ["as": name]) as? [String: Any] ?? [:]
        return got.compactMapValues { $0 as? String }
    }

    /// The texts of what a Rust peer receives next.
    public func receiveMany(_ name: String, count: Int) throws -> [String] {
        try ask("receive_many", ["as": name, "count": count]) as? [String] ?? []
    }

    /// A member's key.
    public func key(of name: String) throws -> String { try text("key", ["of": name]) }

    /// Waits until a Rust peer knows of a member.
    public func awaitMember(_ name: String, seenBy: String = "owner") throws {
        try tell("await_member", ["as": seenBy, "name": name])
    }

    /// The owner removes a member.
    public func remove(_ name: String) throws { try tell("remove", ["name": name]) }

    /// Ends it, with everything it made.
    public func close() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}
#endif
