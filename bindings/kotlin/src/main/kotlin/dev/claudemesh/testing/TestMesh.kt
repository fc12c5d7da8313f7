package dev.claudemesh.testing

import java.io.BufferedReader
import java.io.Writer
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import org.json.JSONObject

/**
 * A mesh of your own for tests: a real broker, and Rust peers to talk with. Members that are named
 * join by themselves; `owner` is the owner.
 *
 * It runs the program `claudemesh-test-mesh` (`cargo install --path bindings/test-mesh`), found on
 * the PATH or named by `CLAUDEMESH_TEST_MESH`, and needs `org.json:json` on the class path.
 */
public class TestMesh private constructor(private val process: Process) : AutoCloseable {
    private val turn = Mutex()
    private val commands: Writer = process.outputWriter(Charsets.UTF_8)
    private val answers: BufferedReader = process.inputReader(Charsets.UTF_8)
    private val about: JSONObject = answer() as JSONObject

    /** Where the broker is. */
    public val broker: String get() = about.getString("broker")

    /** Any command; bindings/test-mesh lists them. */
    public suspend fun ask(what: String, vararg fields: Pair<String, Any>): Any? = turn.withLock {
        withContext(Dispatchers.IO) {
            commands.write(JSONObject(mapOf("do" to what) + fields).toString() + "\n")
            commands.flush()
            answer()
        }
    }

    /** A link, issued by the owner. */
    public suspend fun invite(uses: Int = 1): String = ask("invite", "uses" to uses) as String

    /** A Rust peer sends; returns once the broker has it. Gives the message's id. */
    public suspend fun send(from: String, to: String, text: String): String =
        ask("send", "from" to from, "to" to to, "text" to text) as String

    /** What a Rust peer receives next. */
    public suspend fun receive(name: String): JSONObject = ask("receive", "as" to name) as JSONObject

    /** A member's key. */
    public suspend fun key(name: String): String = ask("key", "of" to name) as String

    /** Waits until a Rust peer knows of a member. */
    public suspend fun awaitMember(name: String, seenBy: String = "owner") {
        ask("await_member", "as" to seenBy, "name" to name)
    }

    /** The owner removes a member. */
    public suspend fun remove(name: String) {
        ask("remove", "name" to name)
    }

    private fun answer(): Any? {
        val line = answers.readLine() ?: error("claudemesh-test-mesh has ended")
        val answer = JSONObject(line)
        if (answer.has("error")) error(answer.getString("error"))
        return answer.get("ok").takeUnless { it == JSONObject.NULL }
    }

    override fun close() {
        commands.close()
        if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly()
    }

    public companion object {
        /** Starts it. */
        public fun start(): TestMesh {
            val program = System.getenv("CLAUDEMESH_TEST_MESH") ?: "claudemesh-test-mesh"
            val builder = ProcessBuilder(program).redirectError(ProcessBuilder.Redirect.INHERIT)
            return TestMesh(builder.start())
        }
    }
}
