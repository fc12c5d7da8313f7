import ClaudemeshFFI
import ClaudemeshTesting
import Foundation
import XCTest

@testable import Claudemesh

/// The tests of bindings/conformance.json.
final class ConformanceTests: XCTestCase {
    typealias Shown = @Sendable (TestMesh, URL) async throws -> Void

    private static let tests: [String: Shown] = [
        "vectors": { _, _ in try vectors() },
        "join_by_link": joinByLink,
        "config_as_bytes": configAsBytes,
        "messages_both_ways": messagesBothWays,
        "offline_delivery": offlineDelivery,
        "fetch_once": fetchOnce,
        "topics": topics,
        "members_and_trust": membersAndTrust,
        "state_and_memories": stateAndMemories,
        "removed_member": removedMember,
        "errors": errors,
        "cancellation": cancellation,
        "events": events,
        "thousand_messages": thousandMessages,
        "shutdown_and_reopen": shutdownAndReopen,
        "callbacks_leak_nothing": callbacksLeakNothing,
    ]

    func testConformance() async throws {
        for case_ in objects(try read("bindings/conformance.json")["tests"]) {
            let id = string(case_["id"])
            let test = try XCTUnwrap(Self.tests[id], "no test for \(id)")
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            let mesh = try await TestMesh.start()
            do {
                try await within(.seconds(300)) { try await test(mesh, folder) }
                print("conformance: \(id) holds")
            } catch {
                XCTFail("\(id): \(error)")
            }
            await mesh.close()
            try? FileManager.default.removeItem(at: folder)
        }
    }
}

/// What a check of a test says.
struct Unmet: Error, CustomStringConvertible { let description: String }

func check(_ holds: Bool, _ what: String = "", line: UInt = #line) throws {
    if !holds { throw Unmet(description: "line \(line): \(what)") }
}

func same<T: Equatable>(_ a: T, _ b: T, line: UInt = #line) throws {
    try check(a == b, "\(a) is not \(b)", line: line)
}

@discardableResult
func fails(_ code: String, line: UInt = #line, _ work: () async throws -> Any) async throws -> MeshError {
    do {
        _ = try await work()
    } catch let error as MeshError {
        try same(error.code, code, line: line)
        try check(error.text.contains(" "), error.text, line: line)
        return error
    }
    throw Unmet(description: "line \(line): nothing failed, \(code) was expected")
}

func within<T: Sendable>(_ limit: Duration = .seconds(20), _ work: @escaping @Sendable () async throws -> T) async throws -> T {
    try await withThrowingTaskGroup(of: T.self) { group in
        group.addTask { try await work() }
        group.addTask {
            try await Task.sleep(for: limit)
            throw Unmet(description: "not within \(limit)")
        }
        defer { group.cancelAll() }
        return try await group.next()!
    }
}

func read(_ path: String) throws -> [String: Any] {
    let root = URL(fileURLWithPath: ProcessInfo.processInfo.environment["CLAUDEMESH_REPOSITORY"] ?? ".")
    let data = try Data(contentsOf: root.appendingPathComponent(path))
    return try JSONSerialization.jsonObject(with: data) as? [String: Any] ?? [:]
}

func objects(_ value: Any?) -> [[String: Any]] { value as? [[String: Any]] ?? [] }
func string(_ value: Any?) -> String { value as? String ?? "" }
func number(_ value: Any?) -> Int { (value as? NSNumber)?.intValue ?? 0 }
func date(_ value: Any?) -> Date { Date(timeIntervalSince1970: TimeInterval(number(value))) }

func hex(_ value: Any?) -> Data {
    let digits = Array(string(value).utf8)
    return Data(stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)!
    })
}

/// An app in a folder of its own, that has joined.
struct App {
    let config: Config
    let slug: String
    let peer: Peer

    static func join(_ mesh: TestMesh, _ folder: URL, _ options: Config.Options = .init()) async throws -> App {
        let config = try await Config.open(folder)
        let joined = try await config.join(try await mesh.invite(), as: "ana")
        let peer = try await config.connect(joined.slug, options)
        try await peer.connected()
        return App(config: config, slug: joined.slug, peer: peer)
    }
}
