import ClaudemeshTesting
import Foundation
import XCTest

@testable import PeerModel

@MainActor
final class ChatModelTests: XCTestCase {
    func testAPersonJoinsTalksAndComesBack() async throws {
        let mesh = try await TestMesh.start()
        let rust = try await mesh.key(of: "rust")
        let keys = MemoryKeyStore()
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }

        let model = ChatModel(keys: keys, folder: folder)
        await model.start()
        XCTAssertNil(model.mesh)
        await model.join(link: "what?", name: "ana")
        XCTAssertNotNil(model.problem)
        await model.join(link: try await mesh.invite(), name: "ana")
        XCTAssertNil(model.problem)
        try await soon { model.online && model.members.contains { $0.key == rust } }

        let other = try XCTUnwrap(model.members.first { $0.key == rust })
        XCTAssertEqual(model.safetyNumber(with: other).split(separator: " ").count, 6)
        await model.send("hello", to: other)
        let got = try await mesh.receive("rust")
        XCTAssertEqual(got["text"], "hello")
        try await mesh.send(from: "rust", to: "ana", "hello yourself")
        try await soon { model.lines[rust]?.count == 2 && model.lines[rust]?.first?.progress == .delivered }
        XCTAssertEqual(model.lines[rust]?.last?.text, "hello yourself")
        XCTAssertEqual(model.lines[rust]?.last?.verified, true)
        await model.stop()

        try await mesh.send(from: "rust", to: "ana", "while you were away")
        let unread = await model.fetch(within: .seconds(10))
        XCTAssertGreaterThanOrEqual(unread, 1)
        let again = ChatModel(keys: keys, folder: folder)
        await again.start()
        try await soon { again.lines[rust]?.contains { $0.text == "while you were away" } == true }
        await again.stop()
        await mesh.close()
    }

    private func soon(_ holds: () -> Bool, line: UInt = #line) async throws {
        for _ in 0..<1000 where !holds() { try await Task.sleep(for: .milliseconds(20)) }
        XCTAssertTrue(holds(), "not in time", line: line)
    }
}
