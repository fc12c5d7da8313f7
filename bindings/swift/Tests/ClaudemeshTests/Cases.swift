import ClaudemeshFFI
import ClaudemeshTesting
import Foundation

@testable import Claudemesh

private func entry(_ case_: [String: Any]) -> Claudemesh.LogEntryBytes {
    .init(
        entry: hex(case_["entry_hex"]), signature: hex(case_["sig_hex"]),
        cosignature: case_["cosig_hex"] is String ? hex(case_["cosig_hex"]) : nil)
}

func failure(_ work: () throws -> Any) throws -> MeshError {
    do { _ = try work() } catch let error as MeshError { return error }
    throw Unmet(description: "nothing failed")
}

@Sendable func vectors() throws {
    let paths = try read("bindings/conformance.json")["vectors"] as? [String] ?? []
    let (ours, interop) = (try read(paths[0]), try read(paths[1]))
    for case_ in objects((interop["sas"] as? [String: Any])?["cases"]) {
        let (a, b) = (string(case_["a_hex"]), string(case_["b_hex"]))
        try same(try Verify.safetyNumber(a, b), string(case_["sas"]))
        try same(try Verify.safetyNumber(b, a), string(case_["sas"]))
    }
    let invites = ours["invite"] as? [String: Any] ?? [:]
    for case_ in objects(invites["accept"]) {
        let (link, now) = (string(case_["link"]), date(case_["now_s"]))
        let offer = try Verify.invite(link, at: now)
        guard case_["token"] != nil else { continue }
        try same(offer.slug, string(case_["mesh_slug"]))
        try same(offer.broker, string(case_["broker_url"]))
        try same(try Verify.link(link).inviteId, string(case_["invite_id_hex"]))
        try check(offer.verified)
        try check(!(try Verify.invite(string(case_["legacy_link"]), at: now).verified))
    }
    let codes = ["Expired": "invite_expired", "Signature": "invite_signature"]
    for case_ in objects(invites["reject"]) {
        let error = try failure { try Verify.invite(string(case_["link"]), at: date(case_["now_s"])) }
        try same(error.code, codes[string(case_["reason"])] ?? "invite_invalid")
    }
    for name in ["log", "log_kinds"] {
        let log = ours[name] as? [String: Any] ?? [:]
        let (mesh, accept) = (string(log["mesh_id"]), objects(log["accept"]))
        let entries = accept.map(entry)
        let members = Dictionary(uniqueKeysWithValues: try Verify.log(mesh, entries).map { ($0.key, $0) })
        try same(members.count, objects(log["roster"]).count)
        for wanted in objects(log["roster"]) {
            let found = members[string(wanted["key_hex"])]
            try same(found?.name, string(wanted["name"]))
            try same(found.map { "\($0.role)" }, string(wanted["role"]))
            try same(found?.removed, wanted["removed_at"] is NSNumber)
        }
        for case_ in objects(log["reject"]) {
            _ = try failure { try Verify.log(mesh, entries.prefix(number(case_["after"])) + [entry(case_)]) }
        }
        let (key, signature) = (string(accept[0]["signer_hex"]), string(accept[0]["sig_hex"]))
        try check(Verify.signature(signature, of: entries[0].entry, by: key))
        try check(!Verify.signature(signature, of: entries[0].entry + [1], by: key))
    }
}

@Sendable func joinByLink(_ mesh: TestMesh, _ folder: URL) async throws {
    let link = try await mesh.invite()
    try check(try await Verify.preview(link).verified)
    let config = try await Config.open(folder)
    let joined = try await config.join(link, as: "ana")
    try same(joined.displayName, "ana")
    try check(joined.hasLog)
    try same(try await config.join(link, as: "ana").key, joined.key)
    try same(try await Config.open(folder).meshes.map(\.key), [joined.key])
    try await mesh.awaitMember("ana")
}

@Sendable func configAsBytes(_ mesh: TestMesh, _ folder: URL) async throws {
    let config = Config.inMemory()
    let joined = try await config.join(try await mesh.invite(), as: "ana")
    var options = Config.Options()
    options.dataFolder = folder.appendingPathComponent("messages")
    let peer = try await Config(bytes: try config.bytes()).connect(joined.slug, options)
    try same(peer.key, joined.key)
    try await peer.send("from the keychain", to: "owner").accepted()
    try same(try await mesh.receive("owner")["text"], "from the keychain")
    try await peer.shutdown()
}

@Sendable func messagesBothWays(_ mesh: TestMesh, _ folder: URL) async throws {
    let rust = try await mesh.key(of: "rust")
    let peer = try await App.join(mesh, folder).peer
    let receipt = try await peer.send("hello", to: "rust")
    try same(try await receipt.accepted(), 1)
    let got = try await mesh.receive("rust")
    try same(got["text"], "hello")
    try same(got["sender"], peer.key)
    try same(got["id"], receipt.id)
    try await within { try await receipt.delivered() }
    try same(receipt.state, .delivered)
    try await mesh.send(from: "rust", to: "ana", "hello yourself")
    let messages = peer.messages()
    let answer = try await within { try await messages.next() }
    try same(answer?.text, "hello yourself")
    try same(answer?.sender, rust)
    try same(answer?.verified, true)
    try await peer.reply(to: answer!, "thanks")
    let thanks = try await mesh.receive("rust")
    try same(thanks["text"], "thanks")
    try same(thanks["reply_to"], answer?.id)
    let sent = try await peer.send(Data([0, 255]), to: rust, priority: .now)
    try await within { try await sent.delivered() }
    try await peer.shutdown()
}

@Sendable func offlineDelivery(_ mesh: TestMesh, _ folder: URL) async throws {
    let app = try await App.join(mesh, folder)
    try await app.peer.shutdown()
    for n in 0..<5 { try await mesh.send(from: "rust", to: "ana", "while away \(n)") }
    let peer = try await app.config.connect(app.slug)
    let texts = try await within {
        var texts: [String] = []
        for try await message in peer.messages() {
            texts.append(message.text)
            if texts.count == 5 { break }
        }
        return texts
    }
    try same(texts, (0..<5).map { "while away \($0)" })
    try await mesh.tell("stop_broker")
    let receipt = try await peer.send("the broker is down", to: "rust")
    try same(receipt.state, .queued)
    try await mesh.tell("start_broker")
    try await within(.seconds(40)) { try await receipt.accepted() }
    try same(try await mesh.receive("rust")["text"], "the broker is down")
    try await peer.shutdown()
}

@Sendable func fetchOnce(_ mesh: TestMesh, _ folder: URL) async throws {
    let app = try await App.join(mesh, folder)
    try await app.peer.shutdown()
    try await mesh.send(from: "rust", to: "ana", "one")
    try await mesh.send(from: "rust", to: "ana", "two")
    let fetched = try await app.config.fetchOnce(app.slug, within: .seconds(10))
    try check(fetched.complete, fetched.reason ?? "")
    try same(fetched.unread.map(\.text), ["one", "two"])
    try await mesh.tell("stop_broker")
    let began = Date()
    let without = try await app.config.fetchOnce(app.slug, within: .seconds(1))
    try check(Date().timeIntervalSince(began) < 5 && !without.complete)
    try same(without.unread.count, 2)
}

@Sendable func topics(_ mesh: TestMesh, _ folder: URL) async throws {
    let rust = try await mesh.key(of: "rust")
    let peer = try await App.join(mesh, folder).peer
    try await peer.createChannel("#plans")
    try same(try peer.channels().map(\.name), ["#plans"])
    try await mesh.tell("join_channel", ["as": "rust", "channel": "#plans"])
    let members = try await peer.channel("#plans").members
    try same(Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.lead) }), [peer.key: true, rust: false])
    let receipt = try await peer.send("to the topic", to: "#plans")
    try await within { try await receipt.delivered() }
    try same(try await mesh.receive("rust")["channel"], "#plans")
    try await mesh.send(from: "rust", to: "#plans", "and back")
    let messages = peer.messages()
    let back = try await within { try await messages.next() }
    try same(back?.text, "and back")
    try same(back?.channel, "#plans")
    let said = try await peer.channelHistory("#plans").items.map { $0.message?.text }
    try same(said, ["and back", "to the topic"])
    try await peer.leaveChannel("#plans")
    try await fails("not_in_channel") { try await peer.send("still there?", to: "#plans") }
    try await peer.shutdown()
}

@Sendable func membersAndTrust(_ mesh: TestMesh, _ folder: URL) async throws {
    let rust = try await mesh.key(of: "rust")
    let peer = try await App.join(mesh, folder).peer
    let roles = Dictionary(uniqueKeysWithValues: try peer.members().map { ($0.name, $0.role) })
    try check(roles["owner"] == .owner && roles["ana"] == .member)
    try same(try await peer.resolve("rust"), rust)
    try same(try peer.safetyNumber(with: rust), try Verify.safetyNumber(rust, peer.key))
    try await peer.setStatus(.working)
    try await peer.setSummary("tests things")
    try await within {
        while true {
            let me = try await peer.peers().first { $0.key == peer.key }
            if me?.summary == "tests things", me?.status == .working, me?.online == true { break }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
    try await fails("not_allowed") { try await peer.invite() }
    try await peer.shutdown()
    let config = try await Config.open(folder.appendingPathComponent("maker"))
    let made = try await config.createMesh("mine", at: mesh.broker, as: "maker")
    try same(made.recoveryKey.count, 128)
    let owner = try await config.connect("mine")
    let invite = try await owner.invite(uses: 2)
    _ = try await Config.inMemory().join(invite.link, as: "guest")
    try await owner.sync()
    try same(Set(try owner.members().map(\.name)), ["maker", "guest"])
    try same(try owner.invites().map(\.usedBy.count), [1])
    try await owner.closeInvite(invite.id)
    try await fails("invite_closed") { try await Config.inMemory().join(invite.link, as: "late") }
    try await owner.shutdown()
}

@Sendable func stateAndMemories(_ mesh: TestMesh, _ folder: URL) async throws {
    let peer = try await App.join(mesh, folder).peer
    try check(try await peer.state("color") == nil)
    try same(try await peer.setState("color", "\"red\"", ifVersion: 0), 1)
    try same(try await peer.state("color")?.value, "\"red\"")
    let conflict = try await fails("state_conflict") { try await peer.setState("color", "1", ifVersion: 0) }
    try same(conflict.detail, "1")
    try same(try await peer.setState("color", "\"blue\"", ifVersion: 1), 2)
    try same(try await peer.listState().map(\.name), ["color"])
    let kept = try await peer.remember("the door code is in the blue book", tags: ["door"])
    try same(try await peer.recall("DOOR book").map(\.name), [kept])
    try await peer.forget(memory: kept)
    try same(try await peer.recall().count, 0)
    let later = try await peer.schedule("later", to: "owner", at: Date().addingTimeInterval(3600))
    try same(try await peer.schedules().map(\.id), [later.id])
    try check(try await peer.cancelSchedule(later.id))
    try await peer.shutdown()
}

@Sendable func removedMember(_ mesh: TestMesh, _ folder: URL) async throws {
    _ = try await mesh.key(of: "rust")
    let peer = try await App.join(mesh, folder).peer
    let events = peer.events()
    try await mesh.remove("rust")
    try await peer.sync()
    let rust = try peer.members(former: true).first { $0.name == "rust" }?.key ?? ""
    try await fails("recipient_removed") { try await peer.send("are you there?", to: rust) }
    try await mesh.remove("ana")
    try await within {
        for try await event in events {
            if case .removed = event { return }
        }
        throw Unmet(description: "never told")
    }
    try await fails("removed") { try await peer.connected() }
    try await fails("removed") { try await peer.send("let me in", to: "owner") }
    try await peer.shutdown()
}

@Sendable func errors(_ mesh: TestMesh, _ folder: URL) async throws {
    try same(try failure { try Verify.link("what?") }.code, "invite_invalid")
    try same(try failure { try Verify.safetyNumber("xy", "xy") }.code, "invalid_argument")
    try same(try failure { try Config(bytes: Data("{".utf8)) }.code, "config_invalid")
    let config = Config.inMemory()
    try await fails("no_such_mesh") { try await config.connect("none") }
    try await fails("invalid_argument") { try await config.createMesh("x", at: "ftp://x", as: "ana") }
    try await fails("unreachable") { try await config.createMesh("x", at: "ws://127.0.0.1:9/ws", as: "ana") }
    let link = try await mesh.invite()
    _ = try await config.join(link, as: "ana")
    try await fails("invite_used_up") { try await Config.inMemory().join(link, as: "eve") }
    let peer = try await config.connect("test")
    try await peer.connected()
    try await fails("unknown_recipient") { try await peer.send("hi", to: "nobody") }
    try await fails("message_too_large") { try await peer.send(String(repeating: "x", count: 50_000), to: "owner") }
    try await fails("no_such_channel") { try await peer.send("hi", to: "#nowhere") }
    try await fails("invalid_argument") { try await peer.schedule("hi", to: "owner", cron: "not cron") }
    let owner = try await mesh.key(of: "owner")
    try await fails("not_allowed") { try await peer.remove(owner) }
    try await mesh.send(from: "owner", to: "ana", "hi")
    let reader = peer.messages()
    _ = try await reader.next()
    try await fails("already_reading") { try await peer.messages().next() as Any }
    await reader.stop()
    try await mesh.tell("stop_broker")
    let error = try await fails("not_connected") { try await peer.state("x") as Any }
    try check(error.retryable)
    try await peer.shutdown()
    try await fails("closed") { try await peer.send("hi", to: "owner") }
}

@Sendable func cancellation(_ mesh: TestMesh, _ folder: URL) async throws {
    let peer = try await App.join(mesh, folder).peer
    let messages = peer.messages()
    for n in 0..<20 {
        let waiting = Task { try await messages.next() }
        try await Task.sleep(for: .milliseconds(5))
        waiting.cancel()
        switch await waiting.result {
        case .failure(let error): try check(error is CancellationError, "\(error)")
        case .success: throw Unmet(description: "there was a message")
        }
        try await mesh.send(from: "rust", to: "ana", "after \(n)")
        try same(try await within { try await messages.next() }?.text, "after \(n)")
    }
    try await peer.send("hi", to: "rust")
    try await mesh.tell("stop_broker")
    let receipt = try await peer.send("hi again", to: "rust")
    let waiting = Task { try await receipt.accepted() }
    try await Task.sleep(for: .milliseconds(50))
    waiting.cancel()
    if case .success = await waiting.result { throw Unmet(description: "accepted by nobody") }
    try await mesh.tell("start_broker")
    try await within(.seconds(40)) { try await receipt.accepted() }
    try await peer.shutdown()
}

@Sendable func events(_ mesh: TestMesh, _ folder: URL) async throws {
    let config = try await Config.open(folder)
    let joined = try await config.join(try await mesh.invite(), as: "ana")
    let peer = try await config.connect(joined.slug)
    let events = peer.events()
    let watching = Task {
        var (lost, joined) = (false, false)
        for try await event in events {
            if case .reconnecting = event { lost = true }
            if case .memberJoined = event { joined = true }
        }
        return lost && joined
    }
    try await within { try await peer.caughtUp() }
    _ = try await mesh.key(of: "rust")
    try await peer.sync()
    let later = peer.events()
    try await mesh.tell("drop_connections")
    try await within {
        for try await event in later {
            if case .reconnecting = event { return }
        }
    }
    try await peer.connected(within: .seconds(30))
    try await peer.shutdown()
    try check(try await within { try await watching.value })
}

@Sendable func thousandMessages(_ mesh: TestMesh, _ folder: URL) async throws {
    _ = try await mesh.key(of: "rust")
    let peer = try await App.join(mesh, folder).peer
    var last: Receipt?
    for n in 0..<1000 { last = try await peer.send("to \(n)", to: "rust") }
    let receipt = last!
    try await within(.seconds(120)) { try await receipt.accepted() }
    try same(try await mesh.receiveMany("rust", count: 1000), (0..<1000).map { "to \($0)" })
    try await mesh.sendMany(from: "rust", to: "ana", count: 1000)
    let texts = try await within(.seconds(120)) {
        var texts: [String] = []
        for try await message in peer.messages() {
            texts.append(message.text)
            if texts.count == 1000 { break }
        }
        return texts
    }
    try same(texts, (0..<1000).map { "number \($0)" })
    try await peer.shutdown()
}

@Sendable func shutdownAndReopen(_ mesh: TestMesh, _ folder: URL) async throws {
    var options = Config.Options()
    options.session = "app"
    let app = try await App.join(mesh, folder, options)
    try await mesh.send(from: "rust", to: "ana", "first")
    try await mesh.send(from: "rust", to: "ana", "second")
    let messages = app.peer.messages()
    try same(try await within { try await messages.next() }?.text, "first")
    try await messages.taken()
    try same(try await within { try await messages.next() }?.text, "second")
    let peer = app.peer
    try await peer.shutdown()
    try await peer.shutdown()
    try await fails("closed") { try await peer.sync() }
    await messages.stop()
    let again = try await app.config.connect(app.slug, options)
    try await mesh.send(from: "rust", to: "ana", "third")
    let reader = again.messages()
    for (text, shownAgain) in [("second", true), ("third", false)] {
        let got = try await within { try await reader.next() }
        try same(got?.text, text)
        try same(got?.again, shownAgain)
    }
    try await again.shutdown()
}

private final class Counts: @unchecked Sendable {
    private let lock = NSLock()
    private var numbers: [String: Int] = [:]
    func add(_ n: Int, _ what: String) { lock.withLock { numbers[what, default: 0] += n } }
    func of(_ what: String) -> Int { lock.withLock { numbers[what, default: 0] } }
}

private final class Counter: MessageListener {
    let counts: Counts
    init(_ counts: Counts) { (self.counts, _) = (counts, counts.add(1, "alive")) }
    deinit { counts.add(-1, "alive") }
    func onMessage(message: Claudemesh.Message) throws { counts.add(1, "messages") }
    func onEnd(code: String?) throws { counts.add(1, "ended") }
}

private final class Watcher: EventListener {
    let counts: Counts
    init(_ counts: Counts) { (self.counts, _) = (counts, counts.add(1, "alive")) }
    deinit { counts.add(-1, "alive") }
    func onEvent(event: Claudemesh.MeshEvent) throws {}
    func onEnd(code: String?) throws {}
}

@Sendable func callbacksLeakNothing(_ mesh: TestMesh, _ folder: URL) async throws {
    let peer = try await App.join(mesh, folder).peer
    let counts = Counts()
    do {
        let subscription = try await peer.native.listenForMessages(listener: Counter(counts))
        for round in 1...10 {
            try await mesh.sendMany(from: "rust", to: "ana", count: 1000)
            try await within(.seconds(120)) {
                while counts.of("messages") < round * 1000 { try await Task.sleep(for: .milliseconds(10)) }
            }
        }
        subscription.cancel()
        try await subscription.ended(cancel: nil)
        try await mesh.send(from: "rust", to: "ana", "after the cancel")
        try await peer.flush()
        try same([counts.of("messages"), counts.of("ended")], [10_000, 0])
        try check(!subscription.isActive())
    }
    for n in 0..<1000 {
        let subscription = try peer.native.listenForEvents(listener: Watcher(counts))
        if n % 2 == 1 { subscription.cancel() }
    }
    try await within(.seconds(60)) {
        while counts.of("alive") > 0 { try await Task.sleep(for: .milliseconds(10)) }
    }
    try await peer.shutdown()
}
