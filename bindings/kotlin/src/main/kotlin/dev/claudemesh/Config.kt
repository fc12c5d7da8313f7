package dev.claudemesh

import dev.claudemesh.ffi.ConnectOptions
import dev.claudemesh.ffi.NativeConfig
import dev.claudemesh.ffi.configFromBytes
import dev.claudemesh.ffi.configInMemory
import dev.claudemesh.ffi.openConfig
import java.nio.file.Path
import kotlin.time.Duration
import kotlin.time.toJavaDuration

/**
 * The meshes of an app and its keys there: in a folder, in memory, or as bytes for a Keystore.
 *
 * Thread-safe. [close] releases it; peers that were made from it go on.
 */
public class Config private constructor(private val native: NativeConfig) : AutoCloseable {
    /** The folder, if it is kept in one. */
    public val folder: Path? get() = calling { native.dir() }?.let(Path::of)

    /** The meshes, in the order in which they were joined. */
    public val meshes: List<MeshInfo> get() = calling { native.meshes() }

    /** Everything, secret keys included: keep it where secrets are kept, after every join. */
    public fun toBytes(): ByteArray = calling { native.toBytes() }

    /**
     * Joins the mesh of a link under a name (1–64 bytes). The same link again gives the same mesh,
     * also after a crash in between.
     *
     * @throws MeshException `invite_…`, `invalid_argument`, `unreachable`, `refused`, `config_…`
     */
    public suspend fun join(link: String, name: String): MeshInfo = calling { native.join(link, name) }

    /**
     * Makes a mesh at a broker, with a fresh owner key. Keep the recovery key: it is told once.
     *
     * @throws MeshException `invalid_argument`, `unreachable`, `refused`, `config_…`
     */
    public suspend fun createMesh(slug: String, broker: String, name: String): CreatedMesh =
        calling { native.createMesh(slug, broker, name) }

    /** Takes a mesh back with its recovery key. */
    public suspend fun recover(meshId: String, broker: String, recoveryKey: String, name: String): MeshInfo =
        calling { native.recover(meshId, broker, recoveryKey, name) }

    /** Forgets a mesh with the key in it; false if there is none. */
    public suspend fun forgetMesh(mesh: String): Boolean = calling { native.forgetMesh(mesh) }

    /**
     * Opens a mesh, by its short name or id, and begins to connect; does not wait for the broker.
     *
     * @throws MeshException `no_such_mesh`, `invalid_argument`, `store_…`, `newer_format`
     */
    public suspend fun connect(mesh: String, options: Options = Options()): Peer =
        Peer(calling { native.connect(mesh, options.native()) })

    /**
     * Connects, receives and sends what waits, and disconnects, all within [deadline]: for a
     * background task. Nothing is taken; the app's reader shows it again.
     */
    public suspend fun fetchOnce(mesh: String, deadline: Duration, options: Options = Options()): Fetched =
        calling { native.fetchOnce(mesh, options.native(), deadline.toJavaDuration()) }

    override fun close(): Unit = native.close()

    /** How to open a mesh. */
    public data class Options(
        /** The folder for messages; beside the configuration if none, in memory without one. */
        val dataFolder: Path? = null,
        /** Keeps messages in memory only. */
        val inMemory: Boolean = false,
        /** A name under which the reading position is kept, 1–64 bytes. */
        val session: String? = null,
        /** The status at the start. */
        val status: Attention? = null,
        /** Whether messages are received. */
        val receive: Boolean = true,
        /** Whether the mesh sees this peer as online. */
        val presence: Boolean = true,
    ) {
        internal fun native(): ConnectOptions =
            ConnectOptions(dataFolder?.toString(), inMemory, session, status, receive, presence)
    }

    public companion object {
        /**
         * The configuration in a folder of the app's own; empty where there is none.
         *
         * @throws MeshException `config_invalid`, `config_unreachable`, `newer_format`
         */
        public suspend fun open(folder: Path): Config = Config(calling { openConfig(folder.toString()) })

        /** An empty configuration in memory; [toBytes] keeps it. */
        public fun inMemory(): Config = Config(calling { configInMemory() })

        /** What [toBytes] gave. */
        public fun fromBytes(kept: ByteArray): Config = Config(calling { configFromBytes(kept) })
    }
}
