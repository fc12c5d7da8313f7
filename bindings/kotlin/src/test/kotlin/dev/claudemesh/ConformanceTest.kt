package dev.claudemesh

import dev.claudemesh.ffi.EventListener
import dev.claudemesh.ffi.MeshEvent
import dev.claudemesh.ffi.MessageListener
import dev.claudemesh.testing.TestMesh
import java.lang.ref.WeakReference
import java.nio.file.Files
import java.nio.file.Path
import java.time.Instant
import java.util.concurrent.atomic.AtomicInteger
import org.junit.jupiter.api.Assertions.assertEquals
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.async
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.withTimeoutOrNull
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

/** The tests of bindings/conformance.json. */
class ConformanceTest {
    private val root = Path.of(System.getenv("CLAUDEMESH_REPOSITORY"))
    private val list = read("bindings/conformance.json")

    private val tests: Map<String, suspend (TestMesh, Path) -> Unit> = mapOf(
        "vectors" to { _, _ -> vectors() },
        "join_by_link" to ::joinByLink,
        "config_as_bytes" to ::configAsBytes,
        "messages_both_ways" to ::messagesBothWays,
        "offline_delivery" to ::offlineDelivery,
        "fetch_once" to ::fetchOnce,
        "topics" to ::topics,
        "members_and_trust" to ::membersAndTrust,
        "state_and_memories" to ::stateAndMemories,
        "removed_member" to ::removedMember,
        "errors" to ::errors,
        "cancellation" to ::cancellation,
        "events" to ::events,
        "thousand_messages" to ::thousandMessages,
        "shutdown_and_reopen" to ::shutdownAndReopen,
        "callbacks_leak_nothing" to ::callbacksLeakNothing,
    )

    @TestFactory
    fun conformance(): List<DynamicTest> = objects(list.getJSONArray("tests")).map { case ->
        val id = case.getString("id")
        DynamicTest.dynamicTest(id) {
            val test = tests[id] ?: error("no test for $id")
            val folder = Files.createTempDirectory("claudemesh-test")
            try {
                TestMesh.start().use { mesh -> runBlocking { withTimeout(300.seconds) { test(mesh, folder) } } }
            } finally {
                folder.toFile().deleteRecursively()
            }
        }
    }

    private fun vectors() {
        val (ours, interop) = list.getJSONArray("vectors").map { read(it as String) }
        for (case in objects(interop.getJSONObject("sas").getJSONArray("cases"))) {
            val (a, b) = case.getString("a_hex") to case.getString("b_hex")
            assertEquals(case.getString("sas"), Claudemesh.safetyNumber(a, b))
            assertEquals(case.getString("sas"), Claudemesh.safetyNumber(b, a))
        }
        val invites = ours.getJSONObject("invite")
        for (case in objects(invites.getJSONArray("accept"))) {
            val now = Instant.ofEpochSecond(case.getLong("now_s"))
            val offer = Claudemesh.readInvite(case.getString("link"), now)
            if (!case.has("token")) continue
            assertEquals(case.getString("mesh_slug"), offer.slug)
            assertEquals(case.getString("broker_url"), offer.broker)
            assertEquals(case.getString("invite_id_hex"), Claudemesh.parseLink(case.getString("link")).inviteId)
            assertTrue(offer.verified)
            assertFalse(Claudemesh.readInvite(case.getString("legacy_link"), now).verified)
        }
        val codes = mapOf("Expired" to "invite_expired", "Signature" to "invite_signature")
        for (case in objects(invites.getJSONArray("reject"))) {
            val error = failure { Claudemesh.readInvite(case.getString("link"), Instant.ofEpochSecond(case.getLong("now_s"))) }
            assertEquals(codes[case.getString("reason")] ?: "invite_invalid", error.code, case.getString("id"))
        }
        for (name in listOf("log", "log_kinds")) {
            val log = ours.getJSONObject(name)
            val mesh = log.getString("mesh_id")
            val entries = objects(log.getJSONArray("accept")).map(::entry)
            val members = Claudemesh.verifyLog(mesh, entries).associateBy { it.key }
            val roster = objects(log.getJSONArray("roster"))
            assertEquals(roster.map { it.getString("key_hex") }.toSet(), members.keys)
            for (wanted in roster) {
                val found = members.getValue(wanted.getString("key_hex"))
                assertEquals(wanted.getString("name"), found.name)
                assertEquals(wanted.getString("role"), found.role.name.lowercase())
                assertEquals(!wanted.isNull("removed_at"), found.removed)
            }
            for (case in objects(log.getJSONArray("reject"))) {
                failure { Claudemesh.verifyLog(mesh, entries.take(case.getInt("after")) + entry(case)) }
            }
            val first = log.getJSONArray("accept").getJSONObject(0)
            val (signer, signature) = first.getString("signer_hex") to first.getString("sig_hex")
            assertTrue(Claudemesh.verifySignature(signer, entries[0].entry, signature))
            assertFalse(Claudemesh.verifySignature(signer, entries[0].entry + 1, signature))
        }
    }

    private suspend fun joinByLink(mesh: TestMesh, folder: Path) {
        val link = mesh.invite()
        assertTrue(Claudemesh.previewInvite(link).verified)
        val config = Config.open(folder)
        val joined = config.join(link, "ana")
        assertEquals("ana", joined.displayName)
        assertTrue(joined.hasLog)
        assertEquals(joined.key, config.join(link, "ana").key)
        assertEquals(listOf(joined.key), Config.open(folder).meshes.map { it.key })
        mesh.awaitMember("ana")
    }

    private suspend fun configAsBytes(mesh: TestMesh, folder: Path) {
        val config = Config.inMemory()
        val joined = config.join(mesh.invite(), "ana")
        val options = Config.Options(dataFolder = folder.resolve("messages"))
        Config.fromBytes(config.toBytes()).connect(joined.slug, options).use { peer ->
            assertEquals(joined.key, peer.key)
            peer.send("owner", "from the keystore").accepted()
        }
        assertEquals("from the keystore", mesh.receive("owner").getString("text"))
        assertTrue(Files.isDirectory(folder.resolve("messages")))
    }

    private suspend fun messagesBothWays(mesh: TestMesh, folder: Path) {
        val rust = mesh.key("rust")
        join(mesh, folder).peer.use { peer ->
            val receipt = peer.send("rust", "hello")
            assertEquals(1, within { receipt.accepted() })
            val got = mesh.receive("rust")
            assertEquals("hello", got.getString("text"))
            assertEquals(peer.key, got.getString("sender"))
            assertEquals(receipt.id, got.getString("id"))
            assertTrue(got.getBoolean("verified"))
            within { receipt.delivered() }
            assertEquals(SendProgress.DELIVERED, receipt.state)
            mesh.send("rust", "ana", "hello yourself")
            val answer = within { peer.messages().first() }
            assertEquals("hello yourself", answer.text)
            assertEquals(rust, answer.sender)
            assertTrue(answer.verified)
            peer.reply(answer, "thanks")
            val thanks = mesh.receive("rust")
            assertEquals("thanks", thanks.getString("text"))
            assertEquals(answer.id, thanks.getString("reply_to"))
            within { peer.send(rust, byteArrayOf(0, -1), priority = Priority.NOW).delivered() }
        }
    }

    private suspend fun offlineDelivery(mesh: TestMesh, folder: Path) {
        val app = join(mesh, folder)
        app.peer.close()
        repeat(5) { mesh.send("rust", "ana", "while away $it") }
        app.config.connect(app.slug).use { peer ->
            val texts = within { peer.messages().take(5).toList() }.map { it.text }
            assertEquals(List(5) { "while away $it" }, texts)
            mesh.ask("stop_broker")
            val receipt = peer.send("rust", "the broker is down")
            assertEquals(SendProgress.QUEUED, receipt.state)
            mesh.ask("start_broker")
            within(40) { receipt.accepted() }
        }
        assertEquals("the broker is down", mesh.receive("rust").getString("text"))
    }

    private suspend fun fetchOnce(mesh: TestMesh, folder: Path) {
        val app = join(mesh, folder)
        app.peer.close()
        mesh.send("rust", "ana", "one")
        mesh.send("rust", "ana", "two")
        val fetched = app.config.fetchOnce(app.slug, 10.seconds)
        assertTrue(fetched.complete)
        assertEquals(listOf("one", "two"), fetched.unread.map { it.text })
        mesh.ask("stop_broker")
        val began = System.nanoTime()
        val without = app.config.fetchOnce(app.slug, 1.seconds)
        assertTrue(System.nanoTime() - began < 5_000_000_000)
        assertFalse(without.complete)
        assertEquals(2, without.unread.size)
    }

    private suspend fun topics(mesh: TestMesh, folder: Path) {
        val rust = mesh.key("rust")
        join(mesh, folder).peer.use { peer ->
            peer.createChannel("#plans")
            assertEquals(listOf("#plans"), peer.channels().map { it.name })
            mesh.ask("join_channel", "as" to "rust", "channel" to "#plans")
            val members = peer.channel("#plans").members.associate { it.key to it.lead }
            assertEquals(mapOf(peer.key to true, rust to false), members)
            within { peer.send("#plans", "to the topic").delivered() }
            assertEquals("#plans", mesh.receive("rust").getString("channel"))
            mesh.send("rust", "#plans", "and back")
            val back = within { peer.messages().first() }
            assertEquals("and back" to "#plans", back.text to back.channel)
            val said = peer.channelHistory("#plans").items.map { it.message?.text }
            assertEquals(listOf("and back", "to the topic"), said)
            peer.leaveChannel("#plans")
            fails("not_in_channel") { peer.send("#plans", "still there?") }
        }
    }

    private suspend fun membersAndTrust(mesh: TestMesh, folder: Path) {
        mesh.key("rust")
        join(mesh, folder).peer.use { peer ->
            val roles = peer.members().associate { it.name to it.role }
            assertEquals(Role.OWNER to Role.MEMBER, roles["owner"] to roles["ana"])
            val rust = peer.resolve("rust")
            assertEquals(Claudemesh.safetyNumber(rust, peer.key), peer.safetyNumber(rust))
            peer.setStatus(Attention.WORKING)
            peer.setSummary("tests things")
            within {
                while (true) {
                    val me = peer.peers().first { it.key == peer.key }
                    if (me.summary == "tests things" && me.status == Attention.WORKING) {
                        assertTrue(me.online && me.verified && me.summaryProtected)
                        break
                    }
                    delay(50)
                }
            }
            fails("not_allowed") { peer.invite() }
        }
        val config = Config.open(folder.resolve("maker"))
        assertEquals(128, config.createMesh("mine", mesh.broker, "maker").recoveryKey.length)
        config.connect("mine").use { owner ->
            val invite = owner.invite(uses = 2)
            Config.open(folder.resolve("guest")).join(invite.link, "guest")
            owner.sync()
            assertEquals(setOf("maker", "guest"), owner.members().map { it.name }.toSet())
            assertEquals(listOf(1), owner.invites().map { it.usedBy.size })
            owner.closeInvite(invite.id)
            fails("invite_closed") { Config.open(folder.resolve("late")).join(invite.link, "late") }
        }
    }

    private suspend fun stateAndMemories(mesh: TestMesh, folder: Path) {
        join(mesh, folder).peer.use { peer ->
            assertNull(peer.state("color"))
            assertEquals(1, peer.setState("color", "\"red\"", ifVersion = 0))
            assertEquals("\"red\"", peer.state("color")?.value)
            assertEquals("1", fails("state_conflict") { peer.setState("color", "1", ifVersion = 0) }.detail)
            assertEquals(2, peer.setState("color", "\"blue\"", ifVersion = 1))
            assertEquals(listOf("color" to true), peer.listState().map { it.name to it.protected })
            val kept = peer.remember("the door code is in the blue book", listOf("door"))
            assertEquals(listOf(kept), peer.recall("DOOR book").map { it.name })
            peer.forget(kept)
            assertEquals(emptyList<KeptValue>(), peer.recall())
            val later = peer.schedule("owner", "later", Instant.now().plusSeconds(3600))
            assertEquals(listOf(later.id), peer.schedules().map { it.id })
            assertTrue(peer.cancelSchedule(later.id))
        }
    }

    private suspend fun removedMember(mesh: TestMesh, folder: Path) {
        mesh.key("rust")
        val app = join(mesh, folder)
        app.peer.use { peer ->
            runBlocking {
                val told = async(start = CoroutineStart.UNDISPATCHED) {
                    peer.events().first { it is MeshEvent.Removed }
                }
                mesh.remove("rust")
                peer.sync()
                val key = peer.members(former = true).first { it.name == "rust" }.key
                fails("recipient_removed") { peer.send(key, "are you there?") }
                mesh.remove("ana")
                within { told.await() }
            }
            fails("removed") { peer.connected() }
            fails("removed") { peer.send("owner", "let me in") }
        }
    }

    private suspend fun errors(mesh: TestMesh, folder: Path) {
        assertEquals("invite_invalid", failure { Claudemesh.parseLink("what?") }.code)
        assertEquals("invalid_argument", failure { Claudemesh.safetyNumber("xy", "xy") }.code)
        assertEquals("config_invalid", failure { Config.fromBytes("{".encodeToByteArray()) }.code)
        val config = Config.inMemory()
        fails("no_such_mesh") { config.connect("none") }
        fails("invalid_argument") { config.createMesh("x", "ftp://x", "ana") }
        fails("unreachable") { config.createMesh("x", "ws://127.0.0.1:9/ws", "ana") }
        val link = mesh.invite()
        config.join(link, "ana")
        fails("invite_used_up") { Config.inMemory().join(link, "eve") }
        val peer = config.connect("test")
        peer.connected()
        fails("unknown_recipient") { peer.send("nobody", "hi") }
        fails("message_too_large") { peer.send("owner", "x".repeat(50_000)) }
        fails("no_such_channel") { peer.send("#nowhere", "hi") }
        fails("invalid_argument") { peer.scheduleRepeated("owner", "hi", "not cron") }
        fails("not_allowed") { peer.remove(mesh.key("owner")) }
        peer.reader().use { fails("already_reading") { peer.messages().first() } }
        mesh.ask("stop_broker")
        assertTrue(fails("not_connected") { peer.state("x") }.retryable)
        peer.shutdown()
        fails("closed") { peer.send("owner", "hi") }
        peer.close()
        fails("closed") { peer.sync() }
    }

    private suspend fun cancellation(mesh: TestMesh, folder: Path) {
        join(mesh, folder).peer.use { peer ->
            peer.reader().use { reader ->
                repeat(20) {
                    assertNull(withTimeoutOrNull(5.milliseconds) { reader.next() })
                    mesh.send("rust", "ana", "after $it")
                    assertEquals("after $it", within { reader.next() }?.text)
                }
            }
            peer.send("rust", "hi")
            mesh.ask("stop_broker")
            val waiting = peer.send("rust", "hi again")
            assertNull(withTimeoutOrNull(50.milliseconds) { waiting.accepted() })
            mesh.ask("start_broker")
            within(40) { waiting.accepted() }
        }
    }

    private suspend fun events(mesh: TestMesh, folder: Path) {
        val config = Config.open(folder)
        val peer = config.connect(config.join(mesh.invite(), "ana").slug)
        val seen = mutableSetOf<Class<*>>()
        runBlocking {
            val watching = launch(start = CoroutineStart.UNDISPATCHED) { peer.events().collect { seen += it.javaClass } }
            within { peer.caughtUp() }
            mesh.key("rust")
            peer.sync()
            mesh.ask("drop_connections")
            within { while (MeshEvent.Reconnecting::class.java !in seen) delay(10) }
            peer.connected(30.seconds)
            peer.shutdown()
            within { watching.join() }
        }
        assertTrue(MeshEvent.MemberJoined::class.java in seen)
        peer.close()
    }

    private suspend fun thousandMessages(mesh: TestMesh, folder: Path) {
        mesh.key("rust")
        join(mesh, folder).peer.use { peer ->
            val receipts = List(1000) { peer.send("rust", "to $it") }
            within(120) { receipts.last().accepted() }
            receipts.forEach { it.close() }
            val texts = mesh.ask("receive_many", "as" to "rust", "count" to 1000) as JSONArray
            assertEquals(List(1000) { "to $it" }, texts.toList())
            mesh.ask("send_many", "from" to "rust", "to" to "ana", "count" to 1000)
            val got = within(120) { peer.messages().take(1000).toList() }
            assertEquals(List(1000) { "number $it" }, got.map { it.text })
        }
    }

    private suspend fun shutdownAndReopen(mesh: TestMesh, folder: Path) {
        val options = Config.Options(session = "app")
        val app = join(mesh, folder, options)
        mesh.send("rust", "ana", "first")
        mesh.send("rust", "ana", "second")
        val reader = app.peer.reader()
        assertEquals("first", within { reader.next() }?.text)
        reader.taken()
        assertEquals("second", within { reader.next() }?.text)
        app.peer.shutdown()
        app.peer.shutdown()
        fails("closed") { app.peer.sync() }
        reader.close()
        app.peer.close()
        app.config.connect(app.slug, options).use { peer ->
            mesh.send("rust", "ana", "third")
            val got = within { peer.messages().take(2).toList() }
            assertEquals(listOf("second" to true, "third" to false), got.map { it.text to it.again })
        }
    }

    private suspend fun callbacksLeakNothing(mesh: TestMesh, folder: Path) {
        val app = join(mesh, folder)
        val native = app.peer.javaClass.getDeclaredField("native").apply { isAccessible = true }
            .get(app.peer) as dev.claudemesh.ffi.NativePeer
        val kept = mutableListOf<WeakReference<*>>()
        count(mesh, app, native, kept)
        repeat(1000) { n ->
            val listener = Events()
            kept += WeakReference(listener)
            native.listenForEvents(listener).use { if (n % 2 == 1) it.cancel() }
        }
        within(60) {
            while (kept.any { it.get() != null }) {
                System.gc()
                delay(20)
            }
        }
        app.peer.close()
    }

    private suspend fun count(
        mesh: TestMesh,
        app: App,
        native: dev.claudemesh.ffi.NativePeer,
        kept: MutableList<WeakReference<*>>,
    ) {
        val listener = Counter()
        kept += WeakReference(listener)
        native.listenForMessages(listener).use { subscription ->
            repeat(10) { round ->
                mesh.ask("send_many", "from" to "rust", "to" to "ana", "count" to 1000)
                within(120) { while (listener.count.get() < (round + 1) * 1000) delay(10) }
            }
            subscription.cancel()
            within { subscription.ended() }
            mesh.send("rust", "ana", "after the cancel")
            app.peer.flush()
            assertEquals(10_000 to 0, listener.count.get() to listener.ended.get())
            assertFalse(subscription.isActive())
        }
    }

    private class Counter : MessageListener {
        val count = AtomicInteger()
        val ended = AtomicInteger()
        override fun onMessage(message: Message) { count.incrementAndGet() }
        override fun onEnd(code: String?) { ended.incrementAndGet() }
    }

    private class Events : EventListener {
        override fun onEvent(event: MeshEvent) = Unit
        override fun onEnd(code: String?) = Unit
    }

    private class App(val config: Config, val slug: String, val peer: Peer)

    private suspend fun join(mesh: TestMesh, folder: Path, options: Config.Options = Config.Options()): App {
        val config = Config.open(folder)
        val joined = config.join(mesh.invite(), "ana")
        val peer = config.connect(joined.slug, options)
        peer.connected()
        return App(config, joined.slug, peer)
    }

    private fun read(path: String) = JSONObject(Files.readString(root.resolve(path)))

    private fun objects(array: JSONArray) = array.map { it as JSONObject }

    private fun entry(case: JSONObject) = LogEntryBytes(
        case.getString("entry_hex").hexToByteArray(),
        case.getString("sig_hex").hexToByteArray(),
        case.optString("cosig_hex").takeIf { !case.isNull("cosig_hex") }?.hexToByteArray(),
    )

    private suspend fun <T> within(seconds: Int = 20, work: suspend () -> T): T = withTimeout(seconds.seconds) { work() }

    private inline fun failure(work: () -> Unit): MeshException {
        try {
            work()
        } catch (error: MeshException) {
            return error
        }
        error("nothing failed")
    }

    private suspend fun fails(code: String, work: suspend () -> Any?): MeshException {
        val error = failure { work() }
        assertEquals(code, error.code, error.text)
        assertTrue(" " in error.text)
        return error
    }
}
